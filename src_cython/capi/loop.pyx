# loop.pyx: naquid.capi: the loop of a client or a worker, and its queue.
# needs: core/buffers core/conn core/core core/errors core/loop core/sim core/threads
# needs: capi/alarm capi/batch capi/clock capi/conn capi/handles capi/log capi/rpc capi/stream

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


cdef int handle_post(CapiHandle h, int op, object data=None, object cb=None, int type=0, uint32_t msgid=0,
                     uint64_t timeout=0) except -1:
    """Queues work for the handle's loop; dropped when the handle is not valid any more."""
    if alive(h):
        (<CapiLoop>h.loop).post_op(op, h, data, cb, type, msgid, timeout)
    return 0


@cython.final
cdef class CapiPost(Posted):
    cdef int run(self, Loop loop, const en.nq_event *e) except -1:
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
            en.nq_conn_flush(loop.l, h.h)
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
        """A queued call failed, and its caller has gone on: the exception is reported, and the callback has its one
        reply."""
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

    def __init__(self):
        Loop.__init__(self, sim=sim_host.get())

    cdef int ev_mark(self, const en.nq_event *e) except -1:
        """A write of nq_stream_send_ex was acknowledged, or lost."""
        cdef CapiMark mark = <CapiMark>e.user
        cdef object fn = mark.on_ack if e.kind == en.NQ_EV_SEND_ACKED else mark.on_retransmit
        if e.flags & en.NQ_EVF_LAST:
            self.marks.discard(mark)
        if fn is not None and not e.flags & en.NQ_EVF_LOCAL:
            try:
                if e.kind == en.NQ_EV_SEND_ACKED:
                    fn(e.len, e.value)
                else:
                    fn(e.len)
            except BaseException as exc:
                self.failed(exc, fn)
        return 0

    cdef uint64_t clock(self) noexcept:
        """The monotonic time by which it keeps deadlines, from any thread."""
        return monotonic_ns() if self.sim is None else self.sim.sim.s.now

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
                en.nq_endpoint_refuse(self.l, (<EndpointCore>c).id)
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
        alarm_set_now(a, realtime_ns() + <uint64_t>delay, fn)
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

    cdef int ev_log(self, const en.nq_event *e) except -1:
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
