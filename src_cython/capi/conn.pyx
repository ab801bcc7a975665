# conn.pyx: naquid.capi: connections.
# needs: core/address core/conn core/errors core/limits core/stream core/threads core/tls
# needs: capi/check capi/handles capi/hdmap capi/log capi/loop capi/rpc capi/stream

cdef enum:
    NQ_E_SYSCALL = -1
    NQ_E_QUIC = -6
    NQ_E_RESOLVE = -8

cdef tuple CLIENT_CLOSE = (16, b"Client disconnecting")
cdef tuple CLIENT_DESTROY = (16, b"Client being torn down")
cdef tuple SERVER_CLOSE = (70, b"server side close")

# Ends that carry no code of the wire have the original's number (QUIC errors of its time).
cdef dict CAPI_LOCAL_CODES = {en.NQ_WHY_IDLE: 25, en.NQ_WHY_HANDSHAKE_TIMEOUT: 67, en.NQ_WHY_RESET: 19,
                              en.NQ_WHY_VERSION: 20, en.NQ_WHY_SYSTEM: 27}


cdef CapiStream stream_for(CapiConn conn, CapiEntry entry, object ctx):
    cdef CapiStream s
    if entry.kind == en.NQ_KIND_RPC:
        s = CapiRpc.__new__(CapiRpc)
    else:
        s = CapiStream.__new__(CapiStream)
    s.conn = conn
    s.prepare(entry, ctx)
    return s


@cython.no_gc_clear
cdef class CapiConn(ConnCore):
    cdef int make_handle(self, CapiLoop loop, nq_conn_t h) except -1:
        """h: a new one."""
        h.begin(loop, self.handle)
        h.client = self.client
        h.core = self
        store_int(&h.fd, en.nq_conn_fd(loop.l, self.handle) if self.client else -1)
        self.conn = h
        store_int(&loop.live_conns, loop.live_conns + 1)
        return 0

    def _start(self, CapiLoop loop, str host, int port, str server_name, Tls tls, nq_hdmap_t streams,
               EngineLimits limits, on_open, on_close, on_finalize, race):
        """Connects to a numeric address. Raises what the engine says."""
        cdef en.nq_addr a
        cdef nq_conn_t h = nq_conn_t.__new__(nq_conn_t)
        to_addr(&a, host, port)
        self.streams = streams
        self.on_open = on_open
        self.on_close = on_close
        self.on_finalize = on_finalize
        self.race = race
        self.max_message = limits.values.max_message_size
        self.connect(loop, &a, server_name, tls, streams.map, &limits.values, 0, 0, True)
        self.make_handle(loop, h)

    def _drop(self):
        """An attempt that lost the race: no callback, no object."""
        self.on_open = None
        self.on_close = None
        self.on_finalize = None
        self.race = None
        self.finalizing = True
        if self.linked and self.loop.l != NULL:
            en.nq_conn_close(self.loop.l, self.handle, 0, NULL, 0, 1)
            en.nq_conn_free(self.loop.l, self.handle)

    cdef int destroy_now(self) except -1:
        en.nq_conn_flush(self.loop.l, self.handle)
        self.end(CLIENT_DESTROY)
        en.nq_conn_close(self.loop.l, self.handle, 0, NULL, 0, 1)
        return 0

    cdef int ev_open(self, const en.nq_event *e) except -1:
        cdef list box
        cdef nq_conn_t h = self.conn
        self.opened = True
        self.disconnected = False
        self.waiting = False
        store_u64(&h.reconnect_at, 0)
        if self.race is not None:
            race = self.race
            self.race = None
            race.won(self)
        if self.client:
            store_int(&h.fd, en.nq_conn_fd(self.loop.l, self.handle))
        if self.on_open is None:
            return 0
        self.announced = True
        box = [h.ctx]
        try:
            self.on_open(h, box)
            set_ctx(h, box[0])
        except BaseException as exc:
            set_ctx(h, box[0])
            en.nq_conn_close(self.loop.l, self.handle, en.NQ_CODE_REFUSED, NULL, 0, 1)
            self.loop.failed(exc, self.on_open)
        return 0

    cdef StreamCore accept_stream(self, const en.nq_event *e):
        cdef CapiEntry entry = <CapiEntry>e.user
        return stream_for(self, entry, None)

    cdef int end_opening(self) except -1:
        # ev_close did it, before on_close: streams that on_close opens belong to the next connection.
        return 0

    cdef int ev_close(self, const en.nq_event *e) except -1:
        self.keep_close(e)
        ConnCore.end_opening(self)
        if self.race is not None and not self.opened:
            race = self.race
            self.race = None
            if not race.lost(self):
                self._drop()
                return 0
        return self.call_close()

    cdef int call_close(self) except -1:
        cdef nq_conn_t h = self.conn
        cdef bint reset = self.resetting
        cdef int code = <int>(self.code & 0x7fffffff)
        self.resetting = False
        self.waiting = False
        self.disconnected = True
        store_int(&h.fd, -1)
        delay = 0
        if self.on_close is not None:
            if self.why in CAPI_LOCAL_CODES:
                code = CAPI_LOCAL_CODES[self.why]
            try:
                delay = self.on_close(h, NQ_E_QUIC, capi_detail(code, self.reason),
                                      (self.close_flags & en.NQ_EVF_REMOTE) != 0)
                if not self.client or delay is None or isinstance(delay, bool):
                    delay = 0
                if not isinstance(delay, int) or not 0 <= delay < 1 << 63:
                    raise ValueError(f"on_close returned {delay!r}: it must be the ns until the next attempt, or 0")
            except BaseException as exc:
                self.loop.failed(exc, self.on_close)
                delay = 0
        if not self.client:
            self.end_handle()
        elif not self.finalizing and (reset or delay > 0 or self.resetting):
            self.reconnect_after(delay)
        self.resetting = False
        return 0

    cdef int reconnect_after(self, uint64_t delay) except -1:
        cdef int rc
        if self.loop.l == NULL:
            return 0
        rc = en.nq_conn_reconnect(self.loop.l, self.handle, delay, NULL)
        if rc < 0:
            engine_error(self.loop, rc, "reconnecting")
        self.closed = False
        self.waiting = True
        store_u64(&self.conn.reconnect_at, (<CapiLoop>self.loop).clock() + delay)
        return 0

    cdef int ev_freed(self, const en.nq_event *e) except -1:
        cdef nq_conn_t h = self.conn
        if h is not None and self.client and self.on_finalize is not None:
            try:
                self.on_finalize(h, h.ctx)
            except BaseException as exc:
                self.loop.failed(exc, self.on_finalize)
        return self.end_handle()

    cdef int end_handle(self) except -1:
        cdef nq_conn_t h = self.conn
        if h is not None and h.live:
            store_int(&h.live, 0)
            h.core = None
            store_int(&h.fd, -1)
            store_u64(&h.reconnect_at, 0)
            set_ctx(h, None)
            (<CapiLoop>self.loop).conn_gone()
        return 0

    cdef int detached(self) except -1:
        """The loop was closed with the connection in it: what the application knows of is still closed in order."""
        if self.conn is not None and self.conn.live:
            if self.opened and not self.disconnected and self.on_close is not None:
                try:
                    self.on_close(self.conn, NQ_E_QUIC, capi_detail(CLIENT_DESTROY[0], "the loop was closed"), False)
                except BaseException as exc:
                    self.loop.failed(exc, self.on_close)
            self.ev_freed(NULL)
        return 0

    # ---- what the application asks, in the loop's thread ----

    cdef int end(self, object how) except -1:
        cdef bytes reason = how[1]
        self.finalizing = True
        en.nq_conn_close(self.loop.l, self.handle, how[0], PyBytes_AS_STRING(reason), PyBytes_GET_SIZE(reason), 0)
        if self.client:
            en.nq_conn_free(self.loop.l, self.handle)
        return 0

    cdef int close_now(self) except -1:
        if not self.finalizing:
            self.end(CLIENT_CLOSE if self.client else SERVER_CLOSE)
        return 0

    cdef int reset_now(self) except -1:
        cdef bytes reason = CLIENT_CLOSE[1]
        cdef en.nq_conn_info info
        if not self.client or self.finalizing or self.resetting:
            return 0
        if self.waiting:  # or it connects by now
            if en.nq_conn_get_info(self.loop.l, self.handle, &info) != 0 or info.state == en.NQ_CONN_WAITING:
                return 0
        elif self.disconnected:
            return self.reconnect_after(0)
        self.resetting = True
        en.nq_conn_close(self.loop.l, self.handle, CLIENT_CLOSE[0], PyBytes_AS_STRING(reason),
                         PyBytes_GET_SIZE(reason), 0)
        return 0

    cdef int reachability_now(self, int status) except -1:
        if not self.client or status == 0 or self.disconnected:
            return 0
        if en.nq_conn_migrate(self.loop.l, self.handle) < 0:
            return self.reset_now()
        store_int(&self.conn.fd, en.nq_conn_fd(self.loop.l, self.handle))
        return 0


# ---- what the application asks of a handle: at once in the loop's thread, queued from others ----

cdef int conn_modify(nq_conn_t h, object modifier) except -1:
    cdef nq_hdmap_t fresh
    cdef nq_hdmap_t _old
    cdef CapiConn core
    if not here(h):
        return handle_post(h, CAPI_OP_MODIFY, None, modifier)
    fresh = nq_hdmap_t.__new__(nq_hdmap_t)
    fresh.loop = <CapiLoop>h.loop  # before others can see it: from now on only this thread fills it
    modifier(fresh)
    if not here(h):
        return 0
    core = h.core
    if core.linked:
        _old = core.streams  # code of the user's may run where the last reference to it goes: at the end
        # Streams of before may still name the old map's entries.
        fresh.map.replaced.append(core.hdmap)
        en.nq_conn_set_hdmap(h.loop.l, h.h, fresh.map.m)
        core.hdmap = fresh.map
        core.streams = fresh
    return 0


cdef int conn_open(nq_conn_t h, bytes name, object ctx) except -1:
    cdef CapiConn core
    cdef CapiEntry entry
    cdef CapiStream s
    if not here(h):
        return handle_post(h, CAPI_OP_OPEN, name, ctx)
    core = h.core
    entry = core.streams.raw
    if entry is None:
        entry = core.streams.entries.get(name)
    if entry is None:
        capi_log(3, "no handler of that name: the stream is not opened", {"name": name.decode("utf-8", "replace")})
        return 0
    s = stream_for(core, entry, ctx)
    if core.finalizing:
        return 0
    try:
        s.open_on(core, <en.nq_stream_kind>entry.kind, entry.name, False, entry.timeout)
    except errors.StreamClosed:
        pass  # the connection is being closed: as if the handle were stale
    return 0


def nq_conn_close(nq_conn_t conn not None):
    """Closes the connection for good: code 16 "Client disconnecting", on a server 70 "server side close"; what its
    streams have queued is sent first, within the shutdown timeout. on_close follows, on a client then on_finalize;
    while it waits to reconnect only on_finalize. Repeated or stale: nothing. Any thread: queued.
    Original: nq_conn_close."""
    handle_post(conn, CAPI_OP_CLOSE)


def nq_conn_reset(nq_conn_t conn not None):
    """Client: closes the QUIC connection and connects again after what on_close returns (0: at once); connects now
    when it is disconnected; does nothing while a reconnect is scheduled. Server: nothing. Any thread: queued.
    Original: nq_conn_reset."""
    handle_post(conn, CAPI_OP_RESET)


def nq_conn_flush(nq_conn_t conn not None):
    """Sends what is buffered now, not at the end of the tick. Any thread: queued when it is not the loop's own.
    Original: nq_conn_flush."""
    if here(conn):
        en.nq_conn_flush(conn.loop.l, conn.h)
    else:
        handle_post(conn, CAPI_OP_FLUSH)


def nq_conn_modify_hdmap(nq_conn_t conn not None, modifier):
    """Gives the connection a new, empty handler map of its own and calls modifier(map) to fill it; the inherited
    map is not looked at any more. Streams that are open keep their handlers. At once in the loop's thread,
    queued from others. Raises TypeError. Original: nq_conn_modify_hdmap."""
    if not callable(modifier):
        raise TypeError("the modifier must be callable")
    conn_modify(conn, modifier)


def nq_conn_is_client(nq_conn_t conn not None):
    """Whether the handle is a client connection's, also when it is stale. Any thread.
    Original: nq_conn_is_client."""
    return conn.client


def nq_conn_is_valid(nq_conn_t conn not None, cb=None):
    """Whether the connection object exists. cb(conn, None), or cb(conn, reason) when it does not, is called before
    this returns, in the calling thread. Any thread. Original: nq_conn_is_valid."""
    return handle_check(conn, cb)


def nq_conn_reconnect_wait(nq_conn_t conn not None):
    """ns until the scheduled reconnect; 0 when none is. Any thread. Original: nq_conn_reconnect_wait."""
    cdef uint64_t now
    cdef uint64_t at = load_u64(&conn.reconnect_at)
    if at == 0:
        return 0
    now = (<CapiLoop>conn.loop).clock()
    return at - now if at > now else 0


def nq_conn_ctx(nq_conn_t conn not None):
    """What on_open put into pctx[0]; None otherwise. Any thread. Original: nq_conn_ctx."""
    return ctx_of(conn)


def nq_conn_equal(nq_conn_t c1 not None, nq_conn_t c2 not None):
    """Whether both name the same connection, or both are empty. Any thread. Original: nq_conn_equal."""
    return c1 == c2


def nq_conn_reachability_change(nq_conn_t conn not None, new_status):
    """Client: the network changed. NQ_REACHABLE_WIFI and _WWAN move the connection to a new socket, its streams go
    on (RFC 9000 9); where that is not possible it is reset. NQ_NOT_REACHABLE does nothing. Raises ValueError for
    another status. Any thread: queued. Original: nq_conn_reachability_change."""
    need_int(new_status, "new_status")
    status = PyNumber_Index(new_status)
    if status not in (0, 1, 2):
        raise ValueError(f"reachability {status}: use NQ_NOT_REACHABLE, NQ_REACHABLE_WIFI or NQ_REACHABLE_WWAN")
    handle_post(conn, CAPI_OP_REACHABILITY, None, None, status)


def nq_conn_fd(nq_conn_t conn not None):
    """The descriptor of a client connection's socket, which connections may share; -1 when there is none. Any
    thread. Original: nq_conn_fd."""
    return load_int(&conn.fd) if alive(conn) else -1


def nq_conn_stream(nq_conn_t conn not None, name, ctx=None):
    """Opens the stream `name` (str or bytes) of the connection's handler map; ctx is pctx[0] in on_stream_open,
    which tells of its success. Not connected: opened after the next on_open. A stale handle or a name without a
    handler: dropped, the latter with a log record. Raises TypeError. Any thread: queued from others than the
    loop's. Original: nq_conn_stream."""
    conn_open(conn, capi_name(name), ctx)


def nq_conn_rpc(nq_conn_t conn not None, name, ctx=None):
    """Opens the RPC stream `name`; on_rpc_open tells of its success. Otherwise as nq_conn_stream.
    Original: nq_conn_rpc."""
    conn_open(conn, capi_name(name), ctx)
