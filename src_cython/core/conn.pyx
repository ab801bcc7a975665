# conn.pyx: the cores of connections and endpoints.
# needs: core/address core/buffers core/core core/errors core/hdmap core/loop core/stream core/threads core/tls

cdef inline int enter_context(Loop loop, ConnCore conn) except -1:
    """Before a handler of the connection is called in a dispatch, the end of which leaves the context."""
    return 0 if conn.context is loop.context else loop.switch_context(conn.context)


@cython.no_gc_clear
cdef class ConnCore(Core):
    cdef int connect(self, Loop loop, const en.nq_addr *remote, str server_name, Tls tls, HandlerMap hdmap,
                     const en.nq_limits *limits, uint32_t endpoint, uint32_t version, bint start) except -1:
        cdef en.nq_connect_options o
        cdef en.nq_loop *l
        cdef int rc
        cdef bytes name
        memset(&o, 0, sizeof(o))
        if remote != NULL:
            o.remote = remote[0]
        if server_name is not None:
            name = server_name.encode("idna" if not server_name.isascii() else "ascii")
            o.server_name = name
        if hdmap is not None:
            o.hdmap = hdmap.m
        o.tls = tls.t
        o.limits = limits[0]
        o.endpoint = endpoint
        o.version = version
        o.user = <void *>self
        self.client = True
        self.tls = tls
        self.hdmap = hdmap
        l = own(loop)  # after the codec of the name, which is written in Python
        loop.link(self)
        if start:
            rc = en.nq_conn_connect(l, &o, &self.handle)
        else:
            rc = en.nq_conn_create(l, &o, &self.handle)
        if rc < 0:
            self.closed = True
            loop.unlink(self)
            engine_error(loop, rc, "connecting")
        return 0

    cdef int adopt(self, Loop loop, const en.nq_event *e, HandlerMap hdmap) except -1:
        self.handle = e.handle
        self.hdmap = hdmap
        loop.link(self)
        en.nq_conn_set_user(loop.l, e.handle, <void *>self)
        return 0

    cdef int keep_close(self, const en.nq_event *e) except -1:
        """Remembers why the connection ended; e is its CONN_CLOSE."""
        self.closed = True
        self.why = e.msgid
        self.code = e.code
        self.close_flags = e.flags
        try:
            self.reason = event_bytes(e).decode("utf-8", "replace")
        except MemoryError:  # the end itself is not lost for its text
            self.reason = ""
        return 0

    cdef int end_opening(self) except -1:
        """The connection ends: its streams that never got an ID end with it, without an event."""
        cdef StreamCore s
        cdef set waiting = self.opening
        self.opening = None
        if waiting is not None:
            for s in waiting:
                if s.linked and not s.opened:
                    en.nq_stream_set_user(self.loop.l, s.handle, NULL)
                    s.closed = True
                    self.loop.unlink(s)
                    s.detached()
        return 0

    cdef int ev_open(self, const en.nq_event *e) except -1:
        self.opened = True
        return 0

    cdef int ev_close(self, const en.nq_event *e) except -1:
        return self.keep_close(e)


@cython.no_gc_clear
cdef class EndpointCore(Core):
    # Stays linked until its loop is closed: connections that were never accepted name it in their last events.

    cdef int open_at(self, Loop loop, const en.nq_addr *local, Tls tls, HandlerMap hdmap, const en.nq_limits *limits,
                     bint reuseport, bytes secret, bint always_retry, int socket=-1) except -1:
        cdef en.nq_endpoint_options o
        cdef en.nq_loop *l
        cdef int rc
        memset(&o, 0, sizeof(o))
        o.local = local[0]
        o.reuseport = reuseport
        if tls is not None:
            o.tls = tls.t
        if hdmap is not None:
            o.hdmap = hdmap.m
        o.limits = limits[0]
        o.user = <void *>self
        if secret is not None:
            o.secret = secret
            o.secret_len = len(secret)
        o.always_retry = always_retry
        o.has_socket = socket >= 0
        o.socket = socket
        self.tls = tls
        self.hdmap = hdmap
        l = own(loop)
        loop.link(self)
        rc = en.nq_endpoint_open(l, &o, &self.id)
        if rc < 0:
            loop.unlink(self)
            where = from_addr(local)
            engine_error(loop, rc, f"opening UDP address {where[0]} port {where[1]}" if socket < 0
                         else "using the socket that was given")
        return 0

    cdef ConnCore accept_conn(self, const en.nq_event *e):
        return None

    cdef int ev_open(self, const en.nq_event *e) except -1:
        cdef ConnCore conn = None
        try:
            conn = self.accept_conn(e)
            if conn is not None:
                conn.adopt(self.loop, e, self.hdmap)
                conn.ev_open(e)
                if self.early is not None:
                    self.deliver_early(conn)
        except BaseException:
            self.refuse(conn, e.handle, en.NQ_CODE_INTERNAL)
            raise
        if conn is None:
            self.refuse(None, e.handle, en.NQ_CODE_REFUSED)
        return 0

    cdef int ev_datagram(self, const en.nq_event *e) except -1:
        if self.early is None:
            self.early = {}
        self.early.setdefault(e.handle, []).append(event_bytes(e))
        return 0

    cdef int ev_close(self, const en.nq_event *e) except -1:
        if self.early is not None:
            self.early.pop(e.handle, None)
        return 0

    cdef int deliver_early(self, ConnCore conn) except -1:
        cdef en.nq_event e
        cdef bytes data
        datagrams = self.early.pop(conn.handle, ())
        if not self.early:
            self.early = None
        for data in datagrams:
            memset(&e, 0, sizeof(e))
            e.kind = en.NQ_EV_DATAGRAM
            e.handle = conn.handle
            e.data = <const uint8_t *>PyBytes_AS_STRING(data)
            e.len = PyBytes_GET_SIZE(data)
            conn.ev_datagram(&e)
        return 0

    cdef int refuse(self, ConnCore conn, en.nq_handle h, uint64_t code) except -1:
        en.nq_conn_set_user(self.loop.l, h, NULL)
        en.nq_conn_close(self.loop.l, h, code, NULL, 0, 1)
        if conn is not None:
            conn.closed = True
            self.loop.unlink(conn)
        return 0


cdef object conn_info(ConnCore conn):
    """nq_conn_info as a dict; None when the connection is gone."""
    cdef en.nq_conn_info i
    if conn.loop.l == NULL or en.nq_conn_get_info(peek(conn.loop), conn.handle, &i) != 0:
        return None
    return {
        "local": peer_addr(&i.local), "remote": peer_addr(&i.remote), "version": i.version,
        "smoothed_rtt": i.smoothed_rtt / 1e9, "latest_rtt": i.latest_rtt / 1e9, "min_rtt": i.min_rtt / 1e9,
        "rttvar": i.rttvar / 1e9, "cwnd": i.cwnd, "bytes_in_flight": i.bytes_in_flight,
        "packets_sent": i.packets_sent, "packets_received": i.packets_received,
        "packets_lost": i.packets_lost, "bytes_sent": i.bytes_sent, "bytes_received": i.bytes_received,
        "bytes_lost": i.bytes_lost, "streams": i.streams, "queued": i.queued,
        "max_udp_payload": i.max_udp_payload,
        "alpn": i.alpn[:i.alpn_len].decode("utf-8", "surrogateescape"), "cipher": (<bytes>i.cipher).decode(),
        "group": (<bytes>i.group).decode(),
    }


cdef list peer_chain(ConnCore conn):
    """The peer's certificate chain as DER bytes, leaf first."""
    cdef list chain = []
    cdef bytes der
    cdef size_t n
    if conn.loop.l == NULL:
        return chain
    cdef en.nq_loop *l = peek(conn.loop)
    while len(chain) < 64:
        n = en.nq_conn_peer_cert(l, conn.handle, <unsigned int>len(chain), NULL, 0)
        if n == 0:
            break
        der = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
        en.nq_conn_peer_cert(l, conn.handle, <unsigned int>len(chain), <uint8_t *>PyBytes_AS_STRING(der), n)
        chain.append(der)
    return chain
