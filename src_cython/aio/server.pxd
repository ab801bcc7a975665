# server.pxd: listening addresses of the asyncio facade.
cdef class BaseServer(EndpointCore):
    cdef AppCore app                 # The handlers of its connections.
    cdef object context              # What the contexts of its connections are copies of.
    cdef object conn_class           # The class of its connections.
    cdef readonly set live           # Its open connections.
    cdef list idle_waiters           # The futures of those that wait until no connection is open.
    cdef readonly bint closed        # Its socket is closed.
