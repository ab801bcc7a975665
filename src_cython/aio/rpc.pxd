# rpc.pxd: an RPC stream with Python handlers.
cdef class HandlerEntry

cdef class BaseRpc(AioStream):
    cdef uint32_t msgid                 # of the request being handled, 0: none
    cdef Py_ssize_t tasks               # coroutine handlers that run
    cdef double call_timeout            # seconds, of the calls of an outgoing stream
    cdef BaseRpc heir                   # takes the calls since the connection was lost and came back
    cdef uint32_t told                  # the last message ID that call_soon returned, of this one and its heirs
    cdef int use(self, HandlerEntry entry) except -1
    cdef bint comes_back(self) noexcept
    cdef BaseRpc successor(self)
    cdef int start_call(self, object type, object payload, object cb, int kind, object timeout,
                        uint32_t *msgid) except -1
    cdef int call_failed(self, int rc) except -1
    cdef int request_done(self, uint32_t msgid, object result) except -1
    cdef int request_failed(self, uint32_t msgid, object where) except -1
    cdef int task_start(self) except -1

# A request whose reply comes later.
cdef class Deferred:
    cdef BaseRpc rpc
    cdef uint32_t msgid
    cdef int answer(self, int result, object payload) except -1
