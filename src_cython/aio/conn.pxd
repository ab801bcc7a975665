# conn.pxd: connections and servers of the asyncio facade.

# The handler of one stream name (or of raw or unidirectional streams): what the handler map's user points at.
cdef class HandlerEntry:
    cdef object cls       # Rpc, Stream or RawStream
    cdef object name      # str or None
    cdef object handler
    cdef object notify

# A Handlers object made ready for the engine. Shared by the connections that use it.
cdef class AppCore:
    cdef HandlerMap hdmap
    cdef readonly dict rpcs           # name -> HandlerEntry
    cdef readonly bint named          # there is a handler with a name
    cdef object datagram_fn
    cdef object connect_fn
    cdef object disconnect_fn
    cdef readonly set tasks           # handler tasks that run
    cdef readonly Py_ssize_t task_limit   # per RPC stream
    cdef readonly double call_timeout     # seconds
    cdef object spawn(self, Loop loop, object coro)

# One life of a connection that may have several. Its streams know by it that they belong to a life that is over.
cdef class Life:
    cdef object error               # why it ended, None while it lasts

cdef class BaseConnection(ConnCore):
    cdef AppCore app
    cdef object datagram_fn
    cdef object close_error         # exception, or None for a close in order
    cdef bint announced             # on_connect was called
    cdef readonly bint used_names   # a stream with a name was opened here
    cdef bint quiet                 # a connection attempt that may lose: no on_connect yet
    cdef BaseServer server
    cdef list open_waiters
    cdef list close_waiters
    cdef list ping_waiters
    cdef bint closing           # close() was called, its end is to come
    cdef bint lasting           # survives the loss of its connection
    cdef bint watched           # _changed() is to be called
    cdef Life life              # of a client's connection
    cdef object attempt         # the future of the attempt to reconnect that is under way
    cdef int announce(self) except -1
    cdef int learn(self, const nq_event *e) except -1
    cdef int interrupted(self) except -1
    cdef int changed(self) except -1
    cdef int look_ahead(self) except -1
    cdef int refused(self, int rc) except -1
    cdef int give_up(self) except -1
    cdef int attempted(self, object error) except -1
    cdef int keep_own_close(self, uint64_t code, str reason) except -1
    cdef bint is_up(self) noexcept
    cdef int ended(self) except -1
    cdef int run_handler(self, object fn, tuple args) except -1
    cdef object lost(self)

cdef class BaseServer(EndpointCore):
    cdef AppCore app
    cdef object conn_class
    cdef readonly set live          # its open connections
    cdef list idle_waiters
    cdef readonly bint closed
