# loop.pxd: the loop.
cdef class Calls
cdef class Loop
cdef class Requests

# The loop's thread writes everything here. What other threads read or set too goes through load_ and store_
# (threads.pyx).
cdef class Loop:
    # NULL once closed. Other threads use what it points at inside a critical section of the Loop only.
    cdef en.nq_loop *l
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
    cdef dict collected          # batch handler -> the Requests of this dispatch for it
    cdef Requests requests       # those that had the last request, or None
    cdef set posted              # Posted objects on their way
    cdef readonly SimHost sim    # whose addresses and clock it uses; None: the system's
    cdef en.nq_sim_host place       # what its sockets are bound to, then
    # The first of a chain of those that there was no memory to wake, or None; what tries again after the tick, or once
    # more. The part that has them sets both.
    cdef object unwoken
    cdef int (*wake_unwoken)(Loop) except -1
    cdef object fatal            # a BaseException that is no Exception: raised after the tick
    cdef int tick(self, int64_t max_wait) except -2
    cdef int poll_dispatch(self, int64_t max_wait) except -2
    cdef int begin_tick(self, str otherwise) except -1
    cdef int finish_tick(self) except -1
    cdef int adopt(self) except -1
    cdef int wake(self) except -1
    cdef int keep_deadline(self) except -1
    cdef int dispatch(self, int n) except -1
    cdef int answer_collected(self) except -1
    cdef int undelivered(self, int i, object exc) except -1
    cdef int link(self, Core c) except -1     # the engine holds a pointer to c from here on
    cdef int unlink(self, Core c) except -1   # no more; may drop the last reference
    cdef int begin_turn(self) except -1
    cdef int turn(self, int64_t max_wait) except -1
    cdef int close_now(self) except -1
    cdef bint post_task(self, Posted p, en.nq_handle h) except -1  # any thread. False: the loop is closed
    # What becomes of an exception in a handler; `where` is the handler or object. Override to do otherwise.
    cdef int failed(self, object exc, object where) except -1
    cdef int ev_mark(self, const en.nq_event *e) except -1  # of a send that was marked
    cdef int ev_log(self, const en.nq_event *e) except -1
