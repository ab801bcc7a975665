# server.pxd: listening addresses of the asyncio facade.
cdef class BaseServer(EndpointCore):
    cdef AppCore app
    cdef object conn_class
    cdef readonly set live          # its open connections
    cdef list idle_waiters
    cdef readonly bint closed
