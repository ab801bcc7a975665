# rpc.pyx: naquid.capi: RPC. A request costs one bytes object, one vectorcall and one reply; a reply the same.
# needs: core/buffers core/callbacks core/errors core/loop core/rpc core/threads
# needs: capi/alarm capi/batch capi/check capi/handles capi/loop capi/stream

@cython.no_gc_clear
cdef class CapiRpc(CapiStream):
    cdef int ev_request(self, const en.nq_event *e) except -1:
        return 0 if self.refused else RpcCore.ev_request(self, e)

    cdef int ev_notify(self, const en.nq_event *e) except -1:
        return 0 if self.refused else RpcCore.ev_notify(self, e)

    cdef int request(self, object handler, object type, uint32_t msgid, bytes payload) except -1:
        cdef PyObject *r
        cdef object msgid_ = msgid
        self.unanswered += 1
        self.told_too_big = 0
        r = call_handler(handler, self.stream, type, msgid_, payload)
        if r == NULL:
            return self.request_failed(msgid, handler)
        Py_XDECREF(r)
        return 0

    cdef int request_failed(self, uint32_t msgid, object handler) except -1:
        """on_rpc_request raised: the caller gets an error reply."""
        try:
            raise_set()
        except BaseException as exc:
            if self.told_too_big != msgid:
                rpc_send_reply(<nq_rpc_t>self.stream, msgid, R_USER, b"")
            self.loop.failed(exc, handler)
        return 0

    cdef int notification(self, object handler, object type, bytes payload) except -1:
        cdef PyObject *r = call_handler(handler, self.stream, type, None, payload)
        if r == NULL:
            return callback_failed(self.loop, handler)
        Py_XDECREF(r)
        return 0

    cdef Requests new_requests(self):
        cdef CapiBatch batch = CapiBatch.__new__(CapiBatch)
        batch.fn = self.entry.on_batch
        return batch

    cdef int close_finished(self) except -1:
        return self.close_now()

    cdef en.nq_loop *for_call(self) except? NULL:
        if here(self.stream):
            return self.loop.l
        if alive(self.stream):  # a buffer's own code gave the loop to another thread
            bad_loop(self.loop)
        return NULL

    cdef int ev_reply(self, object cb, int kind, bint local, int result, bytes payload) except -1:
        cdef PyObject *args[4]
        cdef object result_ = result
        if kind >= CALL_MANY:
            return (<CapiMany>cb).put(self, kind - CALL_MANY, result_, payload)
        args[0] = NULL
        args[1] = <PyObject *>self.stream
        args[2] = <PyObject *>result_
        args[3] = <PyObject *>payload
        return call_back(self.loop, cb, args, 3)


# ---- sending: at once in the loop's thread, queued with a copy from others ----

cdef inline int rpc_send_call(nq_rpc_t rpc, int type, object data, object cb, uint64_t timeout) except -1:
    """A stream that is gone: NQ_EGOAWAY."""
    cdef View v
    cdef CapiStream core
    cdef Loop loop = rpc.loop
    cdef bytes copy = None
    cdef int rc = en.NQ_DONE
    view_get(&v, data)
    try:
        if here(rpc):
            core = rpc.core
            rc = core.call_now(loop.l, cb, CALL_CALLBACK, type, &v, timeout, NULL)
        else:
            copy = view_bytes(&v, data)
    finally:
        view_done(&v)
    if copy is not None:
        if alive(rpc) and (<CapiLoop>loop).post_op(CAPI_OP_CALL, rpc, copy, cb, type, 0, timeout):
            return 0
        return rpc_gone(rpc, cb)
    if rc < 0:
        if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:
            return rpc_gone(rpc, cb)
        return engine_error(loop, rc, "calling")
    return 0


cdef int rpc_gone(nq_rpc_t rpc, object cb) except -1:
    """The reply of a call that cannot be sent: after on_rpc_close when the stream is ending, in the loop's next tick
    when it has ended, at once when there is no loop any more."""
    cdef list waiting = [cb]  # made before it is asked: what makes it may run code of the user's
    cdef CapiStream core
    if load_u64(&rpc.loop.owner) == PyThread_get_thread_ident() and alive(rpc):
        core = rpc.core
        if core is not None and not core.close_reported:
            if core.unsent is None:
                core.unsent = waiting
            else:
                core.unsent.append(cb)
            return 0
    if rpc.serial != 0 and (<CapiLoop>rpc.loop).post_op(CAPI_OP_GOAWAY, rpc, None, cb, 0, 0, 0):
        return 0
    cb(rpc, R_GOAWAY, b"")
    return 0


cdef inline int rpc_send_notify(nq_rpc_t rpc, int type, object data) except -1:
    """A stream that is gone: dropped."""
    cdef View v
    cdef bytes copy = None
    cdef int rc = en.NQ_DONE
    view_get(&v, data)
    try:
        if here(rpc):
            rc = en.nq_rpc_notify(rpc.loop.l, rpc.h, <int16_t>type, v.p, v.n)
        else:
            copy = view_bytes(&v, data)
    finally:
        view_done(&v)
    if copy is not None:
        return handle_post(rpc, CAPI_OP_NOTIFY, copy, None, type)
    return send_failed(rpc.loop, rc, "notifying") if rc < 0 else 0


cdef inline int rpc_send_reply(nq_rpc_t rpc, uint32_t msgid, int result, object data) except -1:
    """A stream that is gone: dropped."""
    cdef View v
    cdef CapiRpc core
    cdef bytes copy = None
    cdef int rc = en.NQ_DONE
    view_get(&v, data)
    try:
        if here(rpc):
            rc = en.nq_rpc_reply(rpc.loop.l, rpc.h, msgid, <int16_t>result, v.p, v.n)
            core = rpc.core
            if rc == en.NQ_ERR_TOOBIG and en.nq_rpc_reply(rpc.loop.l, rpc.h, msgid, R_TOOBIG, NULL, 0) >= 0:
                core.told_too_big = msgid
                answered(core)
            elif rc >= 0:
                answered(core)
        else:
            copy = view_bytes(&v, data)
    finally:
        view_done(&v)
    if copy is not None:
        return handle_post(rpc, CAPI_OP_REPLY, copy, None, result, msgid)
    return send_failed(rpc.loop, rc, "replying to a request") if rc < 0 else 0


cdef inline int type_of(object type) except -1:
    return <int>small_int(type, "type", 1, 32767)


cdef inline uint32_t msgid_of(object msgid) except 0:
    return <uint32_t>small_int(msgid, "msgid", 1, 0xffffffff)


def nq_rpc_conn(nq_rpc_t rpc not None):
    """The handle of its connection, as nq_stream_conn. Any thread. Original: nq_rpc_conn."""
    return conn_of(rpc)


def nq_rpc_alarm(nq_rpc_t rpc not None):
    """A new alarm on its loop, as nq_stream_alarm. Any thread. Original: nq_rpc_alarm."""
    return alarm_of(rpc)


def nq_rpc_is_valid(nq_rpc_t rpc not None, cb=None):
    """Whether the RPC stream exists; cb as for nq_conn_is_valid. Any thread. Original: nq_rpc_is_valid."""
    return handle_check(rpc, cb)


def nq_rpc_outgoing(nq_rpc_t s not None):
    """(outgoing, valid) as nq_stream_outgoing. Any thread. Original: nq_rpc_outgoing."""
    cdef bint live = alive(s)
    return s.outgoing and live, live


def nq_rpc_close(nq_rpc_t rpc not None):
    """Ends the RPC stream: on_rpc_close, then NQ_EGOAWAY to every call that waits. Any thread: queued.
    Original: nq_rpc_close."""
    handle_post(rpc, CAPI_OP_CLOSE)


def nq_rpc_call(nq_rpc_t rpc not None, type, data, on_reply):
    """Sends a request; on_reply(rpc, result, data) is called exactly once: NQ_OK, NQ_EUSER with the payload of an
    error reply, NQ_ETIMEOUT after the handler's timeout, NQ_EGOAWAY when the stream is gone or was already,
    NQ_EALLOC when a call that was queued by another thread found the stream's queue full.

    type: 1 to 32767. data: any contiguous bytes-like object. At once in the loop's thread, queued with a copy from
    others. Raises TypeError, ValueError, MessageTooBig, QueueFull. Original: nq_rpc_call.
    """
    cdef int number = type_of(type)
    if not callable(on_reply):
        raise TypeError("on_reply must be callable")
    rpc_send_call(rpc, number, data, on_reply, 0)


def nq_rpc_call_ex(nq_rpc_t rpc not None, type, data, opts):
    """nq_rpc_call with an nq_rpc_opt_t: opts.callback and opts.timeout in ns, 0 is the handler's. Errors and thread
    rule as nq_rpc_call. Original: nq_rpc_call_ex."""
    cdef int number = type_of(type)
    cdef uint64_t timeout = time_of(field_of(opts, "timeout", "nq_rpc_opt_t"), "timeout")
    on_reply = field_of(opts, "callback", "nq_rpc_opt_t")
    if not callable(on_reply):
        raise TypeError("opts.callback must be callable")
    rpc_send_call(rpc, number, data, on_reply, timeout)


def nq_rpc_notify(nq_rpc_t rpc not None, type, data):
    """Sends a message that has no reply. type: 1 to 32767. Thread rule and errors as nq_rpc_call; stale: dropped.
    Original: nq_rpc_notify."""
    rpc_send_notify(rpc, type_of(type), data)


def nq_rpc_reply(nq_rpc_t rpc not None, msgid, data):
    """Answers the request msgid with NQ_OK and data, any contiguous bytes-like object. At any time after the
    request; a second answer is ignored by the caller. At once in the loop's thread, queued with a copy from others.
    Stale: dropped. Raises TypeError, ValueError for a msgid that is not 1 to 2**32-1, and MessageTooBig, after which
    the caller has an error reply (naquid.ETOOBIG). Original: nq_rpc_reply."""
    rpc_send_reply(rpc, msgid_of(msgid), 0, data)


def nq_rpc_error(nq_rpc_t rpc not None, msgid, data):
    """Answers the request msgid with NQ_EUSER and data; otherwise as nq_rpc_reply. Original: nq_rpc_error."""
    rpc_send_reply(rpc, msgid_of(msgid), R_USER, data)


def nq_rpc_task(nq_rpc_t rpc not None, cb):
    """Calls cb(rpc) in the loop's thread, as nq_stream_task. Raises TypeError. Any thread: queued.
    Original: nq_rpc_task."""
    if not callable(cb):
        raise TypeError("a task must be callable")
    handle_post(rpc, CAPI_OP_TASK, None, cb)


def nq_rpc_equal(nq_rpc_t c1 not None, nq_rpc_t c2 not None):
    """Whether both name the same RPC stream, or both are empty. Any thread. Original: nq_rpc_equal."""
    return c1 == c2


def nq_rpc_sid(nq_rpc_t rpc not None):
    """The QUIC stream ID, as nq_stream_sid. Any thread. Original: nq_rpc_sid."""
    return rpc.sid if alive(rpc) else 0


def nq_rpc_ctx(nq_rpc_t s not None):
    """What on_rpc_open put into pctx[0], or the ctx it was opened with. Any thread. Original: nq_rpc_ctx."""
    return ctx_of(s)
