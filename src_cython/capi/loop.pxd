# loop.pxd: naquid.capi: the loop of a client or a worker, and what waits in its queue.

# Work for the loop's own thread.
cdef class CapiPost(Posted):
    cdef int op                      # What is to be done: CAPI_OP_*.
    cdef CapiHandle handle           # The handle it is for.
    cdef object data                 # The bytes, or what else the op needs.
    cdef object cb                   # The callback that the op needs, or another object.
    cdef int type                    # The type of a request or notification, or another number.
    cdef uint32_t msgid              # The message ID of a reply.
    cdef uint64_t timeout            # The timeout of a call, or another time, in ns.
    # A queued call could not be made: it ends without a reply.
    cdef int refuse(self, Loop loop, object exc, object where) except -1

cdef class CapiLoop(Loop):
    cdef bint worker                 # It runs in a thread of its own, which nothing may end but stop().
    cdef int index                   # The number of the worker.
    cdef int live_conns              # The number of connection objects.
    cdef bint draining               # The server shuts down: the loop stops when its last connection is gone.
    cdef set marks                   # The CapiMark objects that the engine points at.
    cdef uint64_t clock(self) noexcept  # The monotonic time by which it keeps deadlines.
    cdef int conn_gone(self) except -1  # A connection object is gone.
    # Queues work for the loop's thread. False: the loop is closed.
    cdef bint post_op(self, int op, CapiHandle handle, object data, object cb, int type, uint32_t msgid,
                      uint64_t timeout) except -1
