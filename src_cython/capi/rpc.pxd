# rpc.pxd: naquid.capi: RPC streams.
cdef class CapiRpc(CapiStream):
    # The message ID of the request that is being handled, when its reply was too large: the caller knows it already.
    cdef uint32_t told_too_big
    cdef int request_failed(self, uint32_t msgid, object handler) except -1
