# rpc.pxd: an RPC stream with Python handlers.
cdef class RpcCore(StreamCore):
    cdef public object request_handler  # (rpc, type, payload) -> bytes | None
    cdef public object notify_handler   # (rpc, type, payload)
    cdef uint32_t msgid                 # of the request being handled, 0: none
    cdef int reply_now(self, uint32_t msgid, int result, object payload) except -1
    cdef int request_done(self, uint32_t msgid, object result) except -1
    cdef int request_failed(self, uint32_t msgid) except -1
    cdef object call_start(self, int type, object payload, object cb, object timeout, uint32_t *msgid)

# A request whose reply comes later.
cdef class Deferred:
    cdef RpcCore rpc
    cdef uint32_t msgid
