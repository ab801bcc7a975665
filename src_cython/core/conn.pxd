# conn.pxd: connections and endpoints.
cdef class ConnCore(Core):
    cdef bint client
    cdef bint opened        # the handshake completed
    cdef bint closed        # CONN_CLOSE was seen, or the loop is gone
    cdef set opening        # outgoing streams without an ID yet: no event tells of their end
    cdef HandlerMap hdmap   # kept alive while the engine may use it
    cdef Tls tls
    cdef uint32_t why       # of the close
    cdef uint64_t code
    cdef uint8_t close_flags
    cdef str reason
    # Links self and gives it to nq_conn_connect (start) or nq_conn_create. remote may be NULL for create.
    cdef int connect(self, Loop loop, const en.nq_addr *remote, str server_name, Tls tls, HandlerMap hdmap,
                     const en.nq_limits *limits, uint32_t endpoint, uint32_t version, bint start) except -1
    # Links self as the object of an accepted connection.
    cdef int adopt(self, Loop loop, const en.nq_event *e, HandlerMap hdmap) except -1
    cdef int keep_close(self, const en.nq_event *e) except -1
    cdef int end_opening(self) except -1

# One local address that accepts connections (or none, when it has no TLS context).
cdef class EndpointCore(Core):
    cdef readonly uint32_t id
    cdef HandlerMap hdmap
    cdef Tls tls
    cdef dict early   # handle -> datagrams that came in the packet that completed the handshake, before CONN_OPEN
    cdef int open_at(self, Loop loop, const en.nq_addr *local, Tls tls, HandlerMap hdmap, const en.nq_limits *limits,
                     bint reuseport, bytes secret, bint always_retry) except -1
    # CONN_OPEN of an accepted connection: its new object (not linked yet), or None to refuse it.
    cdef ConnCore accept_conn(self, const en.nq_event *e)
    cdef int deliver_early(self, ConnCore conn) except -1
    cdef int refuse(self, ConnCore conn, en.nq_handle h, uint64_t code) except -1
