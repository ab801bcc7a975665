# aio_batch.pxd: many requests in one Python call, many calls in one await.
cdef class BaseRpc

cdef struct Asked:
    nq_handle stream
    uint32_t msgid

cdef class RpcBatch:
    cdef readonly list rpcs
    cdef readonly list types
    cdef readonly list payloads
    cdef Asked *asked            # one for each, in the same order
    cdef size_t cap

# A batch handler of one stream name: collects during a dispatch, is called at its end.
cdef class BatchHandler:
    cdef object fn
    cdef RpcBatch batch          # being collected, None: nothing yet
    cdef int add(self, BaseRpc rpc, const nq_event *e) except -1
    cdef int run(self, Loop loop) except -1
    cdef int answer(self, Loop loop, RpcBatch batch, object results) except -1
    cdef int refuse(self, Loop loop, RpcBatch batch) except -1

# The replies of one call_many.
cdef class Many(Reply):
    cdef list values
    cdef uint32_t *msgids
    cdef Py_ssize_t left
    cdef bint keep_errors
    cdef int put(self, Py_ssize_t i, object value, bint failed) except -1
