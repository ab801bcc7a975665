# batch.pyx: many requests in one Python call, many calls in one await.
# needs: core/arguments core/callbacks core/rpc
# needs: aio/call aio/conn aio/rpc

cdef class RpcBatch(Requests):
    """The requests of one tick for one batch handler, in the order in which they came: parallel lists `rpcs`, `types`
    and `payloads`. len() is their number; iterating gives (rpc, type, payload)."""

    cdef object call(self):
        (<RpcCore>self.runs[0].rpc).loop.switch_context(self.context_of())
        return self.fn(self)

    cdef object context_of(self):
        """The context of the connection when the requests are all of one. Else a new copy of what those of the
        connections are copies of: what is set in it is seen on none of them."""
        cdef BaseConnection conn = <BaseConnection>(<RpcCore>self.runs[0].rpc).conn
        cdef Py_ssize_t k
        for k in range(1, self.n_runs):
            if (<RpcCore>self.runs[k].rpc).conn is not conn:
                return PyContext_Copy(conn.origin)
        return conn.context

    @property
    def rpcs(self):
        cdef Py_ssize_t k
        if self.rpcs_ is None:
            made = []
            for k in range(self.n_runs):
                made += [<object>self.runs[k].rpc] * (self.end_of(k) - self.runs[k].begin)
            self.rpcs_ = made
        return self.rpcs_

    @property
    def types(self):
        cdef Py_ssize_t i
        if self.types_ is None:
            self.types_ = [self.asked[i].type for i in range(self.n)]
        return self.types_

    def __len__(self):
        return self.n

    def __iter__(self):
        return zip(self.rpcs, self.types, self.payloads)

    def defer(self, i):
        """An object to reply with later to request i; the handler returns None for it."""
        cdef Py_ssize_t at = to_size(i)
        cdef Deferred d = Deferred.__new__(Deferred)
        if not 0 <= at < self.n:
            raise IndexError(f"request {i} of a batch of {self.n}")
        d.rpc = <BaseRpc>self.run_of(at).rpc
        d.msgid = self.asked[at].msgid
        return d


cdef class BatchHandler:
    """Wraps a function that takes an RpcBatch and returns one reply for each request."""

    def __init__(self, fn):
        self.fn = fn


cdef class Many(Reply):
    cdef int put(self, Py_ssize_t i, object value, bint failed) except -1:
        if self.state != CALL_PENDING:
            return 0
        self.values[i] = value
        self.left -= 1
        if failed and not self.keep_errors:
            self.forget()
            return self.settle(CALL_FAILED, value)
        if self.left == 0:
            return self.settle(CALL_DONE, self.values)
        return 0

    cdef int forget(self) except -1:
        cdef ManyCalls calls = self.calls
        cdef Py_ssize_t k
        cdef Py_ssize_t i
        cdef Py_ssize_t end
        cdef CallRow row
        for k in range(calls.n_rows):
            row = calls.rows[k]
            end = calls.rows[k + 1].begin if k + 1 < calls.n_rows else calls.made
            for i in range(row.begin, end):
                if self.values[i] is None:
                    self.rpc.cancel_now(row.msgid + <uint32_t>(i - row.begin))
        return 0
