# endpoint.pxd: naquid.capi: listening ports.
cdef class CapiEndpoint(EndpointCore):
    cdef nq_hdmap_t streams          # The handler map of its connections.
    cdef object on_open              # The callbacks of its connections, each of which may be None.
    cdef object on_close
    cdef uint64_t max_message        # The size of the largest record or payload, in bytes.
