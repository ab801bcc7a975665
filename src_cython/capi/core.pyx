# core.pyx: naquid.capi: handles, loops and their queues.
#
# The functions of the C API are static methods of classes (CapiConnApi, ...): the engine's have the same names.
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.number cimport PyIndex_Check, PyNumber_Index
from posix.types cimport clockid_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, nanosleep, timespec

cdef enum:
    CAPI_WHY_CREATE = 1
    CAPI_WHY_CONN = 2
    CAPI_WHY_NO_CONN = 3
    CAPI_WHY_STREAM = 4

cdef enum:
    CAPI_OP_SEND = 1
    CAPI_OP_CALL
    CAPI_OP_CALL_MANY
    CAPI_OP_NOTIFY
    CAPI_OP_REPLY
    CAPI_OP_GOAWAY      # the reply of a call that was never sent
    CAPI_OP_CLOSE
    CAPI_OP_RESET
    CAPI_OP_FLUSH
    CAPI_OP_MODIFY
    CAPI_OP_REACHABILITY
    CAPI_OP_OPEN
    CAPI_OP_TASK
    CAPI_OP_ALARM_SET
    CAPI_OP_ALARM_FREE
    CAPI_OP_FUNC        # data()

cdef enum:
    NQ_E_SYSCALL = -1
    NQ_E_QUIC = -6
    NQ_E_RESOLVE = -8

# What capi_hooks was given: log(level, text, params), detail(code, text).
cdef object capi_log_fn = None
cdef object capi_detail = None
cdef uint64_t capi_serial = 0

EMPTY_REASONS = {CAPI_WHY_CREATE: "conn create fail", CAPI_WHY_CONN: "invalid conn",
                 CAPI_WHY_NO_CONN: "conn not found", CAPI_WHY_STREAM: "invalid stream"}


def capi_hooks(log, detail):
    """Where log records go, and the class of error details. For naquid.capi."""
    global capi_log_fn, capi_detail
    capi_log_fn = log
    capi_detail = detail


cdef int capi_log(int level, str text, dict params) except -1:
    """A record for nq_log; level: NQ_LOGLV_*. An exception of the user's log callback is reported, not raised."""
    if capi_log_fn is not None:
        try:
            capi_log_fn(level, text, params)
        except Exception as exc:
            PyErr_SetObject(type(exc), exc)
            PyErr_WriteUnraisable(capi_log_fn)
    return 0


cdef inline uint64_t clock_ns(int clock) noexcept:
    cdef timespec t
    clock_gettime(<clockid_t>clock, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


def capi_pause(uint64_t ns):
    """Sleeps at most ns; a signal ends it early. The ns that were left."""
    cdef timespec want
    cdef timespec left
    cdef int rc
    want.tv_sec = ns // 1000000000
    want.tv_nsec = ns % 1000000000
    with nogil:
        rc = nanosleep(&want, &left)
    PyErr_CheckSignals()
    return left.tv_sec * 1000000000 + left.tv_nsec if rc != 0 else 0


cdef int need_callable(object fn, str what) except -1:
    if fn is not None and not callable(fn):
        raise TypeError(f"{what} must be callable or None, not {type(fn).__name__}")
    return 0


cdef object field_of(object struct, str name, str kind):
    """struct.name; a TypeError when it is no such struct."""
    try:
        return getattr(struct, name)
    except AttributeError:
        raise TypeError(f"an {kind} is needed, not {type(struct).__name__}") from None


cdef inline int need_int(object value, str what) except -1:
    """Cython itself would take a float for an int. A bool is none, as for naquid.capi.check.need."""
    if not PyLong_CheckExact(value) and (isinstance(value, bool) or not PyIndex_Check(value)):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    return 0


cdef int need_flag(object value, str what) except -1:
    """A bool, or the 0 or 1 that C has for it."""
    if not isinstance(value, bool) and (not isinstance(value, int) or value not in (0, 1)):
        raise TypeError(f"{what} must be bool, not {value!r}")
    return 0


cdef inline long long small_int(object value, str what, long long least, long long most) except? -1:
    """An int argument with bounds: ValueError outside, where C would cut bits off."""
    cdef int over = 0
    cdef long long number
    need_int(value, what)
    number = PyLong_AsLongLongAndOverflow(value, &over)
    if over or not least <= number <= most:
        raise ValueError(f"{what} is {value}: it must be from {least} to {most}")
    return number


cdef uint64_t time_of(object value, str what) except? 0xffffffffffffffff:
    """An nq_time_t: ns that 64 bits hold."""
    need_int(value, what)
    number = PyNumber_Index(value)
    try:
        return number
    except OverflowError:
        raise ValueError(f"{what} is {number}: it must be ns from 0 to 2**64-1") from None


# ---- handles ----

cdef class CapiHandle:
    def __cinit__(self):
        self.loop = no_loop

    cdef int begin(self, Loop loop, nq_handle h) except -1:
        self.serial = next_u64(&capi_serial)
        self.loop = loop
        self.h = h
        store_int(&self.live, 1)
        return 0

    def __eq__(self, other):
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return self.serial == 0 and (<CapiHandle>other).serial == 0

    def __hash__(self):
        return self.serial

    def __repr__(self):
        state = "empty" if self.serial == 0 else "live" if alive(self) else "outdated"
        return f"<{type(self).__name__} {self.serial} {state}>"

    def __reduce__(self):
        raise TypeError("a handle has a meaning in its own process only")

    @property
    def s(self):
        """The serial (nq_serial_t): a number that no other object of this process has or had; 0 when empty."""
        return self.serial


cdef inline bint alive(CapiHandle h) noexcept:
    """From any thread."""
    return load_int(&h.live)


cdef inline bint here(CapiHandle h) noexcept:
    """Whether the calling thread may use what the handle names: it is there, its loop is open and this thread's. To be
    asked after all code of the user's has run (common.pyx has the rule)."""
    return load_int(&h.live) and mine(h.loop)


cdef object ctx_of(CapiHandle h):
    """From any thread."""
    with cython.critical_section(h):
        ctx = h.ctx
    return ctx


cdef int set_ctx(CapiHandle h, object ctx) except -1:
    with cython.critical_section(h):
        h.ctx, ctx = ctx, h.ctx
    return 0  # what it was before goes here, outside


cdef bint handle_check(CapiHandle h, object cb) except -1:
    """What nq_*_is_valid does."""
    need_callable(cb, "the callback")
    if cb is not None:
        if alive(h):
            cb(h, None)
        elif h.serial == 0:
            cb(h, EMPTY_REASONS.get(h.why, "deallocated handle"))
        else:
            cb(h, "outdated handle")
    return alive(h)


cdef int handle_post(CapiHandle h, int op, object data=None, object cb=None, int type=0, uint32_t msgid=0,
                     uint64_t timeout=0) except -1:
    """Queues work for the handle's loop; dropped when the handle is not valid any more."""
    if alive(h):
        (<CapiLoop>h.loop).post_op(op, h, data, cb, type, msgid, timeout)
    return 0


@cython.final
cdef class nq_conn_t(CapiHandle):
    """A connection's handle: immutable, hashable, usable from any thread, safe when stale. nq_conn_t() is empty."""


cdef class CapiStreamHandle(CapiHandle):
    pass


@cython.final
cdef class nq_stream_t(CapiStreamHandle):
    """A stream's handle: immutable, hashable, usable from any thread, safe when stale. nq_stream_t() is empty."""


@cython.final
cdef class nq_rpc_t(CapiStreamHandle):
    """An RPC stream's handle: immutable, hashable, usable from any thread, safe when stale. nq_rpc_t() is empty."""


@cython.final
cdef class nq_alarm_t(CapiHandle):
    """An alarm's handle: immutable, hashable, usable from any thread, safe when stale. nq_alarm_t() is empty."""


# ---- the queue of a loop ----

@cython.final
cdef class CapiPost(Posted):
    cdef int run(self, Loop loop, const nq_event *e) except -1:
        cdef int op = self.op
        cdef CapiHandle h = self.handle
        if op == CAPI_OP_FUNC:
            self.data()
        elif op == CAPI_OP_GOAWAY:
            self.cb(h, R_GOAWAY, b"")
        elif op == CAPI_OP_CALL:
            try:
                rpc_send_call(<nq_rpc_t>h, self.type, self.data, self.cb, self.timeout)
            except BaseException as exc:
                self.refuse(loop, exc, self.cb)
        elif op == CAPI_OP_CALL_MANY:
            try:
                rpc_send_many(<nq_rpc_t>h, self.type, self.data, self.cb, self.timeout)
            except BaseException as exc:
                self.refuse(loop, exc, (<CapiMany>self.cb).on_replies)
        elif not h.live:
            return 0
        elif op == CAPI_OP_REPLY:
            rpc_send_reply(<nq_rpc_t>h, self.msgid, self.type, self.data)
        elif op == CAPI_OP_NOTIFY:
            rpc_send_notify(<nq_rpc_t>h, self.type, self.data)
        elif op == CAPI_OP_SEND:
            stream_send(<CapiStreamHandle>h, self.data, self.cb)
        elif op == CAPI_OP_CLOSE:
            if isinstance(h, nq_conn_t):
                (<nq_conn_t>h).core.close_now()
            else:
                (<CapiStreamHandle>h).core.close_now()
        elif op == CAPI_OP_TASK:
            self.cb(h)
        elif op == CAPI_OP_OPEN:
            conn_open(<nq_conn_t>h, self.data, self.cb)
        elif op == CAPI_OP_RESET:
            (<nq_conn_t>h).core.reset_now()
        elif op == CAPI_OP_FLUSH:
            nq_conn_flush(loop.l, h.h)
        elif op == CAPI_OP_MODIFY:
            conn_modify(<nq_conn_t>h, self.cb)
        elif op == CAPI_OP_REACHABILITY:
            (<nq_conn_t>h).core.reachability_now(self.type)
        elif op == CAPI_OP_ALARM_SET:
            alarm_set_now(<nq_alarm_t>h, self.timeout, self.cb)
        elif op == CAPI_OP_ALARM_FREE:
            alarm_free_now(<nq_alarm_t>h)
        return 0

    cdef int refuse(self, Loop loop, object exc, object where) except -1:
        """Nobody is there to be told at the call: reported, and it has its one reply."""
        loop.failed(exc, where)
        self.cb(self.handle, R_ALLOC, b"")
        return 0

    cdef int gone(self) except -1:
        if self.op in (CAPI_OP_CALL, CAPI_OP_CALL_MANY, CAPI_OP_GOAWAY):
            try:
                self.cb(self.handle, R_GOAWAY, b"")
            except BaseException as exc:
                self.handle.loop.failed(exc, self.cb)
        return 0


@cython.no_gc_clear
cdef class CapiLoop(Loop):
    """The loop of a client or of a server's worker."""

    def __cinit__(self):
        self.marks = set()
        self.gathered = {}

    def __init__(self):
        Loop.__init__(self, sim=sim_host.get())

    cdef CapiBatch batch_of(self, CapiEntry entry):
        """Where the requests for a batch handler are collected until the end of this dispatch."""
        cdef CapiBatch b = self.batch
        if b is not None and b.entry is entry:
            return b
        b = self.gathered.get(entry)
        if b is None:
            b = CapiBatch.__new__(CapiBatch)
            b.entry = entry
            self.gathered[entry] = b
            self.batches.append(b)
        self.batch = b
        return b

    cdef int one(self, const nq_event *e) except -1:
        if e.kind == NQ_EV_SEND_ACKED or e.kind == NQ_EV_SEND_LOST:
            return self.ev_mark(e)
        return Loop.one(self, e)

    cdef int ev_mark(self, const nq_event *e) except -1:
        """A write of nq_stream_send_ex was acknowledged, or lost."""
        cdef CapiMark mark = <CapiMark>e.user
        cdef object fn = mark.on_ack if e.kind == NQ_EV_SEND_ACKED else mark.on_retransmit
        if e.flags & NQ_EVF_LAST:
            self.marks.discard(mark)
        if fn is not None and not e.flags & NQ_EVF_LOCAL:
            try:
                if e.kind == NQ_EV_SEND_ACKED:
                    fn(e.len, e.value)
                else:
                    fn(e.len)
            except BaseException as exc:
                self.failed(exc, fn)
        return 0

    cdef uint64_t clock(self) noexcept:
        """The monotonic time by which it keeps deadlines, from any thread."""
        return clock_ns(CLOCK_MONOTONIC) if self.sim is None else self.sim.sim.s.now

    def _init(self, bint worker, int index):
        if worker and self.sim is not None:
            raise RuntimeError("a server of naquid.capi has threads, which are not possible in a SimNetwork: use "
                               "naquid.serve in network.run(...)")
        self.worker = worker
        self.index = index

    cdef bint post_op(self, int op, CapiHandle handle, object data, object cb, int type, uint32_t msgid,
                      uint64_t timeout) except -1:
        cdef CapiPost p = CapiPost.__new__(CapiPost)
        p.op = op
        p.handle = handle
        p.data = data
        p.cb = cb
        p.type = type
        p.msgid = msgid
        p.timeout = timeout
        return self.post_task(p, 0)

    def _call_soon(self, fn):
        """Calls fn() in the loop's thread. Returns False when the loop is closed."""
        return self.post_op(CAPI_OP_FUNC, None, fn, None, 0, 0, 0)

    cdef int conn_gone(self) except -1:
        store_int(&self.live_conns, self.live_conns - 1)
        if self.draining and self.live_conns == 0:
            store_int(&self.stopping, 1)
        return 0

    def _drain(self):
        """A server shuts down: no new clients, every connection is closed, then run() ends. In the loop's thread."""
        cdef PyObject *p = self.cores
        cdef PyObject *following
        cdef Core c
        self.draining = True
        while p != NULL:
            c = <Core>p
            following = c.link_next
            if isinstance(c, EndpointCore):
                nq_endpoint_refuse(self.l, (<EndpointCore>c).id)
            elif isinstance(c, CapiConn):
                (<CapiConn>c).close_now()
            p = following
        if self.live_conns == 0:
            store_int(&self.stopping, 1)

    def _destroy_conns(self):
        """A client is destroyed: every connection is closed and given up."""
        cdef PyObject *p = self.cores
        cdef PyObject *following
        cdef Core c
        while p != NULL:
            c = <Core>p
            following = c.link_next
            if isinstance(c, CapiConn):
                (<CapiConn>c).destroy_now()
            p = following

    def _call_at(self, delay, fn):
        """Calls fn(box) after `delay` ns in this thread; returns an alarm for _forget."""
        cdef nq_alarm_t a = nq_alarm_t.__new__(nq_alarm_t)
        a.begin(self, 0)
        alarm_set_now(a, clock_ns(CLOCK_REALTIME) + <uint64_t>delay, fn)
        return a

    def _forget(self, nq_alarm_t a not None):
        if a.live:
            alarm_free_now(a)

    def _adopt(self):
        """The calling thread runs the loop from now on."""
        if not swap_int(&self.ticking, 1):
            if self.l != NULL:
                self.adopt()
            store_int(&self.ticking, 0)

    @property
    def _live_conns(self):
        return load_int(&self.live_conns)

    @property
    def _ticking(self):
        return load_int(&self.ticking) != 0

    @property
    def _mine(self):
        """Whether the calling thread runs this loop."""
        return mine(self)

    cdef int failed(self, object exc, object where) except -1:
        capi_log(4, f"exception in a callback: {type(exc).__name__}: {exc}", {"callback": repr(where)})
        if self.worker and not isinstance(exc, Exception):
            # SystemExit in a worker's callback ends neither the worker nor the process.
            PyErr_SetObject(type(exc), exc)
            PyErr_WriteUnraisable(where)
            return 0
        return Loop.failed(self, exc, where)

    cdef int ev_log(self, const nq_event *e) except -1:
        cdef bytes data = event_bytes(e)
        text, _, fields = data.partition(b"\0")
        params = {}
        if fields:
            import json
            try:
                params = json.loads(b"{" + fields.strip(b"{}") + b"}")
            except ValueError:
                params = {"fields": fields.decode("utf-8", "replace")}
        return capi_log({68: 1, 73: 2, 87: 3, 69: 4}.get(e.type, 2), text.decode("utf-8", "replace"), params)

    cdef int close_now(self) except -1:
        Loop.close_now(self)
        self.marks.clear()
        return 0


# ---- alarms ----

@cython.no_gc_clear
cdef class CapiAlarm(AlarmCore):
    cdef int arm(self, uint64_t due) except -1:
        cdef uint64_t now = clock_ns(CLOCK_REALTIME)
        self.due = due
        return self.set_deadline((<CapiLoop>self.loop).clock() + (due - now if due > now else 0))

    cdef int ev_alarm(self, const nq_event *e) except -1:
        cdef CapiAlarm this = self  # freeing the alarm may drop the last reference
        cdef nq_alarm_t alarm = self.alarm
        cdef object proc = self.proc
        cdef list box = [self.due]
        cdef uint64_t due = 0
        try:
            proc(box)
            following = box[0]
            if not isinstance(following, int) or not 0 <= following < 1 << 64:
                raise ValueError(f"the alarm's next time is {following!r}: it must be an int of ns since 1970")
            due = following
        except BaseException as exc:
            alarm_free_now(alarm)
            this.loop.failed(exc, proc)
            return 0
        if not alarm.live or due == 0:
            return 0
        if due > self.due:
            return self.arm(due)
        return alarm_free_now(alarm)

    cdef int detached(self) except -1:
        if self.alarm is not None:
            store_int(&self.alarm.live, 0)
            self.alarm.core = None
        return 0


cdef int alarm_set_now(nq_alarm_t a, uint64_t due, object proc) except -1:
    cdef CapiAlarm core = a.core
    if core is None:
        core = CapiAlarm.__new__(CapiAlarm)
        core.create(a.loop)
        core.alarm = a
        a.core = core
    core.proc = proc
    return core.arm(due)


cdef int alarm_free_now(nq_alarm_t a) except -1:
    cdef CapiAlarm core = a.core
    store_int(&a.live, 0)
    if core is not None:
        a.core = None
        core.alarm = None
        core.release()
    return 0


cdef nq_alarm_t alarm_of(CapiStreamHandle s):
    cdef nq_alarm_t a = nq_alarm_t.__new__(nq_alarm_t)
    if alive(s):
        a.begin(s.loop, 0)
    return a


cdef class CapiAlarmApi:
    @staticmethod
    def nq_alarm_set(nq_alarm_t a not None, first, cb):
        """Calls cb(pnext) at `first`, in the thread of the alarm's loop; replaces time and callback set before.

        first: ns since 1970, as nq_time_now(); a time that has passed means the next tick. pnext is a box of one item,
        preset with the time it was set for. On return a later pnext[0] arms it again, STOP_INVOKE_NQ_TIME stops it
        (nq_alarm_set may set it again), anything else frees the alarm. Raises TypeError, ValueError for a wrong
        argument; a stale alarm is dropped. Any thread: queued to the alarm's loop.
        Original: nq_alarm_set.
        """
        cdef uint64_t due = time_of(first, "first")
        if not callable(cb):
            raise TypeError("an alarm's callback must be callable")
        handle_post(a, CAPI_OP_ALARM_SET, None, cb, 0, 0, due)

    @staticmethod
    def nq_alarm_destroy(nq_alarm_t a not None):
        """Frees the alarm; its callback is not called any more. Any thread: queued to its loop. Also inside its own
        callback. Original: nq_alarm_destroy."""
        handle_post(a, CAPI_OP_ALARM_FREE)

    @staticmethod
    def nq_alarm_is_valid(nq_alarm_t a not None):
        """Whether the alarm exists. Any thread. Original: nq_alarm_is_valid."""
        return alive(a) != 0
