# batch.pxd: many requests in one Python call, many calls in one await.

# A function that takes all requests of a tick for its name.
cdef class BatchHandler:
    cdef object fn

cdef class RpcBatch(Requests):
    cdef list rpcs_              # made when somebody asks
    cdef list types_

# The replies of one call_many.
cdef class Many(Reply):
    cdef ManyCalls calls
    cdef list values             # None: no reply yet
    cdef Py_ssize_t left
    cdef bint keep_errors
    cdef int put(self, Py_ssize_t i, object value, bint failed) except -1
