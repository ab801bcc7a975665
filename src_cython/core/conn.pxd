# conn.pxd: connections and endpoints.
cdef class ConnCore(Core):
    cdef bint client                 # This side connected.
    cdef bint opened                 # The handshake was completed.
    cdef bint closed                 # The event of its end was dispatched, or the loop is gone.
    # The context (contextvars) in which its handlers run, or None: they run in whatever there is.
    cdef object context
    cdef set opening                 # Outgoing streams without an ID yet. No event tells of their end.
    cdef HandlerMap hdmap            # The handlers of its streams, kept alive while the engine may use them.
    cdef Tls tls                     # Its TLS context.
    cdef uint32_t why                # Why it ended: NQ_WHY_*.
    cdef uint64_t code               # The error code of the end.
    cdef uint8_t close_flags         # The flags of the end: NQ_EVF_*.
    cdef str reason                  # The text of the end.
    # Links self and gives it to nq_conn_connect, or without start to nq_conn_create, whose remote may be NULL.
    cdef int connect(self, Loop loop, const en.nq_addr *remote, str server_name, Tls tls, HandlerMap hdmap,
                     const en.nq_limits *limits, uint32_t endpoint, uint32_t version, bint start) except -1
    # Links self as the object of an accepted connection.
    cdef int adopt(self, Loop loop, const en.nq_event *e, HandlerMap hdmap) except -1
    cdef int keep_close(self, const en.nq_event *e) except -1
    cdef int end_opening(self) except -1

# One local address that accepts connections (or none, when it has no TLS context).
cdef class EndpointCore(Core):
    cdef readonly uint32_t id        # The engine's number of it.
    cdef HandlerMap hdmap            # The handlers of the connections it accepts.
    cdef Tls tls                     # Their TLS context.
    # Datagrams that came before the event that opens their connection: handle -> list of bytes.
    cdef dict early
    cdef int open_at(self, Loop loop, const en.nq_addr *local, Tls tls, HandlerMap hdmap, const en.nq_limits *limits,
                     bint reuseport, bytes secret, bint always_retry, int socket=*) except -1
    # A client has connected: a new object for the connection, not linked yet, or None to refuse it.
    cdef ConnCore accept_conn(self, const en.nq_event *e)
    cdef int deliver_early(self, ConnCore conn) except -1
    cdef int refuse(self, ConnCore conn, en.nq_handle h, uint64_t code) except -1
