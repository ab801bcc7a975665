# batch.pxd: many requests in one Python call, many calls in one await.

# A batch handler: what stands in HandlerEntry.handler for a function that takes all requests of a tick.
cdef class BatchHandler:
    cdef readonly object fn          # The function that takes an RpcBatch.

cdef class RpcBatch(Requests):
    cdef list rpcs_                  # The property `rpcs`, made when it is first asked for.
    cdef list types_                 # The property `types`, made when it is first asked for.
    cdef object context_of(self)     # The context in which its handler is called.

# The replies of one call_many.
cdef class Many(Reply):
    cdef ManyCalls calls             # The calls that were made, with their message IDs.
    cdef list values                 # The result of each call. None: it waits for its reply.
    cdef Py_ssize_t left             # The number of calls that wait.
    cdef bint keep_errors            # Error replies are results, too (return_exceptions).
    cdef int put(self, Py_ssize_t i, object value, bint failed) except -1
