# loop.pyx: the loop: polled, run by a thread, or attached to an asyncio event loop.
# needs: core/arguments core/callbacks core/calls core/conn core/core core/dispatch core/errors core/rpc core/sim
# needs: core/stream core/threads

@cython.no_gc_clear
cdef class Loop:
    """An engine loop: sockets, timers and connections, run by one thread at a time.

    Drive it by `poll()`, by `run()` in a thread of its own, or by `attach()` to an asyncio event loop.
    portable: plain system calls only. busy_poll: see set_busy_poll. socket_buffer: bytes, 0 is 16 MiB. sim: the host
    of a simulated network whose sockets and clock it has; then it never sleeps, and whoever moves the clock runs it.
    """

    def __cinit__(self):
        self.fd = -1
        self.calls = Calls.__new__(Calls)
        self.posted = set()
        self.collected = {}

    def __init__(self, *, bint portable=False, bint gso=True, bint gro=True, double timer_floor=0.0,
                 double busy_poll=0.0, uint32_t socket_buffer=0, SimHost sim=None):
        cdef en.nq_loop_options o
        if self.l != NULL:
            raise RuntimeError("a Loop is initialised once")
        memset(&o, 0, sizeof(o))
        o.portable = portable and sim is None
        o.no_gso = not gso
        o.no_gro = not gro
        o.timer_floor = to_ns(timer_floor, "timer_floor")
        o.busy_poll = to_ns(busy_poll, "busy_poll") if sim is None else 0
        o.socket_buffer = socket_buffer
        o.returned = all_returned
        if sim is not None:
            o.env = &sim.sim.s.env
            self.place = sim.h
            self.place.sim = &sim.sim.s
            o.backend = &en.nq_sim_backend
            o.backend_ctx = &self.place
            self.sim = sim
        cdef int rc = en.nq_loop_new(&self.l, &o)
        if rc < 0:
            self.l = NULL
            engine_error(self, rc, "creating a loop")
        en.nq_loop_set_context(self.l, <void *>self)
        self.adopt()
        if sim is not None:
            sim.sim.loops.append(self)

    def __dealloc__(self):
        if self.l != NULL:
            en.nq_loop_free(self.l)

    cdef int adopt(self) except -1:
        """The calling thread runs the loop from now on."""
        store_u64(&self.owner, PyThread_get_thread_ident())
        en.nq_loop_adopt(self.l)
        return 0

    cdef int wake(self) except -1:
        """From any thread."""
        with cython.critical_section(self):
            if self.l != NULL:
                en.nq_loop_wake(self.l)
        return 0

    # ---- the objects the engine points at ----

    cdef int link(self, Core c) except -1:
        c.loop = self
        c.linked = True
        c.link_prev = NULL
        c.link_next = self.cores
        if self.cores != NULL:
            (<Core>self.cores).link_prev = <PyObject *>c
        self.cores = <PyObject *>c
        Py_INCREF(c)
        return 0

    cdef int unlink(self, Core c) except -1:
        if not c.linked:
            return 0
        c.linked = False
        if c.link_next != NULL:
            (<Core>c.link_next).link_prev = c.link_prev
        if c.link_prev != NULL:
            (<Core>c.link_prev).link_next = c.link_next
        else:
            self.cores = c.link_next
        c.link_prev = NULL
        c.link_next = NULL
        Py_DECREF(c)
        return 0

    # ---- dispatch ----

    cdef int dispatch(self, int n) except -1:
        """Hands n events to their objects. One try for the batch: an event that raises costs, the others do not."""
        cdef int i = 0
        cdef bint timed = en.nq_loop_timing(self.l)
        while i < n:
            try:
                while i < n:
                    if timed:
                        en.nq_loop_time(self.l, en.nq_loop_events(self.l) + i)
                    i += 1
                    dispatch_event(self, en.nq_loop_events(self.l) + (i - 1))
            except BaseException as exc:
                self.undelivered(i - 1, exc)
        if timed:
            en.nq_loop_time(self.l, NULL)
        if self.requests is not None:
            self.answer_collected()
        if self.context is not None:
            self.switch_context(None)
        return 0

    cdef int switch_context(self, object context) except -1:
        cdef object left = self.context
        if left is not None:
            self.context = None
            PyContext_Exit(left)
        if context is not None:
            self.push_context(context)
        return 0

    cdef object push_context(self, object context):
        cdef object before = self.context
        if context is not None and context is not before:
            try:
                PyContext_Enter(context)
            except RuntimeError:  # somebody is in it, further out on the stack: nobody may enter it twice
                context = PyContext_Copy(context)
                PyContext_Enter(context)
            self.context = context
        return before

    cdef int pop_context(self, object before) except -1:
        cdef object left = self.context
        if left is not None and left is not before:
            self.context = before
            PyContext_Exit(left)
        return 0

    cdef int answer_collected(self) except -1:
        """The end of a dispatch in which requests came for batch handlers."""
        cdef Requests requests
        cdef dict collected = self.collected
        self.collected = {}
        self.requests = None
        for requests in collected.values():
            try:
                requests.run(self)
            except BaseException as exc:
                self.failed(exc, requests.fn)
        return 0

    cdef int undelivered(self, int i, object exc) except -1:
        """Dispatching event i raised exc, which is no exception of a handler: there was no memory, as a rule. Nothing
        is lost in silence: a stream ends with an error, a datagram is counted."""
        cdef en.nq_event e = en.nq_loop_events(self.l)[i]
        cdef void *p
        cdef bint goes_on = False
        try:
            if en.NQ_EV_STREAM_DATA <= e.kind <= en.NQ_EV_RPC_NOTIFY:
                p = en.nq_stream_user(self.l, e.handle)
                if p != NULL:
                    goes_on = (<StreamCore>p).ev_undelivered(&e)
        except BaseException as another:
            self.failed(another, self)
        if not goes_on:
            en.nq_loop_undelivered(self.l, i)
        return self.failed(exc, self)

    cdef int failed(self, object exc, object where) except -1:
        if not isinstance(exc, Exception):
            from asyncio import CancelledError
            if not isinstance(exc, CancelledError):
                if self.fatal is None:
                    self.fatal = exc
                return 0
        PyErr_SetObject(type(exc), exc)
        PyErr_WriteUnraisable(where)
        return 0

    cdef int ev_mark(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_log(self, const en.nq_event *e) except -1:
        return log_record(e)

    # ---- ticks ----

    cdef int begin_tick(self, str otherwise) except -1:
        """This thread, and no other until finish_tick, works on the loop; it stays open until then."""
        if swap_int(&self.ticking, 1):
            if load_int(&self.close_wanted) or load_loop(&self.l) == NULL:
                raise errors.Error("the loop is closed")
            raise RuntimeError(otherwise)
        if self.l == NULL:
            store_int(&self.ticking, 0)
            raise errors.Error("the loop is closed")
        if not mine(self):
            self.adopt()
        return 0

    cdef int poll_dispatch(self, int64_t max_wait) except -2:
        """poll and dispatch, after begin_tick; finish_tick must follow, also after an exception."""
        cdef int n
        self.schedule = False
        with nogil:
            n = en.nq_loop_poll(self.l, max_wait)
        if n > 0:
            self.dispatch(n)
        elif n < 0:
            engine_error(self, n, "waiting for packets")
        return n

    cdef int finish_tick(self) except -1:
        cdef int more
        cdef object fatal
        with nogil:
            more = en.nq_loop_flush(self.l)
        self.flush_due = False
        self.woken = False
        if self.unwoken is not None:
            self.wake_unwoken(self)
        try:
            if load_int(&self.close_wanted):
                self.close_now()
            elif self.aloop is not None:
                if more:
                    self.call_soon(self.ready_fn)
                elif not self.spin_due and en.nq_loop_spin_left(self.l):
                    self.spin_due = True
                    self.call_soon(self.spin_fn)
                if self.sim is None and en.nq_loop_arm(self.l) < 0:
                    self.keep_deadline()
                self.schedule = True
        finally:
            store_int(&self.ticking, 0)
        if load_int(&self.close_wanted):  # by another thread, in between
            self.close()
        if self.fatal is not None:
            fatal = self.fatal
            self.fatal = None
            raise fatal
        return more

    cdef int tick(self, int64_t max_wait) except -2:
        cdef int n
        self.begin_tick("the loop is running already: a handler, or another thread, cannot run it too")
        try:
            n = self.poll_dispatch(max_wait)
        finally:
            self.finish_tick()
        return n

    def poll(self, double max_wait=0.0):
        """Runs one tick, waiting at most max_wait seconds (less than 0: until something happens). Returns the number
        of events that were dispatched. The interpreter lock is free while it waits and works."""
        cdef int64_t ns = INT64_MAX if max_wait < 0 or max_wait > 9e9 else <int64_t>(max_wait * 1e9)
        PyErr_CheckSignals()
        if self.aloop is not None:
            raise RuntimeError("this loop is attached to an asyncio event loop, which runs it")
        if self.sim is not None:
            ns = 0
        cdef int n = self.tick(ns)
        PyErr_CheckSignals()
        return n

    def run(self):
        """Runs ticks in the calling thread until stop(). The interpreter lock is taken once per tick that has events,
        and not at all for one without."""
        cdef int n = 0
        cdef int more = 0
        cdef bint pending = False
        cdef bint main = threading.current_thread() is threading.main_thread()
        cdef en.nq_loop *l
        if self.aloop is not None:
            raise RuntimeError("the loop is attached to an asyncio event loop, which runs it")
        if self.sim is not None:
            raise RuntimeError("a loop of a simulated network is run by whoever moves the network's clock")
        self.begin_tick("the loop is running already")
        l = self.l
        try:
            while not load_int(&self.stopping) and not load_int(&self.close_wanted) and self.fatal is None:
                with nogil:
                    while True:
                        if pending:
                            more = en.nq_loop_flush(l)
                        n = en.nq_loop_poll(l, 0 if more or load_int(&self.stopping) else INT64_MAX)
                        pending = True
                        if n != 0 or main or load_int(&self.stopping) or load_int(&self.close_wanted):
                            break
                if n > 0:
                    self.dispatch(n)
                elif n < 0:
                    engine_error(self, n, "waiting for packets")
                if main:
                    PyErr_CheckSignals()
        finally:
            store_int(&self.stopping, 0)
            self.finish_tick()

    def stop(self):
        """Ends run(), from any thread."""
        store_int(&self.stopping, 1)
        self.wake()

    def post(self, fn, *args):
        """Calls fn(*args) in the thread that runs the loop, at the start of its next tick. Any thread."""
        cdef Posted p = Posted.__new__(Posted)
        p.fn = fn
        p.args = args
        if not self.post_task(p, 0):
            raise errors.Error("the loop is closed")

    cdef bint post_task(self, Posted p, en.nq_handle h) except -1:
        cdef int rc = en.NQ_ERR_STATE
        self.posted.add(p)
        with cython.critical_section(self):
            if self.l != NULL:
                rc = en.nq_loop_post(self.l, en.NQ_POST_TASK, h, 0, 0, 0, <void *>p, NULL, 0)
        if rc < 0:
            self.posted.discard(p)
            if rc != en.NQ_ERR_STATE:
                engine_error(self, rc, "posting a task")
            return swap_int(&p.claimed, 1) != 0  # or close_now has found it and called gone()
        return True

    # ---- asyncio ----

    def attach(self, aloop):
        """Lets an asyncio (or uvloop) event loop run this one, through add_reader and call_soon."""
        if self.l == NULL:
            raise errors.Error("the loop is closed")
        if self.aloop is not None or self.ticking:
            raise RuntimeError("the loop is attached or running already")
        self.adopt()
        cdef int fd = en.nq_loop_fd(self.l)
        if fd < 0:
            engine_error(self, en.NQ_ERR_SYS, "attaching to the event loop")
        ready_fn = self._on_ready
        context = PyContext_New()
        # First: when it raises, nothing is attached, and nothing refers to itself.
        context.run(aloop.add_reader, fd, ready_fn)
        self.fd = fd
        self.ready_fn = ready_fn
        self.flush_fn = self._on_flush
        self.spin_fn = self._on_spin
        self.own_context = context
        self.call_soon = aloop.call_soon
        self.stand_in = None
        self.aloop = aloop
        self.schedule = True
        if self.sim is None and en.nq_loop_arm(self.l) < 0:
            self.keep_deadline()

    cdef int keep_deadline(self) except -1:
        """The engine's timer could not be armed: the event loop keeps the next deadline with a timer of its own. An
        earlier one than needed costs nothing but itself."""
        cdef uint64_t left = en.nq_loop_deadline_in(self.l)
        cdef double when
        if left == UINT64_MAX:
            return 0
        # Rounded up to ms: a timer that is early finds nothing to do, and is set again for what is left.
        when = self.aloop.time() + (left // 1000000 + 1) / 1e3
        if self.stand_in is not None:
            if self.stand_in_when <= when:
                return 0
            self.stand_in.cancel()
        self.stand_in_when = when
        self.stand_in = self.aloop.call_at(when, self._on_deadline, context=self.own_context)
        return 0

    def _on_deadline(self):
        self.stand_in = None
        self._on_ready()

    def detach(self):
        """Undoes attach()."""
        aloop = self.aloop
        if aloop is not None:
            self.aloop = None
            self.call_soon = None
            self.own_context = None
            self.ready_fn = None
            self.flush_fn = None
            self.spin_fn = None
            self.schedule = False
            self.flush_due = False
            self.spin_due = False
            self.polled = 0
            if self.stand_in is not None:
                self.stand_in.cancel()
                self.stand_in = None
            # A forked child shares the selector with its parent, whose reader would be removed.
            if not aloop.is_closed() and not en.nq_loop_inherited(self.l):
                aloop.remove_reader(self.fd)

    def _on_ready(self):
        """The loop's descriptor is readable: one tick. Its flush waits for the tasks that it woke, so that what they
        send leaves in the same packets."""
        if self.l == NULL or self.aloop is None or self.ticking:
            return
        if self.flush_due:
            self._on_flush()
            if self.l == NULL or self.aloop is None:
                return
        self.turn(0)

    def _on_spin(self):
        """Busy polling: looks at the sockets for what is left of its time. It was scheduled at the end of the last
        tick, so what was scheduled before has run, and what that took is off the time; at the first thing found, or
        when the time is over, the event loop has its turn."""
        cdef uint64_t left
        if not self.spin_due:
            return
        self.spin_due = False
        if self.l == NULL or self.aloop is None or self.ticking or self.flush_due:
            return
        left = en.nq_loop_spin_left(self.l)
        if left:
            self.turn(<int64_t>left)

    cdef int turn(self, int64_t max_wait) except -1:
        self.begin_tick("the loop is running already")
        try:
            self.poll_dispatch(max_wait)
        except BaseException:
            self.finish_tick()
            raise
        if self.woken and not load_int(&self.close_wanted) and self.fatal is None:
            store_int(&self.ticking, 0)
            self.flush_due = True
            self.woken = False
            self.call_soon(self.flush_fn)
        else:
            self.finish_tick()
        return 0

    def _on_flush(self):
        """The end of a turn in which something was done: dispatches what its tick found, and sends."""
        cdef int n = self.polled
        if self.l == NULL or self.aloop is None or self.ticking or not self.flush_due:
            return
        self.polled = 0
        self.begin_tick("the loop is running already")
        if n > 0:
            self.dispatch(n)
        self.finish_tick()
        if n < 0:
            engine_error(self, n, "waiting for packets")

    cdef int begin_turn(self) except -1:
        """The first thing done in this turn of the event loop. The engine reads its clock in poll, so the tick begins
        here and not at the end of the turn; timeouts and round trips are then right."""
        cdef int n
        if en.nq_loop_inherited(self.l):
            engine_error(self, en.NQ_ERR_FORKED, "using a connection")
        self.schedule = False
        self.flush_due = True
        try:
            # Code of the user's: what it makes may start the garbage collector. The context is not that of the task
            # that happens to be the first in this turn, whose turn it is no more than anybody else's.
            self.call_soon(self.flush_fn, context=self.own_context)
        except BaseException:
            if self.aloop is not None:  # nothing was scheduled: the next thing done tries again
                self.schedule = True
                self.flush_due = False
            raise
        if not mine(self):
            bad_loop(self)
        if swap_int(&self.ticking, 1):  # another thread is closing it
            raise errors.StreamClosed("the loop is being closed: nothing can be sent any more")
        if self.l == NULL or not self.flush_due:  # that thread has closed it; or it was detached
            store_int(&self.ticking, 0)
            return bad_loop(self) if self.l == NULL else 0
        with nogil:
            n = en.nq_loop_poll(self.l, 0)
        self.polled = n
        store_int(&self.ticking, 0)
        if load_int(&self.close_wanted):  # by another thread, meanwhile
            self.close()
            if not mine(self):
                bad_loop(self)
        return 0

    def forked(self):
        """In a forked child: whatever is done with what it inherited raises, in the middle of a tick, too."""
        self.schedule = True

    # ---- the end ----

    def close(self):
        """Closes every connection (one CONNECTION_CLOSE each) and frees everything. Inside a handler: at the end of
        the tick. What still waits fails; closing twice does nothing."""
        while load_loop(&self.l) != NULL:
            store_int(&self.close_wanted, 1)
            if not swap_int(&self.ticking, 1):
                try:
                    if self.l != NULL:
                        self.close_now()
                finally:
                    store_int(&self.ticking, 0)
                return
            self.wake()
            if load_int(&self.ticking):  # else that tick may have ended without seeing it
                return

    cdef int close_now(self) except -1:
        cdef en.nq_loop *l = self.l
        cdef Core c
        cdef Posted p
        self.detach()
        with cython.critical_section(self):  # a thread that posts is done with the engine's loop, or finds none
            store_loop(&self.l, NULL)
        store_int(&self.close_wanted, 0)
        with nogil:
            en.nq_loop_free(l)
        if self.sim is not None and self in self.sim.sim.loops:
            self.sim.sim.loops.remove(self)
        while self.cores != NULL:
            c = <Core>self.cores
            self.unlink(c)
            if isinstance(c, StreamCore):
                (<StreamCore>c).closed = True
            elif isinstance(c, ConnCore):
                (<ConnCore>c).closed = True
            try:
                c.detached()
            except BaseException as exc:
                self.failed(exc, c)
        self.calls.end_all(self)
        if self.context is not None:
            self.switch_context(None)
        waiting = list(self.posted)
        self.posted.clear()
        for p in waiting:
            if not swap_int(&p.claimed, 1):
                try:
                    p.gone()
                except BaseException as exc:
                    self.failed(exc, p)
        failures = self.failures
        self.failures = None
        if failures is not None:
            try:
                failures.close()
            except BaseException as exc:
                self.failed(exc, failures)
        return 0

    @property
    def closed(self):
        """True once close() is done."""
        return load_loop(&self.l) == NULL

    def fileno(self):
        """The descriptor that is readable when poll(0) has something to do."""
        cdef int fd
        with cython.critical_section(self):
            if self.l == NULL:
                raise ValueError("the loop is closed")
            fd = en.nq_loop_fd(self.l)
            if fd < 0:
                engine_error(self, en.NQ_ERR_SYS, "making the loop's timer")
        return fd

    def set_busy_poll(self, double seconds):
        """How long it looks at its sockets again and again, after something came or went, before it sleeps: a core for
        shorter round trips. 0: not at all. In the loop's thread, or before it runs."""
        cdef uint64_t ns = to_ns(seconds, "busy_poll")
        if self.sim is None:  # a clock that stands still while it looks would let it look for ever
            en.nq_loop_set_busy_poll(peek(self), ns)

    def now(self):
        """The loop's monotonic clock in seconds, read once a tick."""
        return en.nq_loop_now(peek(self)) / 1e9

    def stats(self):
        """Counters of the loop since its start, as a dict (see nq_loop_stats in engine.h). In the loop's thread; from
        another one while the loop works, they are of no one moment, and no endpoint may be opened or closed."""
        cdef en.nq_loop_stats s
        cdef bint there = False
        with cython.critical_section(self):
            if self.l != NULL:
                en.nq_loop_get_stats(self.l, &s)
                there = True
        if not there:
            raise errors.Error("the loop is closed")
        return s


cdef Loop no_loop = Loop.__new__(Loop)
