# aio_batch.pyx: many requests in one Python call, many calls in one await.

cdef class RpcBatch:
    """The requests of one tick for one batch handler, in the order in which they came: parallel lists `rpcs`, `types`
    and `payloads`. len() is their number; iterating gives (rpc, type, payload)."""

    def __cinit__(self):
        self.rpcs = []
        self.types = []
        self.payloads = []

    def __dealloc__(self):
        free(self.asked)

    def __len__(self):
        return len(self.payloads)

    def __iter__(self):
        return zip(self.rpcs, self.types, self.payloads)

    def defer(self, Py_ssize_t i):
        """An object to reply with to request i later; the handler returns None for it."""
        if not 0 <= i < len(self.payloads):
            raise IndexError(f"request {i} of a batch of {len(self.payloads)}")
        cdef Deferred d = Deferred.__new__(Deferred)
        d.rpc = <BaseRpc>self.rpcs[i]
        d.msgid = self.asked[i].msgid
        return d


cdef class BatchHandler:
    """Wraps a function that takes an RpcBatch and returns one reply for each request."""

    def __init__(self, fn):
        self.fn = fn

    cdef int add(self, BaseRpc rpc, const nq_event *e) except -1:
        cdef RpcBatch b = self.batch
        cdef Py_ssize_t n
        cdef Asked *grown
        if b is None:
            b = self.batch = RpcBatch.__new__(RpcBatch)
            rpc.loop.batches.append(self)
        n = PyList_GET_SIZE(b.payloads)
        if <size_t>n == b.cap:
            grown = <Asked *>realloc(b.asked, (b.cap * 2 or 64) * sizeof(Asked))
            if grown == NULL:
                raise MemoryError()
            b.asked = grown
            b.cap = b.cap * 2 or 64
        b.asked[n].stream = e.handle
        b.asked[n].msgid = e.msgid
        b.rpcs.append(rpc)
        b.types.append(<int>e.type)
        b.payloads.append(event_bytes(e))
        return 0

    cdef int run(self, Loop loop) except -1:
        cdef RpcBatch b = self.batch
        self.batch = None
        try:
            results = self.fn(b)
            self.answer(loop, b, results)
        except BaseException as exc:
            loop.failed(exc, self.fn)
            self.refuse(loop, b)
        return 0

    cdef int answer(self, Loop loop, RpcBatch b, object results) except -1:
        cdef Py_ssize_t i
        cdef Py_ssize_t n = PyList_GET_SIZE(b.payloads)
        cdef list replies
        cdef object r
        cdef int rc
        if results is None:
            replies = [None] * n
        else:
            replies = results if type(results) is list else list(results)
        if len(replies) != n:
            raise ValueError(f"a batch handler returned {len(replies)} replies for {n} requests: one for each is "
                             "needed, None where the reply comes later")
        for i in range(n):
            r = replies[i]
            if PyBytes_CheckExact(r):
                if loop.l == NULL:
                    return 0
                rc = nq_rpc_reply(loop.l, b.asked[i].stream, b.asked[i].msgid, 0,
                                  <const uint8_t *>PyBytes_AS_STRING(r), PyBytes_GET_SIZE(r))
                if rc < 0:
                    (<BaseRpc>b.rpcs[i]).reply_failed(b.asked[i].msgid, rc)
            elif r is None:
                (<BaseRpc>b.rpcs[i]).unanswered += 1
            elif isinstance(r, errors.RpcError):
                (<BaseRpc>b.rpcs[i]).reply_now(b.asked[i].msgid, r.code, r.payload)
            else:
                try:
                    (<BaseRpc>b.rpcs[i]).reply_now(b.asked[i].msgid, 0, r)
                except Exception as exc:
                    loop.failed(exc, self.fn)
                    (<BaseRpc>b.rpcs[i]).reply_now(b.asked[i].msgid, R_USER, b"")
        return 0

    cdef int refuse(self, Loop loop, RpcBatch b) except -1:
        """The handler failed: every caller gets an error reply."""
        cdef Py_ssize_t i
        for i in range(len(b.payloads)):
            (<BaseRpc>b.rpcs[i]).reply_now(b.asked[i].msgid, R_USER, b"")
        return 0


cdef class Many(Reply):
    def __dealloc__(self):
        free(self.msgids)

    cdef int put(self, Py_ssize_t i, object value, bint failed) except -1:
        if self.state != CALL_PENDING:
            return 0
        self.msgids[i] = 0
        self.values[i] = value
        self.left -= 1
        if failed and not self.keep_errors:
            self.forget()
            return self.settle(CALL_FAILED, value)
        if self.left == 0:
            return self.settle(CALL_DONE, self.values)
        return 0

    cdef int forget(self) except -1:
        cdef Py_ssize_t i
        for i in range(len(self.values)):
            if self.msgids[i]:
                self.rpc.cancel(self.msgids[i])
                self.msgids[i] = 0
        return 0
