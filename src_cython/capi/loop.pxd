# loop.pxd: naquid.capi: the loop of a client or a worker, and what waits in its queue.

# Work for the loop's own thread: a function with its handle and arguments.
cdef class CapiPost(Posted):
    cdef int op            # CAPI_OP_*
    cdef CapiHandle handle
    cdef object data       # bytes, or what the op needs
    cdef object cb
    cdef int type
    cdef uint32_t msgid
    cdef uint64_t timeout
    cdef int refuse(self, Loop loop, object exc, object where) except -1

cdef class CapiLoop(Loop):
    cdef bint worker       # runs in a thread of its own: nothing may end it but stop()
    cdef int index         # of the worker
    cdef int live_conns    # connection objects
    cdef bint draining     # the server is shutting down: stop when the last connection is gone
    cdef set marks         # CapiMark objects the engine points at
    cdef uint64_t clock(self) noexcept
    cdef int conn_gone(self) except -1
    cdef bint post_op(self, int op, CapiHandle handle, object data, object cb, int type, uint32_t msgid,
                      uint64_t timeout) except -1
