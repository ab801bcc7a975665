# batch.pyx: many requests in one Python call, many calls in one await.
# needs: core/arguments core/batch core/buffers core/calls core/errors core/loop core/threads
# needs: aio/call aio/rpc

cdef extern from "Python.h":
    PyObject *borrowed_item "PyList_GET_ITEM" (list of, Py_ssize_t i) noexcept

cdef enum:
    ROW_MOST = 64  # payloads that are given to the engine at once


cdef class RpcBatch:
    """The requests of one tick for one batch handler, in the order in which they came: parallel lists `rpcs`, `types`
    and `payloads`. len() is their number; iterating gives (rpc, type, payload)."""

    def __cinit__(self):
        self.payloads = []
        self.owners = []

    def __dealloc__(self):
        free(self.asked)
        free(self.runs)

    cdef int more(self) except -1:
        cdef size_t cap = self.cap * 2 or 64
        cdef Asked *grown = <Asked *>realloc(self.asked, cap * sizeof(Asked))
        if grown == NULL:
            raise MemoryError()
        self.asked = grown
        self.cap = cap
        return 0

    cdef int begin_run(self, BaseRpc rpc, en.nq_handle stream) except -1:
        cdef size_t cap
        cdef Run *grown
        if <size_t>self.n_runs == self.cap_runs:
            cap = self.cap_runs * 2 or 4
            grown = <Run *>realloc(self.runs, cap * sizeof(Run))
            if grown == NULL:
                raise MemoryError()
            self.runs = grown
            self.cap_runs = cap
        self.owners.append(rpc)
        self.runs[self.n_runs] = Run(stream, <PyObject *>rpc, self.n)
        self.n_runs += 1
        return 0

    cdef Py_ssize_t end_of(self, Py_ssize_t run) noexcept:
        return self.runs[run + 1].begin if run + 1 < self.n_runs else self.n

    cdef Run *run_of(self, Py_ssize_t i) noexcept:
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.n_runs
        cdef Py_ssize_t middle
        while high - low > 1:
            middle = (low + high) // 2
            if self.runs[middle].begin <= i:
                low = middle
            else:
                high = middle
        return &self.runs[low]

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


cdef class BatchHandler(Batch):
    """Wraps a function that takes an RpcBatch and returns one reply for each request."""

    def __init__(self, fn):
        self.fn = fn

    cdef int add(self, BaseRpc rpc, const en.nq_event *e) except -1:
        cdef RpcBatch b = self.batch
        if b is None:
            b = self.batch = RpcBatch.__new__(RpcBatch)
            rpc.loop.batches.append(self)
        if <size_t>b.n == b.cap:
            b.more()
        if b.n_runs == 0 or b.runs[b.n_runs - 1].stream != e.handle:
            b.begin_run(rpc, e.handle)
        b.asked[b.n] = Asked(e.msgid, e.type)
        b.payloads.append(event_bytes(e))
        b.n += 1
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
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t k
        cdef Py_ssize_t end
        cdef list replies
        cdef object r
        cdef int rc
        cdef Run run
        cdef bint ours = False
        if results is None:
            replies = [None] * b.n
        else:
            replies = results if type(results) is list and not LISTS_CHANGE else list(results)
        if len(replies) != b.n:
            raise ValueError(f"a batch handler returned {len(replies)} replies for {b.n} requests: one for each is "
                             "needed, None where the reply comes later")
        for k in range(b.n_runs):
            run = b.runs[k]
            end = b.end_of(k)
            while i < end:
                r = replies[i]
                if PyBytes_CheckExact(r) and loop.l != NULL:
                    rc = en.nq_rpc_reply(loop.l, run.stream, b.asked[i].msgid, 0, <const uint8_t *>PyBytes_AS_STRING(r),
                                         PyBytes_GET_SIZE(r))
                    if rc >= 0:
                        i += 1
                        continue
                else:
                    rc = en.NQ_DONE
                if not ours:  # code of the user's runs from here on, and the list is the user's
                    replies = list(replies)
                    ours = True
                self.answer_other(loop, <BaseRpc>run.rpc, b.asked[i].msgid, r, rc)
                i += 1
        return 0

    cdef int answer_other(self, Loop loop, BaseRpc rpc, uint32_t msgid, object reply, int rc) except -1:
        """A reply that is not just bytes, or could not be queued (rc)."""
        if rc < 0:
            rpc.reply_failed(msgid, rc)
        elif reply is None:
            rpc.unanswered += 1
        elif isinstance(reply, errors.RpcError):
            try:
                rpc.reply_now(msgid, to_result(reply.code), reply.payload)
            except Exception as exc:  # they were changed to what cannot be sent
                loop.failed(exc, self.fn)
                rpc.reply_now(msgid, R_USER, b"")
        else:
            try:
                rpc.reply_now(msgid, 0, reply)
            except Exception as exc:
                loop.failed(exc, self.fn)
                rpc.reply_now(msgid, R_USER, b"")
        return 0

    cdef int refuse(self, Loop loop, RpcBatch b) except -1:
        """The handler failed: every caller gets an error reply."""
        cdef Py_ssize_t i
        for i in range(b.n):
            (<BaseRpc>b.run_of(i).rpc).reply_now(b.asked[i].msgid, R_USER, b"")
        return 0


cdef class Many(Reply):
    def __dealloc__(self):
        free(self.rows)

    cdef int start(self, int16_t type, list todo, uint64_t timeout) except -1:
        """Makes the calls. Raises at the first that cannot be made."""
        cdef en.nq_payload v[ROW_MOST]
        cdef View view
        cdef CallNode *node = NULL
        cdef PyObject *item
        cdef Py_ssize_t n = PyList_GET_SIZE(todo)
        cdef uint32_t k
        cdef bint ours = False
        cdef Loop loop = self.rpc.loop
        cdef en.nq_loop *l
        while self.started < n:
            if loop.schedule:  # own() begins a turn: code of the user's, which may end the calls before
                node = NULL
            l = own(loop)
            if PyList_GET_SIZE(todo) != self.left:
                raise RuntimeError("the list of payloads changed while the calls were made")
            k = 0
            while k < ROW_MOST and self.started + k < n:
                item = borrowed_item(todo, self.started + k)
                if not PyBytes_CheckExact(<object>item):
                    break
                v[k] = en.nq_payload(<const uint8_t *>PyBytes_AS_STRING(<object>item), PyBytes_GET_SIZE(<object>item))
                k += 1
            if k:
                node = self.send(l, node, type, v, k, timeout)
                continue
            if not ours:  # a buffer's own code runs, and the list may be the caller's
                todo = list(todo)
                ours = True
                continue
            view_get(&view, todo[self.started])
            try:
                v[0] = en.nq_payload(view.p, view.n)
                self.send(own(loop), NULL, type, v, 1, timeout)
            finally:
                view_done(&view)
            node = NULL
        return 0

    cdef CallNode *send(self, en.nq_loop *l, CallNode *node, int16_t type, const en.nq_payload *v, uint32_t n,
                        uint64_t timeout) except? NULL:
        """Makes n calls. node: of the row that the call before belongs to, or NULL; returns that of the last."""
        cdef Loop loop = self.rpc.loop
        cdef uint32_t done = 0
        cdef uint32_t made = 0
        cdef uint32_t msgid
        cdef int rc
        while done < n:
            msgid = 0 if node == NULL else node.first + node.left
            if msgid == 0:
                node = loop.calls.node(self.rpc, self, CALL_MANY + <int>self.started)
                node.left = 0
            rc = en.nq_rpc_call_row(l, self.rpc.handle, type, v + done, n - done, timeout, <void *>node, &msgid, &made)
            if made:
                if node.left == 0:
                    node.first = msgid
                node.left += made
                self.row(msgid)
                self.started += made
                done += made
            if rc < 0:
                if node.left == 0:
                    loop.calls.release(node)
                self.rpc.call_failed(rc)
            if done < n:  # the next ID is not the next number
                node = NULL
        return node

    cdef int row(self, uint32_t msgid) except -1:
        """The calls from `started` on have message IDs from this one on."""
        cdef Row *last = self.rows + (self.n_rows - 1) if self.n_rows else NULL
        cdef Row *grown
        if last != NULL and msgid == last.msgid + <uint32_t>(self.started - last.begin):
            return 0
        if self.n_rows & (self.n_rows - 1) == 0:  # a power of two: full
            grown = <Row *>realloc(self.rows, (self.n_rows * 2 or 1) * sizeof(Row))
            if grown == NULL:
                raise MemoryError()
            self.rows = grown
        self.rows[self.n_rows] = Row(msgid, self.started)
        self.n_rows += 1
        return 0

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
        cdef Py_ssize_t k
        cdef Py_ssize_t i
        cdef Py_ssize_t end
        cdef Row row
        for k in range(self.n_rows):
            row = self.rows[k]
            end = self.rows[k + 1].begin if k + 1 < self.n_rows else self.started
            for i in range(row.begin, end):
                if self.values[i] is None:
                    self.rpc.forget_call(row.msgid + <uint32_t>(i - row.begin))
        return 0
