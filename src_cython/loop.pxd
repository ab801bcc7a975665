# loop.pxd: the loop, and the root of everything the engine points at.

# One RPC call that waits for its reply: the engine's `user` of the call.
cdef struct CallNode:
    CallNode *prev
    CallNode *next
    PyObject *stream  # StreamCore, a reference of ours
    PyObject *cb      # what StreamCore.ev_reply is to call or to set, a reference of ours

cdef class Loop
cdef class ConnCore
cdef class StreamCore

# Anything the engine holds a pointer to. While `linked`, the loop owns one reference to it in the engine's name.
cdef class Core:
    cdef Loop loop
    cdef nq_handle handle
    cdef bint linked
    cdef PyObject *link_prev
    cdef PyObject *link_next
    cdef object __weakref__
    # Connections, and endpoints in the place of connections that are not accepted yet.
    cdef int ev_open(self, const nq_event *e) except -1
    cdef int ev_close(self, const nq_event *e) except -1
    cdef int ev_freed(self, const nq_event *e) except -1
    cdef int ev_datagram(self, const nq_event *e) except -1
    cdef int ev_pong(self, const nq_event *e) except -1
    # STREAM_OPEN of a stream the peer opened: the object for it, or None to refuse it. e.user: the handler map's user.
    cdef StreamCore accept_stream(self, const nq_event *e)
    # The engine let go without an event: the loop was closed. The object is unlinked already.
    cdef int detached(self) except -1
    # Asked for by Loop.after: once all events of this tick were dispatched.
    cdef int after_batch(self) except -1

cdef class Posted:
    cdef object fn
    cdef tuple args

cdef class Loop:
    cdef nq_loop *l              # NULL once closed
    cdef object __weakref__
    cdef bint ticking            # between poll and the end of flush: sends need no flush of their own
    cdef bint schedule           # attached, not ticking, no flush scheduled yet: the next send schedules one
    cdef bint close_wanted       # close() was called inside a tick
    cdef int stopping
    cdef object aloop            # the asyncio loop while attached
    cdef object call_soon        # its bound method
    cdef object on_ready_fn      # bound on_ready, kept for add_reader and call_soon
    cdef object on_flush_fn
    cdef int fd
    cdef bint ready_scheduled
    cdef PyObject *cores         # intrusive list of the linked objects
    cdef CallNode calls          # head of the ring of waiting calls
    cdef CallNode *spare         # free call nodes
    cdef set posted              # Posted objects on their way
    cdef list tail               # Core objects with after_batch to be called
    cdef object fatal            # a BaseException that is no Exception: raised after the tick
    cdef object logger
    cdef object error_handler
    cdef int tick(self, int64_t max_wait) except -2
    cdef int finish_tick(self) except -1
    cdef int dispatch(self, int n) except -1
    cdef int one(self, const nq_event *e) except -1
    cdef int stream_open(self, const nq_event *e) except -1
    cdef int run_tail(self) except -1
    cdef int link(self, Core c) except -1     # the engine holds a pointer to c from here on
    cdef int unlink(self, Core c) except -1   # no more; may drop the last reference
    cdef int after(self, Core c) except -1
    cdef CallNode *call_node(self, StreamCore s, object cb) except NULL
    cdef int call_free(self, CallNode *n) except -1
    cdef int request_flush(self) except -1
    cdef int close_now(self) except -1
    # What became of an exception in a handler; `where` is the handler or object. Override to do otherwise.
    cdef int failed(self, object exc, object where) except -1
    cdef int ev_log(self, const nq_event *e) except -1

# An alarm: `callback` is called with no arguments, or override ev_alarm.
cdef class AlarmCore(Core):
    cdef public object callback
    cdef int ev_alarm(self, const nq_event *e) except -1
