# batch.pyx: naquid.capi: many requests in one Python call, many replies in another. Not in the original.
# needs: core/buffers core/callbacks core/errors core/rpc
# needs: capi/check capi/handles capi/hdmap capi/loop capi/rpc capi/stream

@cython.final
cdef class CapiBatch(Requests):
    cdef object call(self):
        cdef list rpcs = []
        cdef list types = []
        cdef list msgids = []
        cdef Py_ssize_t k
        cdef Py_ssize_t i
        for k in range(self.n_runs):
            stream = (<CapiStream>self.runs[k].rpc).stream
            for i in range(self.runs[k].begin, self.end_of(k)):
                rpcs.append(stream)
                types.append(self.asked[i].type)
                msgids.append(self.asked[i].msgid)
        return self.fn(rpcs, types, msgids, self.payloads)


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
    """In the loop's thread. payloads: a list that no other code has."""
    cdef ManyCalls calls = ManyCalls.__new__(ManyCalls)
    cdef CapiStream core
    cdef int rc
    if not alive(rpc):
        return rpc_gone(rpc, many)
    if many.left == 0:
        if not (<CapiLoop>rpc.loop).post_op(CAPI_OP_GOAWAY, rpc, None, many, 0, 0, 0):
            many(rpc, R_GOAWAY, b"")  # the loop was closed meanwhile
        return 0
    core = rpc.core
    rc = calls.start(core, many, type, payloads, timeout)
    if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:
        return rpc_gone(rpc, many)
    return engine_error(rpc.loop, rc, "calling") if rc < 0 else 0


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
