# calls.pxd: what the engine's pending calls point at.

# One RPC call that waits for its reply, or several: with message IDs in a row, or with one callback for all. The
# engine's `user` of the calls.
cdef struct CallNode:
    PyObject *stream  # RpcCore, a reference of ours; NULL: a free node
    void *cb          # what RpcCore.ev_reply calls or sets, a reference of ours; of a free node the next one
    int kind          # the stream class's own; of a row that of the first call, and one more for each after it
    uint32_t first    # message ID of the first of a row, 0: a single call
    uint32_t left     # calls that wait

cdef enum:
    CALL_BLOCK = 127   # nodes: a block fits a page
    CALL_BLOCKS = 256  # kept when no call waits

cdef struct CallBlock:
    CallBlock *next
    CallNode nodes[CALL_BLOCK]

cdef class Loop
cdef class RpcCore

cdef class Calls:
    cdef CallBlock *blocks  # oldest first
    cdef CallBlock *last
    cdef size_t n_blocks
    cdef CallNode *spare    # free nodes
    cdef size_t n           # nodes in use
    cdef int more(self) except -1
    cdef int free_blocks(self) noexcept
    cdef CallNode *node(self, RpcCore s, object cb, int kind) except NULL
    cdef CallNode *again(self, RpcCore s, object cb) except NULL  # kind 0, for one call
    cdef int release(self, CallNode *n) except -1        # once no call of it waits
    cdef int forget(self, CallNode *n) except -1         # one of its calls was cancelled, or not made
    cdef int told(self, CallNode *n, const en.nq_event *e) except -1
    cdef int gone(self, Loop loop) except -1             # the engine's loop is
