# batch.pxd: naquid.capi: many requests in one Python call, many replies in another. Not in the original.

cdef struct CapiAsked:
    en.nq_handle stream
    uint32_t msgid

# The requests of one tick for one batch handler of one loop.
cdef class CapiBatch(Batch):
    cdef CapiEntry entry
    cdef list rpcs
    cdef list types
    cdef list msgids
    cdef list payloads
    cdef CapiAsked *asked            # one for each, in the same order
    cdef size_t cap
    cdef int collect(self, CapiRpc rpc, const en.nq_event *e) except -1
    cdef int answer_all(self, Loop loop, tuple replies) except -1
    cdef int answer_one(self, Loop loop, Py_ssize_t i, object reply) except -1
    cdef int refuse_one(self, Loop loop, Py_ssize_t i) except -1
    cdef int send(self, Loop loop, Py_ssize_t i, int16_t result, const uint8_t *data, size_t size) except? -1

# The calls of one nq_rpc_call_many: the engine's `user` of each of them, with its place.
cdef class CapiMany:
    cdef object on_replies       # None: it was called, or is not to be
    cdef list results
    cdef list payloads
    cdef Py_ssize_t left
    cdef int put(self, CapiRpc rpc, Py_ssize_t i, object result, object payload) except -1
