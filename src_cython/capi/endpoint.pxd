# endpoint.pxd: naquid.capi: listening ports.
cdef class CapiEndpoint(EndpointCore):
    cdef nq_hdmap_t streams
    cdef object on_open
    cdef object on_close
    cdef uint64_t max_message
