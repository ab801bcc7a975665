# rpc.pxd: RPC as every API has it: requests and their replies, calls, batches of either.
cdef class ManyCalls
cdef class Requests

cdef enum:
    # Kinds of a call: what `cb` of its node is.
    CALL_CALLBACK = 0  # It is called with the reply.
    CALL_AWAITED = 1   # A task awaits it.
    CALL_MANY = 2      # It has many calls. The kind is that of the first; each after it is one more.

# A stream that may carry RPC. A class of Cython has one base, so what an API adds to each of its streams (AioStream,
# CapiStream) stands below this, and its class of RPC streams below that; streams of other kinds have no such events.
cdef class RpcCore(StreamCore):
    cdef object on_request           # What takes a request, or None.
    # The batch handler that takes the requests of a whole dispatch when on_request is None; or None.
    cdef object on_batch
    cdef object on_notify            # What takes a notification, or None.
    cdef Py_ssize_t unanswered       # The requests that were left to be answered later, and are not answered yet.
    # The node of calls that wait and have one callback, so that the next call may share it (Calls.shared_node).
    cdef CallNode *calling
    cdef int ev_request(self, const en.nq_event *e) except -1
    cdef int ev_notify(self, const en.nq_event *e) except -1
    # The peer has given up the call of e.msgid, which may have its reply already, or may never have been delivered.
    cdef int ev_cancelled(self, const en.nq_event *e) except -1
    # The end of a call. cb and kind are what Calls.node or shared_node was given. local: no reply came, or none that
    # could be kept; result is R_TIMEOUT, R_GOAWAY, R_TOOBIG or R_ALLOC then. It may come after ev_close.
    cdef int ev_reply(self, object cb, int kind, bint local, int result, bytes payload) except -1
    # ---- what an API does in its own way, and overrides ----
    # Calls the handler of a request, and does with its result what the API says.
    cdef int request(self, object handler, object type, uint32_t msgid, bytes payload) except -1
    # Calls the handler of a notification.
    cdef int notification(self, object handler, object type, bytes payload) except -1
    cdef Requests new_requests(self)  # An empty object of the API's class, for the batch handler.
    # Sends a reply of a batch handler that is not exact bytes.
    cdef int reply_object(self, uint32_t msgid, object reply, object where) except -1
    # The handler of a request failed: its caller gets an error reply that says so.
    cdef int refuse_request(self, uint32_t msgid, object where) except -1
    cdef int close_finished(self) except -1  # The peer has finished and every request is answered: ends the stream.
    cdef en.nq_loop *for_call(self) except? NULL  # The engine's loop, to make calls now. NULL: the stream has ended.
    # ---- what the APIs have in common ----
    cdef int reply_now(self, uint32_t msgid, int result, object payload, object where) except -1
    cdef int reply_failed(self, uint32_t msgid, int rc, object where) except -1
    cdef int call_now(self, en.nq_loop *l, object cb, int kind, int type, const View *v, uint64_t timeout,
                      uint32_t *msgid) except? -32768
    cdef int cancel_now(self, uint32_t msgid) except -1

# A request that is to be answered.
cdef struct Asked:
    uint32_t msgid                   # The message ID, which the reply names.
    int type                         # The type of the request.

# Requests of one stream that came in a row.
cdef struct Run:
    en.nq_handle stream              # The engine's handle of the stream.
    PyObject *rpc                    # Its RpcCore. Requests.owners has the reference.
    Py_ssize_t begin                 # The place of its first request. It ends where the next run begins.

# The requests of one dispatch for one batch handler.
cdef class Requests:
    cdef object handler              # RpcCore.on_batch of their streams.
    cdef object fn                   # The function that is called, and is named when it fails.
    cdef readonly list payloads      # The payloads, in the order of the requests.
    cdef list owners                 # The RpcCore of each run.
    cdef Asked *asked                # The rest of each request.
    cdef Run *runs                   # The runs.
    cdef Py_ssize_t n                # The number of requests.
    cdef Py_ssize_t n_runs           # The number of runs.
    cdef size_t cap                  # The number of requests that there is room for.
    cdef size_t cap_runs             # The number of runs that there is room for.
    cdef int add(self, RpcCore rpc, const en.nq_event *e) except -1
    cdef int begin_run(self, RpcCore rpc, en.nq_handle stream) except -1
    cdef Run *run_of(self, Py_ssize_t i) noexcept
    cdef Py_ssize_t end_of(self, Py_ssize_t run) noexcept
    cdef object call(self)           # Calls fn as the API calls it: the replies, or None when all of them come later.
    cdef int run(self, Loop loop) except -1
    cdef int answer(self, Loop loop, list replies, bint shared) except -1
    cdef int answer_other(self, Loop loop, RpcCore rpc, uint32_t msgid, object reply, int rc) except -1
    cdef int refuse(self) except -1

# Calls with message IDs in a row.
cdef struct CallRow:
    uint32_t msgid                   # The message ID of its first call.
    Py_ssize_t begin                 # The place of its first call. It ends where the next row begins.

# Calls of one type that are made together.
cdef class ManyCalls:
    cdef CallRow *rows               # The rows of message IDs.
    cdef Py_ssize_t n_rows           # The number of rows.
    cdef Py_ssize_t made             # The number of calls that were made.
    cdef int start(self, RpcCore rpc, object cb, int type, list todo, uint64_t timeout) except? -32768
    cdef int send(self, en.nq_loop *l, RpcCore rpc, object cb, CallNode **node, int type, const en.nq_payload *v,
                  uint32_t n, uint64_t timeout) except? -32768
    cdef int note(self, uint32_t msgid) except -1
