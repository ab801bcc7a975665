# core.pxd: the root of what the engine points at.
cdef class Loop
cdef class StreamCore

# Anything the engine holds a pointer to. While `linked`, the loop owns one reference to it in the engine's name.
cdef class Core:
    # The loop it belongs to. It is never None: before there is one, a closed loop stands here.
    cdef Loop loop
    cdef en.nq_handle handle         # The engine's handle of what it stands for.
    cdef bint linked                 # The engine has a pointer to it, and the loop the reference that goes with that.
    cdef PyObject *link_prev         # The object before it in the loop's list of linked objects.
    cdef PyObject *link_next         # The object behind it in that list.
    cdef object __weakref__
    # Events of connections. Those of a connection that is not accepted yet go to its endpoint.
    cdef int ev_open(self, const en.nq_event *e) except -1
    cdef int ev_close(self, const en.nq_event *e) except -1
    cdef int ev_freed(self, const en.nq_event *e) except -1
    cdef int ev_datagram(self, const en.nq_event *e) except -1
    cdef int ev_pong(self, const en.nq_event *e) except -1
    # A client of this endpoint began to connect, and no connection came about.
    cdef int ev_handshake_failed(self, const en.nq_event *e) except -1
    cdef int ev_alarm(self, const en.nq_event *e) except -1  # The deadline of an alarm has passed.
    # The peer opened a stream: a new object for it, which the loop links, or None to refuse it. e.user is what the
    # handler map was given for its name.
    cdef StreamCore accept_stream(self, const en.nq_event *e)
    # A handler raised exc; type: of the request or notification, or None. An API without a way of its own for that
    # reports it as the loop does.
    cdef int handler_failed(self, object exc, object where, object type) except -1
    # The loop was closed, so that no event tells of the end. The object is unlinked already.
    cdef int detached(self) except -1

# What a user attached to an object. A box of its own, which the garbage collector can empty: the objects that the
# engine points at it must not touch. Two objects that stand for the same thing share one.
cdef class Attached:
    cdef object value

# A task that any thread posts and the loop's thread runs. run is to be overridden; e.handle is 0 when the handle that
# the task was posted for is stale.
cdef class Posted:
    cdef object fn                   # The function that is called.
    cdef tuple args                  # Its arguments.
    # Set once, by whoever tells the outcome of the task: its run, gone(), or the thread that posted it.
    cdef int claimed
    cdef int run(self, Loop loop, const en.nq_event *e) except -1
    cdef int gone(self) except -1    # The loop was closed before the task's turn came.
