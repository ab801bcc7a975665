# batch.pxd: many requests in one Python call, many calls in one await.
cdef class BaseRpc

cdef struct Asked:
    uint32_t msgid
    int type

# Requests of one stream that came in a row.
cdef struct Run:
    en.nq_handle stream
    PyObject *rpc                # `owners` has the reference
    Py_ssize_t begin             # the first; they go on to where the next run begins

cdef class RpcBatch:
    cdef readonly list payloads
    cdef list owners             # the rpc of each run
    cdef list rpcs_              # made when somebody asks
    cdef list types_
    cdef Asked *asked            # one for each request
    cdef Run *runs
    cdef Py_ssize_t n            # requests
    cdef Py_ssize_t n_runs
    cdef size_t cap
    cdef size_t cap_runs
    cdef int begin_run(self, BaseRpc rpc, en.nq_handle stream) except -1
    cdef Run *run_of(self, Py_ssize_t i) noexcept
    cdef Py_ssize_t end_of(self, Py_ssize_t run) noexcept
    cdef int more(self) except -1

# A batch handler of one stream name: collects during a dispatch, is called at its end.
cdef class BatchHandler(Batch):
    cdef object fn
    cdef RpcBatch batch          # being collected, None: nothing yet
    cdef int add(self, BaseRpc rpc, const en.nq_event *e) except -1
    cdef int run(self, Loop loop) except -1
    cdef int answer(self, Loop loop, RpcBatch batch, object results) except -1
    cdef int answer_other(self, Loop loop, BaseRpc rpc, uint32_t msgid, object reply, int rc) except -1
    cdef int refuse(self, Loop loop, RpcBatch batch) except -1

# Calls of one call_many with message IDs in a row.
cdef struct Row:
    uint32_t msgid
    Py_ssize_t begin             # the first; they go on to where the next row begins

# The replies of one call_many.
cdef class Many(Reply):
    cdef list values             # None: no reply yet
    cdef Row *rows
    cdef Py_ssize_t n_rows
    cdef Py_ssize_t started      # calls that were made
    cdef Py_ssize_t left
    cdef bint keep_errors
    cdef int start(self, int16_t type, list todo, uint64_t timeout) except -1
    cdef CallNode *send(self, en.nq_loop *l, CallNode *node, int16_t type, const en.nq_payload *v, uint32_t n,
                        uint64_t timeout) except? NULL
    cdef int row(self, uint32_t msgid) except -1
    cdef int put(self, Py_ssize_t i, object value, bint failed) except -1
