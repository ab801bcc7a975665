# loop.pxd: the loop, and the root of everything the engine points at.

cdef class Calls
cdef class Loop
cdef class ConnCore
cdef class StreamCore
cdef class Reply

# Anything the engine holds a pointer to. While `linked`, the loop owns one reference to it in the engine's name.
cdef class Core:
    cdef Loop loop  # never None: a closed loop stands in before there is one
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
    # STREAM_OPEN of a stream the peer opened: a new object for it (the loop links it), or None to refuse it.
    # e.user is what the handler map was given.
    cdef StreamCore accept_stream(self, const nq_event *e)
    # The engine let go without an event: the loop was closed. The object is unlinked already.
    cdef int detached(self) except -1

# A task posted from any thread. Override run; e.handle is 0 when the handle it was posted for is stale.
cdef class Posted:
    cdef object fn
    cdef tuple args
    cdef int told                # by its run, by gone, or to the thread that posted it: whoever sets it first
    cdef int run(self, Loop loop, const nq_event *e) except -1
    cdef int gone(self) except -1  # the loop was closed before its turn came

# The loop's thread writes everything here. What other threads read or set too goes through load_ and store_
# (common.pyx).
cdef class Loop:
    # NULL once closed. Other threads use what it points at inside a critical section of the Loop only.
    cdef nq_loop *l
    cdef uint64_t owner          # the thread that runs it
    cdef object __weakref__
    # Taken by begin_tick or close: between poll and the end of flush: sends need no flush of their own
    cdef int ticking
    cdef bint schedule           # attached and idle: the next thing done begins a tick
    cdef bint flush_due          # attached: _on_flush is scheduled
    cdef bint spin_due           # attached: _on_spin is scheduled
    cdef int polled              # events of a tick begun by begin_turn, to be dispatched by _on_flush
    cdef bint woken              # a future was set during this tick
    cdef int close_wanted        # close() was called inside a tick
    cdef int stopping
    cdef object aloop            # the asyncio loop while attached
    cdef object call_soon        # its bound method
    cdef object ready_fn         # bound _on_ready, _on_flush, _on_spin, kept for add_reader and call_soon
    cdef object flush_fn
    cdef object spin_fn
    cdef int fd
    cdef object stand_in         # the event loop's timer that stands in for the engine's, or None; when it is due
    cdef double stand_in_when
    cdef PyObject *cores         # intrusive list of the linked objects
    cdef Calls calls
    cdef list batches            # batch handlers that have collected requests in this dispatch
    cdef set posted              # Posted objects on their way
    cdef Reply unwoken           # a chain of those
    cdef readonly SimHost sim    # whose addresses and clock it uses; None: the system's
    cdef nq_sim_host place       # what its sockets are bound to, then
    cdef object fatal            # a BaseException that is no Exception: raised after the tick
    cdef int tick(self, int64_t max_wait) except -2
    cdef int poll_dispatch(self, int64_t max_wait) except -2
    cdef int begin_tick(self, str otherwise) except -1
    cdef int finish_tick(self) except -1
    cdef int adopt(self) except -1
    cdef int wake(self) except -1
    cdef int keep_deadline(self) except -1
    cdef int dispatch(self, int n) except -1
    cdef int one(self, const nq_event *e) except -1
    cdef int undelivered(self, int i, object exc) except -1
    cdef int wake_later(self, Reply r) except -1  # there was no memory to wake who waits for it
    cdef int wake_late(self) except -1
    cdef int link(self, Core c) except -1     # the engine holds a pointer to c from here on
    cdef int unlink(self, Core c) except -1   # no more; may drop the last reference
    cdef int begin_turn(self) except -1
    cdef int turn(self, int64_t max_wait) except -1
    cdef int close_now(self) except -1
    cdef bint post_task(self, Posted p, nq_handle h) except -1  # any thread. False: the loop is closed
    # What becomes of an exception in a handler; `where` is the handler or object. Override to do otherwise.
    cdef int failed(self, object exc, object where) except -1
    cdef int ev_log(self, const nq_event *e) except -1
