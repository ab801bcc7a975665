# loop.pxd: the loop.
cdef class Calls
cdef class Loop
cdef class Requests

# The loop's thread writes everything here. What other threads read or set too goes through load_ and store_
# (threads.pyx).
cdef class Loop:
    # The engine's loop, NULL once it is closed. Other threads use it inside a critical section of the Loop only.
    cdef en.nq_loop *l
    cdef uint64_t owner              # The identity of the thread that runs the loop.
    cdef object __weakref__
    # Set by begin_tick or close, from the poll to the end of the flush. Meanwhile sends need no flush of their own.
    cdef int ticking
    cdef bint schedule               # Attached and idle: what is done next begins a tick.
    cdef bint flush_due              # Attached: _on_flush is scheduled in the event loop.
    cdef bint spin_due               # Attached: _on_spin is scheduled in the event loop.
    cdef int polled                  # The events of a tick that begin_turn began, which _on_flush will dispatch.
    cdef bint woken                  # A future was set during this tick.
    cdef int close_wanted            # close() was called inside a tick.
    cdef int stopping                # stop() was called.
    cdef object aloop                # The asyncio loop that it is attached to, or None.
    cdef object call_soon            # The bound method of aloop.
    # The context in which the event loop runs this one: an empty one, so that none of a task's is seen or kept.
    cdef object own_context
    # The context of the connection whose handlers are called: it is entered. None: none is.
    cdef object context
    # The bound method _on_ready, which add_reader and remove_reader need to be the same.
    cdef object ready_fn
    cdef object flush_fn             # The bound method _on_flush.
    cdef object spin_fn              # The bound method _on_spin.
    cdef int fd                      # The descriptor that was given to add_reader, or -1.
    # A timer of the event loop in place of the engine's, which could not be armed; or None.
    cdef object stand_in
    cdef double stand_in_when        # The time of that timer, by the event loop's clock.
    cdef PyObject *cores             # The first of the linked objects.
    cdef Calls calls                 # The calls of all streams that wait for replies.
    cdef dict collected              # The requests of this dispatch for batch handlers: batch handler -> Requests.
    cdef Requests requests           # Those of them that had the last request, or None.
    cdef set posted                  # The tasks that were posted and have not run.
    cdef readonly SimHost sim        # The simulated host whose sockets and clock it has; None: the system's.
    cdef en.nq_sim_host place        # What its sockets are bound to on such a host.
    # The first of a chain of those that could not be woken for want of memory, or None. Whoever puts one there sets
    # wake_unwoken too, which tries again after each tick.
    cdef object unwoken
    cdef int (*wake_unwoken)(Loop) except -1
    # What logs the failures of handlers (naquid.logs.Failures). None: there were none.
    cdef object failures
    cdef object fatal                # A BaseException that is no Exception, to be raised after the tick.
    cdef int tick(self, int64_t max_wait) except -2
    cdef int poll_dispatch(self, int64_t max_wait) except -2
    cdef int begin_tick(self, str otherwise) except -1
    cdef int finish_tick(self) except -1
    cdef int adopt(self) except -1
    cdef int wake(self) except -1
    cdef int keep_deadline(self) except -1
    cdef int dispatch(self, int n) except -1
    # Leaves the context that is entered, and enters this one; None: just leaves.
    cdef int switch_context(self, object context) except -1
    # Enters this one on top of what is entered. Returns what pop_context needs to leave it again.
    cdef object push_context(self, object context)
    cdef int pop_context(self, object before) except -1
    cdef int answer_collected(self) except -1
    cdef int undelivered(self, int i, object exc) except -1
    cdef int link(self, Core c) except -1  # The engine holds a pointer to c from here on.
    cdef int unlink(self, Core c) except -1  # The engine holds none any more. This may drop the last reference to c.
    cdef int begin_turn(self) except -1
    cdef int turn(self, int64_t max_wait) except -1
    cdef int close_now(self) except -1
    cdef bint post_task(self, Posted p, en.nq_handle h) except -1  # From any thread. False: the loop is closed.
    # Reports an exception of a handler; `where` is that handler, or the object that it belongs to.
    cdef int failed(self, object exc, object where) except -1
    cdef int ev_mark(self, const en.nq_event *e) except -1  # A send that was marked was acknowledged, or lost.
    cdef int ev_log(self, const en.nq_event *e) except -1  # A log record of the engine.
