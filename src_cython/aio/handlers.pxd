# handlers.pxd: a Handlers object in the form the engine reads.

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
