# handlers.pxd: a Handlers object in the form the engine reads.

# The handler of one stream name, of raw streams or of unidirectional streams. The engine's handler map points at it.
cdef class HandlerEntry:
    cdef object cls                  # The class of the streams: Rpc, Stream or RawStream.
    cdef object name                 # The name of the streams, or None.
    # What takes requests, or the stream itself. A BatchHandler takes the requests of a tick.
    cdef object handler
    cdef object notify               # What takes notifications, or None.
    cdef bint cancel                 # Requests that nobody waits for are cancelled.

# A Handlers object in the form of the engine. The connections that use it share it.
cdef class AppCore:
    cdef HandlerMap hdmap            # The names and kinds for the engine.
    cdef readonly dict rpcs          # The RPC names: name -> HandlerEntry.
    cdef readonly bint named         # There is a handler with a name.
    cdef object datagram_fn          # The handler of datagrams, or None.
    cdef object connect_fn           # The handler of new connections, or None.
    cdef object disconnect_fn        # The handler of connections that have ended, or None.
    cdef bint datagram_tasks         # The handler of datagrams returns what is awaited.
    cdef RunningTasks running        # The coroutine handlers that run, of all its protocols.
    cdef readonly Py_ssize_t task_limit  # The coroutine handlers of one connection that may run at once.
    cdef object error_fn             # The handler of what handlers raise, or None.
    cdef object handshake_fn         # The handler of handshakes that failed on a server, or None.
    cdef readonly double call_timeout  # The timeout of calls in seconds, where none is given.
    # Of a server with several protocols: ALPN name -> AppCore; None: it has one.
    cdef dict by_alpn
    # The handlers of a connection whose handshake is complete.
    cdef AppCore chosen(self, Loop loop, en.nq_handle conn)
