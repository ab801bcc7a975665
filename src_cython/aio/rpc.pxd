# rpc.pxd: an RPC stream with Python handlers.
cdef class HandlerEntry
cdef class HandlerTask

cdef class BaseRpc(AioStream):
    cdef uint32_t msgid              # The message ID of the request that is being handled, 0: none.
    # Of the request that a plain handler has now: None, or its reply comes later. Its Deferred when there is one.
    cdef object deferral
    # The requests whose coroutine handlers have not answered: message ID -> HandlerTask. None: there were none yet.
    cdef dict running
    cdef bint keeps_on               # Handlers go on when nobody waits for the reply any more.
    cdef double call_timeout         # The timeout of calls in seconds, of a stream that this side opened.
    # The stream that takes the calls since the connection was lost and came back. None: there is none yet.
    cdef BaseRpc successor
    cdef uint32_t last_msgid         # The message ID that call_soon returned last, here or on a successor.
    cdef int use(self, HandlerEntry entry) except -1  # Takes the handlers of an entry.
    cdef bint comes_back(self) noexcept  # It ended because its connection was lost, which is or will be brought back.
    cdef BaseRpc find_successor(self)  # Opens a successor when that is possible: see `successor`.
    cdef int start_call(self, object type, object payload, object cb, int kind, object timeout,
                        uint32_t *msgid) except -1
    cdef int call_failed(self, int rc) except -1
    cdef int request_done(self, uint32_t msgid, object result, object type) except -1
    cdef int request_failed(self, uint32_t msgid, object where, object type) except -1
    cdef int request_task(self, uint32_t msgid, object result, object work, object type) except -1
    cdef int undefer(self) except -1
    cdef HandlerTask current_request(self)

# A request whose reply comes later.
cdef class Deferred:
    cdef BaseRpc rpc                 # The stream of the request.
    cdef uint32_t msgid              # Its message ID. 0: it has its reply.
    cdef int answer(self, int result, object payload) except -1  # Sends the reply.
    cdef void owe(self, int n) noexcept  # So many more replies that a close in order waits for.
