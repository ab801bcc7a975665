# batch.pyx: naquid.capi: many requests in one Python call, many replies in another. Not in the original.
# needs: core/batch core/buffers core/callbacks core/calls core/errors core/loop core/threads
# needs: capi/check capi/handles capi/hdmap capi/loop capi/rpc capi/stream

@cython.final
cdef class CapiBatch(Batch):
    def __cinit__(self):
        self.rpcs = []
        self.types = []
        self.msgids = []
        self.payloads = []

    def __dealloc__(self):
        free(self.asked)

    cdef int collect(self, CapiRpc rpc, const en.nq_event *e) except -1:
        cdef size_t n = <size_t>PyList_GET_SIZE(self.payloads)
        cdef CapiAsked *grown
        if n == self.cap:
            grown = <CapiAsked *>realloc(self.asked, (self.cap * 2 or 64) * sizeof(CapiAsked))
            if grown == NULL:
                raise MemoryError()
            self.asked = grown
            self.cap = self.cap * 2 or 64
        self.asked[n].stream = e.handle
        self.asked[n].msgid = e.msgid
        payload = event_bytes(e)
        try:
            self.rpcs.append(rpc.stream)
            self.types.append(<int>e.type)
            self.msgids.append(e.msgid)
            self.payloads.append(payload)
        except BaseException:  # all of it or nothing: the lists are parallel
            for of in (self.rpcs, self.types, self.msgids, self.payloads):
                del of[n:]
            raise
        rpc.unanswered += 1
        return 0

    cdef int run(self, Loop loop) except -1:
        cdef CapiLoop its = <CapiLoop>loop
        cdef Py_ssize_t i, n = PyList_GET_SIZE(self.payloads)
        cdef object results
        cdef tuple replies
        its.batch = None
        its.gathered.pop(self.entry, None)
        try:
            results = self.entry.on_batch(self.rpcs, self.types, self.msgids, self.payloads)
            if results is None:
                return 0
            if isinstance(results, (bytes, bytearray, memoryview, str)):
                raise TypeError(f"on_rpc_batch returned {type(results).__name__}: a list with a reply for each request "
                                "is needed, or None when all come later")
            replies = tuple(results)
            if len(replies) != n:
                raise ValueError(f"on_rpc_batch returned {len(replies)} replies for {n} requests: one for each is "
                                 "needed, None where it comes later")
        except BaseException as exc:
            loop.failed(exc, self.entry.on_batch)
            for i in range(n):
                self.refuse_one(loop, i)
            return 0
        return self.answer_all(loop, replies)

    cdef int answer_all(self, Loop loop, tuple replies) except -1:
        cdef Py_ssize_t i
        for i in range(len(replies)):
            if replies[i] is None:
                continue
            try:
                self.answer_one(loop, i, replies[i])
            except BaseException as exc:
                loop.failed(exc, self.entry.on_batch)
                self.refuse_one(loop, i)
        return 0

    cdef int answer_one(self, Loop loop, Py_ssize_t i, object reply) except -1:
        cdef View v
        cdef int rc
        view_get(&v, reply)
        try:
            rc = self.send(loop, i, 0, v.p, v.n)
        finally:
            view_done(&v)
        if rc < 0:
            return send_failed(loop, rc, "replying to a request")
        return 0

    cdef int refuse_one(self, Loop loop, Py_ssize_t i) except -1:
        """What failed was reported; when there is no room even for this reply, the caller's timeout tells it."""
        self.send(loop, i, R_USER, NULL, 0)
        return 0

    cdef int send(self, Loop loop, Py_ssize_t i, int16_t result, const uint8_t *data, size_t size) except? -1:
        cdef void *p
        cdef CapiStream core
        cdef int rc
        if loop.l == NULL:
            return en.NQ_ERR_STALE
        rc = en.nq_rpc_reply(loop.l, self.asked[i].stream, self.asked[i].msgid, result, data, size)
        if rc < 0:
            return rc
        p = en.nq_stream_user(loop.l, self.asked[i].stream)
        if p != NULL:
            core = <CapiStream>p
            core.unanswered -= 1
            if core.fin and core.unanswered <= 0:
                core.close_now()
        return 0


@cython.final
cdef class CapiMany:
    def __call__(self, rpc, result, data):
        """All that have no result yet end with this one: the stream is gone, or the calls could not be queued."""
        cdef Py_ssize_t i
        on_replies = self.on_replies
        if on_replies is None:
            return
        self.on_replies = None
        for i in range(len(self.results)):
            if self.results[i] is None:
                self.results[i] = result
        on_replies(rpc, self.results, self.payloads)

    cdef int put(self, CapiRpc rpc, Py_ssize_t i, object result, object payload) except -1:
        cdef PyObject *args[4]
        cdef object on_replies = self.on_replies
        if on_replies is None:
            return 0
        self.results[i] = result
        self.payloads[i] = payload
        self.left -= 1
        if self.left:
            return 0
        self.on_replies = None
        args[0] = NULL
        args[1] = <PyObject *>rpc.stream
        args[2] = <PyObject *>self.results
        args[3] = <PyObject *>self.payloads
        return call_back(rpc.loop, on_replies, args, 3)


cdef int rpc_send_many(nq_rpc_t rpc, int type, list payloads, CapiMany many, uint64_t timeout) except -1:
    """In the loop's thread. payloads: nobody else's list."""
    cdef View v
    cdef CallNode *node
    cdef Loop loop = rpc.loop
    cdef Py_ssize_t i
    cdef int rc
    if not alive(rpc):
        return rpc_gone(rpc, many)
    if many.left == 0:
        if not (<CapiLoop>loop).post_op(CAPI_OP_GOAWAY, rpc, None, many, 0, 0, 0):
            many(rpc, R_GOAWAY, b"")  # the loop was closed meanwhile
        return 0
    for i in range(len(payloads)):
        view_get(&v, payloads[i])
        try:
            if here(rpc):
                node = loop.calls.node(rpc.core, many, <int>i + 1)
                rc = en.nq_rpc_call(loop.l, rpc.h, <int16_t>type, v.p, v.n, timeout, <void *>node, NULL)
                if rc < 0:
                    loop.calls.release(node)
            elif alive(rpc):  # a buffer's own code gave the loop to another thread
                bad_loop(loop)
            else:
                rc = en.NQ_ERR_STALE
        finally:
            view_done(&v)
        if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:
            return rpc_gone(rpc, many)
        if rc < 0:
            engine_error(loop, rc, "calling")
    return 0


def nq_hdmap_rpc_batch_handler(nq_hdmap_t h not None, name, handler):
    """RPC streams called `name` are served by an nq_rpc_batch_handler_t: its on_rpc_batch gets all requests that
    one tick of a worker brought, of any number of connections. Result, errors and thread rule as
    nq_hdmap_stream_handler. Not in the original."""
    return h._add(4, name, handler)


def nq_rpc_call_many(nq_rpc_t rpc not None, type, payloads, on_replies, timeout=0):
    """Sends a request for each of the payloads; on_replies(rpc, results, datas) is called exactly once, when the
    last of them has ended: results[i] and datas[i] are what nq_rpc_call's on_reply would have been given.

    type: 1 to 32767, of all. payloads: an iterable of bytes-like objects; without any, on_replies is called in the
    next tick. timeout: ns, of each; 0 is the handler's. At once in the loop's thread, queued with a copy from
    others. Stale: NQ_EGOAWAY for all. Raises TypeError, ValueError, MessageTooBig, QueueFull; those that were sent
    before the one that raised are not undone, but on_replies is not called. Not in the original.
    """
    cdef int number = type_of(type)
    cdef uint64_t ns = time_of(timeout, "timeout")
    cdef CapiMany many
    if not callable(on_replies):
        raise TypeError("on_replies must be callable")
    if isinstance(payloads, (bytes, bytearray, memoryview, str)):
        raise TypeError("payloads must be an iterable of bytes-like objects, one for each request")
    cdef list todo = list(payloads)
    many = CapiMany.__new__(CapiMany)
    many.on_replies = on_replies
    many.left = len(todo)
    many.results = [None] * many.left
    many.payloads = [b""] * many.left
    if here(rpc):
        try:
            rpc_send_many(rpc, number, todo, many, ns)
        except BaseException:
            many.on_replies = None
            raise
        return
    todo = [bytes_of(data) for data in todo]
    if not alive(rpc) or not (<CapiLoop>rpc.loop).post_op(CAPI_OP_CALL_MANY, rpc, todo, many, number, 0, ns):
        rpc_gone(rpc, many)
