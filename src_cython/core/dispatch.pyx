# dispatch.pyx: which object and which of its methods each kind of event is for.
# needs: core/buffers core/calls core/conn core/core core/loop core/rpc core/stream core/threads

cdef int refuse_stream(Loop loop, StreamCore s, en.nq_handle h, uint64_t code) except -1:
    en.nq_stream_set_user(loop.l, h, NULL)
    en.nq_stream_reset(loop.l, h, code)
    en.nq_stream_stop(loop.l, h, code)
    if s is not None:
        s.closed = True
        loop.unlink(s)
    return 0


cdef int stream_open(Loop loop, const en.nq_event *e) except -1:
    """Tells the object of a stream; if the peer opened it, makes that object first."""
    cdef StreamCore s = None
    cdef void *p = en.nq_stream_user(loop.l, e.handle)
    if e.flags & en.NQ_EVF_OUTGOING:
        if p != NULL:
            s = <StreamCore>p
            s.opened = True
            if s.conn.opening is not None:
                s.conn.opening.discard(s)
            s.ev_open(e)
        return 0
    if not en.nq_stream_alive(loop.l, e.handle):
        return 0
    # Until here the stream's user is the handler map's entry: no object that could take events.
    en.nq_stream_set_user(loop.l, e.handle, NULL)
    p = en.nq_conn_user(loop.l, e.conn)
    try:
        if p != NULL:
            s = (<Core>p).accept_stream(e)
        if s is not None:
            s.handle = e.handle
            s.opened = True
            s.uni = (e.flags & en.NQ_EVF_UNI) != 0
            if s.conn is None and isinstance(<object>p, ConnCore):
                s.conn = <ConnCore>p
            loop.link(s)
            en.nq_stream_set_user(loop.l, e.handle, <void *>s)
            s.ev_open(e)
    except BaseException:
        refuse_stream(loop, s, e.handle, en.NQ_CODE_INTERNAL)
        raise
    if s is None:
        refuse_stream(loop, None, e.handle, en.NQ_CODE_REFUSED)
    return 0


cdef int stream_event(Loop loop, const en.nq_event *e) except -1:
    cdef StreamCore s
    cdef int kind = e.kind
    cdef void *p = en.nq_stream_user(loop.l, e.handle)
    if p == NULL:
        return 0
    s = <StreamCore>p
    if kind == en.NQ_EV_STREAM_FIN:
        if en.nq_rpc_deliver(loop.l, e, &p):
            s.ev_fin(e)
    elif kind == en.NQ_EV_STREAM_RESET:
        s.ev_reset(e)
    elif kind == en.NQ_EV_STREAM_STOP:
        s.ev_stop(e)
    elif kind == en.NQ_EV_STREAM_WRITABLE:
        s.ev_writable(e)
    elif kind == en.NQ_EV_STREAM_ACKED:
        s.ev_acked(e)
    elif kind == en.NQ_EV_STREAM_CLOSE:
        en.nq_stream_set_user(loop.l, e.handle, NULL)
        loop.unlink(s)
        s.closed = True
        if not s.opened and s.conn is not None and s.conn.opening is not None:
            s.conn.opening.discard(s)
        s.ev_close(e)
    return 0


cdef int conn_event(Loop loop, const en.nq_event *e) except -1:
    cdef Core c
    cdef int kind = e.kind
    cdef void *p = en.nq_conn_user(loop.l, e.handle)
    if kind == en.NQ_EV_CONN_FREED and p == NULL:
        p = e.user
    if p == NULL:
        return 0
    c = <Core>p
    if kind == en.NQ_EV_CONN_OPEN:
        c.ev_open(e)
    elif kind == en.NQ_EV_CONN_CLOSE:
        c.ev_close(e)
        if isinstance(c, ConnCore):
            (<ConnCore>c).end_opening()
    elif kind == en.NQ_EV_PONG:
        c.ev_pong(e)
    elif isinstance(c, ConnCore):
        en.nq_conn_set_user(loop.l, e.handle, NULL)
        loop.unlink(c)
        c.ev_freed(e)
    else:
        c.ev_freed(e)
    return 0


cdef int dispatch_event(Loop loop, const en.nq_event *e) except -1:
    """Hands one event to the object that it is for."""
    cdef void *p
    cdef Posted task
    cdef int kind = e.kind
    if kind == en.NQ_EV_RPC_REQUEST:
        if en.nq_rpc_deliver(loop.l, e, &p) and p != NULL:
            (<RpcCore>p).ev_request(e)
    elif kind == en.NQ_EV_RPC_REPLY:
        if e.user != NULL:
            return loop.calls.deliver(<CallNode *>e.user, e)
    elif kind == en.NQ_EV_STREAM_DATA:
        p = en.nq_stream_user(loop.l, e.handle)
        if p != NULL:
            (<StreamCore>p).ev_data(e)
    elif kind == en.NQ_EV_STREAM_RECORD:
        p = en.nq_stream_user(loop.l, e.handle)
        if p != NULL:
            (<StreamCore>p).ev_record(e)
    elif kind == en.NQ_EV_RPC_NOTIFY:
        if en.nq_rpc_deliver(loop.l, e, &p) and p != NULL:
            (<RpcCore>p).ev_notify(e)
    elif kind == en.NQ_EV_RPC_CANCEL:
        if en.nq_rpc_deliver(loop.l, e, &p) and p != NULL:
            (<RpcCore>p).ev_cancelled(e)
    elif kind == en.NQ_EV_DATAGRAM:
        p = en.nq_conn_user(loop.l, e.handle)
        if p != NULL:
            (<Core>p).ev_datagram(e)
    elif kind == en.NQ_EV_STREAM_OPEN:
        stream_open(loop, e)
    elif en.NQ_EV_STREAM_FIN <= kind <= en.NQ_EV_STREAM_CLOSE:
        stream_event(loop, e)
    elif en.NQ_EV_CONN_OPEN <= kind <= en.NQ_EV_CONN_FREED or kind == en.NQ_EV_PONG:
        conn_event(loop, e)
    elif kind == en.NQ_EV_HANDSHAKE_FAILED:
        if e.user != NULL:
            (<Core>e.user).ev_handshake_failed(e)
    elif kind == en.NQ_EV_ALARM:
        p = en.nq_alarm_user(loop.l, e.handle)
        if p != NULL:
            (<Core>p).ev_alarm(e)
    elif kind == en.NQ_EV_TASK:
        if e.user != NULL:
            task = <Posted>e.user
            loop.posted.discard(task)
            if not swap_int(&task.claimed, 1):
                task.run(loop, e)
    elif kind == en.NQ_EV_RETURNED:
        take_returned(loop.l)
    elif kind == en.NQ_EV_SEND_ACKED or kind == en.NQ_EV_SEND_LOST:
        loop.ev_mark(e)
    elif kind == en.NQ_EV_LOG:
        loop.ev_log(e)
    return 0


cdef int log_record(const en.nq_event *e) except -1:
    """What the engine has to say, for the logger `naquid`."""
    cdef int level = e.type
    cdef bytes data = event_bytes(e)
    import logging
    logger = logging.getLogger("naquid")
    number = {b"D": 10, b"I": 20, b"W": 30, b"E": 40}.get(bytes([level & 0x7f]), 20)
    if logger.isEnabledFor(number):
        text, _, fields = data.partition(b"\0")
        message = text.decode("utf-8", "replace")
        if fields:
            message += " " + fields.decode("utf-8", "replace")
        logger.log(number, "%s", message)
    return 0
