# batch.pxd: naquid.capi: many requests in one Python call, many replies in another. Not in the original.

# The requests of one tick for one batch handler of one loop.
cdef class CapiBatch(Requests):
    pass

# The calls of one nq_rpc_call_many.
cdef class CapiMany:
    cdef object on_replies           # The callback. None: it was called, or is not to be called.
    cdef list results                # The result of each call. None: it waits for its reply.
    cdef list payloads               # The payload of each reply.
    cdef Py_ssize_t left             # The number of calls that wait.
    # The reply to call i, or its end without one.
    cdef int put(self, CapiRpc rpc, Py_ssize_t i, object result, object payload) except -1
