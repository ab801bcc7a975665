# batch.pxd: naquid.capi: many requests in one Python call, many replies in another. Not in the original.

# The requests of one tick for one batch handler of one loop.
cdef class CapiBatch(Requests):
    pass

# The calls of one nq_rpc_call_many: the engine's `user` of each of them, with its place.
cdef class CapiMany:
    cdef object on_replies       # None: it was called, or is not to be
    cdef list results
    cdef list payloads
    cdef Py_ssize_t left
    cdef int put(self, CapiRpc rpc, Py_ssize_t i, object result, object payload) except -1
