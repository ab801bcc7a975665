# stream.pyx: naquid.capi: streams of every kind. What RPC adds is in rpc.pyx.
# needs: core/buffers core/callbacks core/errors core/loop core/rpc core/stream core/threads
# needs: capi/alarm capi/check capi/conn capi/handles capi/hdmap capi/loop

cdef class CapiMark:
    pass


@cython.no_gc_clear
cdef class CapiStream(RpcCore):
    cdef int prepare(self, CapiEntry entry, object ctx) except -1:
        self.entry = entry
        self.first_ctx = ctx
        self.on_request = entry.on_request
        self.on_batch = entry if entry.on_batch is not None else None
        self.on_notify = entry.on_notify
        return 0

    # ---- its life ----

    cdef int ev_open(self, const en.nq_event *e) except -1:
        cdef CapiStreamHandle h
        cdef CapiEntry entry = self.entry
        cdef list box = [self.first_ctx]
        cdef int64_t sid = en.nq_stream_id(self.loop.l, self.handle)
        if entry.kind == en.NQ_KIND_RPC:
            h = nq_rpc_t.__new__(nq_rpc_t)
            en.nq_rpc_max_msgid(self.loop.l, self.handle, entry.max_msgid)
        else:
            h = nq_stream_t.__new__(nq_stream_t)
        h.begin(self.loop, self.handle)
        h.core = self
        h.conn = (<CapiConn>self.conn).conn
        h.outgoing = self.outgoing
        h.sid = <uint64_t>sid if sid >= 0 else 0
        h.ctx = self.first_ctx
        self.first_ctx = None
        self.stream = h
        try:
            if entry.factory is not None:
                self.use_factory(entry)
                entry = self.entry
            h.framed = entry.framed
            h.headed = self.partial is not None
            self.open_reported = True
            accepted = True
            if entry.on_open is not None:
                accepted = entry.on_open(h, box)
                set_ctx(h, box[0])
        except BaseException as exc:
            self.refuse(en.NQ_CODE_REFUSED)
            self.loop.failed(exc, entry.on_open)
            return 0
        if accepted is not None and not accepted:
            self.refuse(en.NQ_CODE_REFUSED)
        return 0

    cdef int use_factory(self, CapiEntry entry) except -1:
        handler = entry.factory((<CapiConn>self.conn).conn)
        if handler is None:
            raise ValueError("the stream factory made no handler")
        # The engine's stream is raw: without a reader the records are cut here.
        self.entry = stream_entry(handler, entry.name)
        if not self.entry.framed:
            self.partial = bytearray()
        return 0

    cdef int refuse(self, uint64_t code) except -1:
        self.refused = True
        en.nq_stream_reset(self.loop.l, self.handle, code)
        en.nq_stream_stop(self.loop.l, self.handle, code)
        return 0

    cdef int close_now(self) except -1:
        en.nq_stream_close(self.loop.l, self.handle)
        return 0

    cdef int ev_fin(self, const en.nq_event *e) except -1:
        self.fin = True
        if self.stopped or self.unanswered <= 0:
            self.close_now()
        return 0

    cdef int ev_reset(self, const en.nq_event *e) except -1:
        if e.flags & en.NQ_EVF_LOCAL:  # given up by this side: on_close now, as the ends of its calls come next
            self.end()
        return self.close_now()

    cdef int ev_stop(self, const en.nq_event *e) except -1:
        if e.code == en.NQ_CODE_CLOSED and not self.fin:  # it closes in order: after all that it has sent its FIN comes
            self.stopped = True  # replies cannot be sent any more
            return 0
        return self.close_now()

    cdef int ev_close(self, const en.nq_event *e) except -1:
        return self.end()

    cdef int detached(self) except -1:
        return self.end()

    cdef int end(self) except -1:
        cdef CapiStreamHandle h = self.stream
        if h is None or self.close_reported:
            return 0
        self.close_reported = True
        try:
            if self.open_reported and self.entry.on_close is not None:
                self.entry.on_close(h)
        except BaseException as exc:
            self.loop.failed(exc, self.entry.on_close)
        finally:
            store_int(&h.live, 0)
            h.core = None
        if self.unsent is not None:
            for cb in self.unsent:
                try:
                    cb(h, R_GOAWAY, b"")
                except BaseException as exc:
                    self.loop.failed(exc, cb)
        return 0

    # ---- what comes ----

    cdef int ev_record(self, const en.nq_event *e) except -1:
        if not self.refused:
            self.record(event_bytes(e))
        return 0

    cdef int record(self, object data) except -1:
        cdef PyObject *args[3]
        cdef object fn = self.entry.on_record
        if fn is None:
            return 0
        args[0] = NULL
        args[1] = <PyObject *>self.stream
        args[2] = <PyObject *>data
        return call_back(self.loop, fn, args, 2)

    cdef int ev_data(self, const en.nq_event *e) except -1:
        cdef bytes chunk
        if self.refused or self.close_reported:
            return 0
        chunk = event_bytes(e)
        if self.entry.reader is None:
            return self.read_records(chunk)
        try:
            got = self.entry.reader(self.stream, chunk)
            if got is None:
                return 0
            if isinstance(got, int):
                if got < 0:
                    self.refuse(en.NQ_CODE_FRAME_ERROR)
                return 0
            if isinstance(got, (bytes, bytearray, memoryview)):
                self.record(got)
            else:
                for one in got:
                    if self.stream.live:
                        self.record(one)
        except BaseException as exc:
            self.refuse(en.NQ_CODE_FRAME_ERROR)
            if not isinstance(exc, ValueError):
                self.loop.failed(exc, self.entry.reader)
        return 0

    cdef int read_records(self, bytes chunk) except -1:
        """Length-prefixed records of a stream that is raw to the engine."""
        cdef const unsigned char *p
        cdef Py_ssize_t n, at, start = 0
        cdef uint64_t length
        cdef int shift
        cdef uint64_t limit = self.max_message()
        self.partial += chunk
        chunk = bytes(self.partial)
        p = <const unsigned char *>PyBytes_AS_STRING(chunk)
        n = PyBytes_GET_SIZE(chunk)
        while start < n:
            at = start
            length = 0
            shift = 0
            while at < n and shift < 35:
                length |= <uint64_t>(p[at] & 0x7f) << shift
                shift += 7
                at += 1
                if p[at - 1] & 0x80:
                    break
            else:
                if shift >= 35:
                    return self.refuse(en.NQ_CODE_FRAME_ERROR)
                break
            if p[at - 1] == 0x80 and at - start > 1:
                return self.refuse(en.NQ_CODE_FRAME_ERROR)
            if length > limit:
                return self.refuse(en.NQ_CODE_TOO_BIG)
            if <uint64_t>(n - at) < length:
                break
            self.record(chunk[at:at + <Py_ssize_t>length])
            if not self.stream.live:
                return 0
            start = at + <Py_ssize_t>length
        del self.partial[:start]
        return 0

    cdef uint64_t max_message(self) noexcept:
        return (<CapiConn>self.conn).max_message


# ---- what goes ----

cdef inline int stream_send(CapiStreamHandle s, object data, CapiMark mark) except -1:
    """One record: at once in the loop's thread, queued from others. A stream that is gone: dropped."""
    if s.framed or s.headed:
        return stream_form(s, data, mark)
    return stream_put(s, data, mark, False)


cdef int stream_form(CapiStreamHandle s, object data, CapiMark mark) except -1:
    """Gives a record its form and sends it. A stream_writer runs in the loop's thread."""
    cdef CapiStream core
    if not here(s):
        return handle_post(s, CAPI_OP_SEND, data if s.framed else bytes_of(data), mark)
    core = s.core
    if core.refused or core.close_reported:
        return 0
    if s.framed:
        data = core.entry.writer(s, data)
        if data is None or not len(data):
            if here(s):
                core.close_now()
            return 0
    else:
        raw = bytes_of(data)
        data = record_head(len(raw)) + raw
    return stream_put(s, data, mark, True)


cdef inline int stream_put(CapiStreamHandle s, object data, CapiMark mark, bint formed) except -1:
    """Sends or queues what needs no form, or has it."""
    cdef View v
    cdef Loop loop = s.loop
    cdef bytes copy = None
    cdef int rc = en.NQ_DONE
    view_get(&v, data)
    try:
        if here(s):
            if s.core.refused:
                pass
            elif mark is None:
                rc = send_view(loop.l, s.h, data, &v)
            else:
                (<CapiLoop>loop).marks.add(mark)  # the engine points at it
                rc = en.nq_stream_send_marked(loop.l, s.h, v.p, v.n, <void *>mark)
                if rc < 0:
                    (<CapiLoop>loop).marks.discard(mark)
        elif not formed:
            copy = view_bytes(&v, data)
        elif alive(s):  # the writer gave the loop away: queued, it would be formed again
            bad_loop(loop)
    finally:
        view_done(&v)
    if copy is not None:
        return handle_post(s, CAPI_OP_SEND, copy, mark)
    return send_failed(loop, rc, "sending a record") if rc < 0 else 0


cdef bytes record_head(size_t n):
    cdef bytearray out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7f)
        n >>= 7
    out.append(n | 0x80)
    return bytes(out)


cdef int send_failed(Loop loop, int rc, str what) except -1:
    """A stream that is gone is nothing to report; the rest is raised."""
    if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:
        return 0
    return engine_error(loop, rc, what)


def nq_stream_conn(nq_stream_t s not None):
    """The handle of its connection; of a stale stream an empty one, whose reason is "conn not found". Any thread.
    Original: nq_stream_conn."""
    return conn_of(s)


def nq_stream_alarm(nq_stream_t s not None):
    """A new alarm on the stream's loop, which outlives the stream; an empty one when the stream is stale. Any
    thread. Original: nq_stream_alarm."""
    return alarm_of(s)


def nq_stream_is_valid(nq_stream_t s not None, cb=None):
    """Whether the stream exists; cb as for nq_conn_is_valid. Any thread. Original: nq_stream_is_valid."""
    return handle_check(s, cb)


def nq_stream_outgoing(nq_stream_t s not None):
    """(outgoing, valid): whether this side opened it, and whether the handle is valid. Any thread.
    Original: nq_stream_outgoing, whose out parameter is the second result."""
    cdef bint live = alive(s)
    return s.outgoing and live, live


def nq_stream_close(nq_stream_t s not None):
    """Ends the stream: FIN after what is queued, and nothing more is read; on_stream_close follows. Any thread:
    queued. Original: nq_stream_close."""
    handle_post(s, CAPI_OP_CLOSE)


def nq_stream_send(nq_stream_t s not None, data):
    """Sends one record (any contiguous bytes-like object; with a stream_writer whatever that takes). At once in the
    loop's thread, queued with a copy from others (bytes need none). bytes of 64 KiB or more, and memoryviews of
    them, are not copied but kept until all is acknowledged or the stream has ended. Stale: dropped. Raises
    TypeError, MessageTooBig (ValueError), QueueFull (BufferError); from another thread those are only logged.
    Original: nq_stream_send."""
    if alive(s):
        stream_send(s, data, None)


def nq_stream_send_ex(nq_stream_t s not None, data, opt):
    """nq_stream_send that tells what became of it: opt is an nq_stream_opt_t. on_ack(nbytes, delay_ns) is called as
    its bytes (framing included, the name not) are acknowledged, delay_ns after they were sent;
    on_retransmit(nbytes) when some were lost and are sent again (an estimate). Errors and thread rule as
    nq_stream_send. Original: nq_stream_send_ex."""
    cdef CapiMark mark = CapiMark.__new__(CapiMark)
    mark.on_ack = field_of(opt, "on_ack", "nq_stream_opt_t")
    need_callable(mark.on_ack, "on_ack")
    mark.on_retransmit = field_of(opt, "on_retransmit", "nq_stream_opt_t")
    need_callable(mark.on_retransmit, "on_retransmit")
    if alive(s):
        stream_send(s, data, mark)


def nq_stream_task(nq_stream_t s not None, cb):
    """Calls cb(s) in the thread of the stream's loop, if the stream still exists then. Raises TypeError.
    Any thread: queued. Original: nq_stream_task."""
    if not callable(cb):
        raise TypeError("a task must be callable")
    handle_post(s, CAPI_OP_TASK, None, cb)


def nq_stream_equal(nq_stream_t c1 not None, nq_stream_t c2 not None):
    """Whether both name the same stream, or both are empty. Any thread. Original: nq_stream_equal."""
    return c1 == c2


def nq_stream_sid(nq_stream_t s not None):
    """The QUIC stream ID (RFC 9000 2.1: a client's first is 0); 0 too when the handle is not valid. Any thread.
    Original: nq_stream_sid, whose IDs are of an older QUIC."""
    return s.sid if alive(s) else 0


def nq_stream_ctx(nq_stream_t s not None):
    """What on_stream_open put into pctx[0], or the ctx it was opened with. Any thread. Original: nq_stream_ctx."""
    return ctx_of(s)


cdef nq_conn_t conn_of(CapiStreamHandle s):
    cdef nq_conn_t none
    if alive(s) and s.conn is not None:
        return s.conn
    none = nq_conn_t.__new__(nq_conn_t)
    none.why = CAPI_WHY_NO_CONN
    return none
