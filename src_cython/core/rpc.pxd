# rpc.pxd: RPC as every API has it: requests and their replies, calls, batches of either.
cdef class ManyCalls
cdef class Requests

cdef enum:
    CALL_CALLBACK = 0  # kinds of CallNode: what is called with the reply
    CALL_AWAITED = 1   # what a task waits for
    CALL_MANY = 2      # and above: what has many calls, and the place of this one among them

# A stream that may carry RPC. A class of Cython has one base, so what an API adds to each of its streams (AioStream,
# CapiStream) stands below this, and its class of RPC streams below that; streams of other kinds have no such events.
cdef class RpcCore(StreamCore):
    cdef object on_request       # takes a request, or None
    cdef object on_batch         # whose requests are collected for a whole dispatch, when on_request is None; or None
    cdef object on_notify        # takes a notification, or None
    cdef Py_ssize_t unanswered   # requests that were left to be answered later, and are not yet
    cdef CallNode *calling       # of calls that wait, all with one callback: so may the next one; Calls.again
    cdef int ev_request(self, const en.nq_event *e) except -1
    cdef int ev_notify(self, const en.nq_event *e) except -1
    # cb and kind as given to Calls.node or again. May come after ev_close.
    # local: no reply came, or none that could be kept; result is R_TIMEOUT, R_GOAWAY or R_ALLOC then.
    cdef int ev_reply(self, object cb, int kind, bint local, int result, bytes payload) except -1
    # What an API does with them; to be overridden.
    cdef int request(self, object handler, object type, uint32_t msgid, bytes payload) except -1
    cdef int notification(self, object handler, object type, bytes payload) except -1
    cdef Requests new_requests(self)
    cdef int reply_object(self, uint32_t msgid, object reply, object where) except -1  # of a batch, not bytes
    cdef int close_finished(self) except -1       # the peer has finished, and every request is answered
    cdef en.nq_loop *for_call(self) except? NULL  # the engine's loop, to make calls now; NULL: the stream has ended
    # What the APIs have in common.
    cdef int reply_now(self, uint32_t msgid, int result, object payload, object where) except -1
    cdef int reply_failed(self, uint32_t msgid, int rc, object where) except -1
    cdef int call_now(self, en.nq_loop *l, object cb, int kind, int type, const View *v, uint64_t timeout,
                      uint32_t *msgid) except? -32768
    cdef int cancel_now(self, uint32_t msgid) except -1

# A request that is to be answered.
cdef struct Asked:
    uint32_t msgid
    int type

# Requests of one stream that came in a row.
cdef struct Run:
    en.nq_handle stream
    PyObject *rpc                # RpcCore; `owners` has the reference
    Py_ssize_t begin             # the first; they go on to where the next run begins

# The requests of one dispatch for one batch handler.
cdef class Requests:
    cdef object handler          # RpcCore.on_batch of their streams
    cdef object fn               # what is called, and is named when that fails
    cdef readonly list payloads
    cdef list owners             # the RpcCore of each run
    cdef Asked *asked            # one for each request
    cdef Run *runs
    cdef Py_ssize_t n            # requests
    cdef Py_ssize_t n_runs
    cdef size_t cap              # requests and runs that there is room for
    cdef size_t cap_runs
    cdef int add(self, RpcCore rpc, const en.nq_event *e) except -1
    cdef int begin_run(self, RpcCore rpc, en.nq_handle stream) except -1
    cdef Run *run_of(self, Py_ssize_t i) noexcept
    cdef Py_ssize_t end_of(self, Py_ssize_t run) noexcept
    cdef object call(self)       # fn, in the form of the API: the replies, or None when all come later
    cdef int run(self, Loop loop) except -1
    cdef int answer(self, Loop loop, list replies, bint shared) except -1
    cdef int answer_other(self, Loop loop, RpcCore rpc, uint32_t msgid, object reply, int rc) except -1
    cdef int refuse(self) except -1

# Calls with message IDs in a row.
cdef struct CallRow:
    uint32_t msgid
    Py_ssize_t begin             # the first; they go on to where the next row begins

# Calls of one type that are made together.
cdef class ManyCalls:
    cdef CallRow *rows
    cdef Py_ssize_t n_rows
    cdef Py_ssize_t made         # calls that were made
    cdef int start(self, RpcCore rpc, object cb, int type, list todo, uint64_t timeout) except? -32768
    cdef int send(self, en.nq_loop *l, RpcCore rpc, object cb, CallNode **node, int type, const en.nq_payload *v,
                  uint32_t n, uint64_t timeout) except? -32768
    cdef int note(self, uint32_t msgid) except -1
