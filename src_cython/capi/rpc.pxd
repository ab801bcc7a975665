# rpc.pxd: naquid.capi: RPC streams.
cdef class CapiRpc(CapiStream):
    cdef int request_failed(self, uint32_t msgid, object handler) except -1
