# core.pxd: the root of what the engine points at.
cdef class Loop
cdef class StreamCore

# Anything the engine holds a pointer to. While `linked`, the loop owns one reference to it in the engine's name.
cdef class Core:
    cdef Loop loop  # never None: a closed loop stands in before there is one
    cdef en.nq_handle handle
    cdef bint linked
    cdef PyObject *link_prev
    cdef PyObject *link_next
    cdef object __weakref__
    # Connections, and endpoints in the place of connections that are not accepted yet.
    cdef int ev_open(self, const en.nq_event *e) except -1
    cdef int ev_close(self, const en.nq_event *e) except -1
    cdef int ev_freed(self, const en.nq_event *e) except -1
    cdef int ev_datagram(self, const en.nq_event *e) except -1
    cdef int ev_pong(self, const en.nq_event *e) except -1
    cdef int ev_alarm(self, const en.nq_event *e) except -1  # alarms
    # STREAM_OPEN of a stream the peer opened: a new object for it (the loop links it), or None to refuse it.
    # e.user is what the handler map was given.
    cdef StreamCore accept_stream(self, const en.nq_event *e)
    # The engine let go without an event: the loop was closed. The object is unlinked already.
    cdef int detached(self) except -1

# A task posted from any thread. Override run; e.handle is 0 when the handle it was posted for is stale.
cdef class Posted:
    cdef object fn
    cdef tuple args
    cdef int told                # by its run, by gone, or to the thread that posted it: whoever sets it first
    cdef int run(self, Loop loop, const en.nq_event *e) except -1
    cdef int gone(self) except -1  # the loop was closed before its turn came
