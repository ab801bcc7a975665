# calls.pxd: what the engine's pending calls point at.

# One RPC call that waits for its reply, or several: with message IDs in a row, or with one callback for all. The
# engine's `user` of the calls.
cdef struct CallNode:
    # The RpcCore that made the calls, with a reference of the node's own. NULL: the node is free.
    PyObject *stream
    # What RpcCore.ev_reply calls or sets, with a reference of the node's own. In a free node the next free one.
    void *cb
    # What ev_reply is given as kind: CALL_*. In a row it is that of the first call, and one more for each after it.
    int kind
    uint32_t first                   # The message ID of the first call of a row. 0: no row.
    uint32_t left                    # The calls that wait for their replies.

cdef enum:
    CALL_BLOCK = 127   # The nodes of a block, which fits a page.
    CALL_BLOCKS = 256  # The blocks that are kept when no call waits.

cdef struct CallBlock:
    CallBlock *next
    CallNode nodes[CALL_BLOCK]

cdef class Loop
cdef class RpcCore

cdef class Calls:
    cdef CallBlock *blocks           # The blocks of nodes, the oldest first.
    cdef CallBlock *last             # The newest block.
    cdef size_t n_blocks             # The number of blocks.
    cdef CallNode *spare             # The first of the free nodes.
    cdef size_t n                    # The number of nodes in use.
    cdef int more(self) except -1    # Makes a block of free nodes.
    cdef int free_blocks(self) noexcept
    cdef CallNode *node(self, RpcCore s, object cb, int kind) except NULL  # A node for one call.
    # A node for one call of kind 0: that of the stream's last call, when the callback is the same.
    cdef CallNode *shared_node(self, RpcCore s, object cb) except NULL
    cdef int release(self, CallNode *n) except -1  # Frees a node of which no call waits.
    cdef int forget(self, CallNode *n) except -1  # One call of a node was cancelled, or could not be made.
    # The reply to a call of the node, or its end without one.
    cdef int deliver(self, CallNode *n, const en.nq_event *e) except -1
    cdef int end_all(self, Loop loop) except -1  # The engine's loop is gone: every call ends without a reply.
