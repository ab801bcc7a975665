# rpc.pyx: RPC as every API has it. A request costs one bytes object, one vectorcall and one reply; a reply the same.
# needs: core/buffers core/calls core/errors core/loop core/stream core/threads

cdef extern from "Python.h":
    PyObject *borrowed_item "PyList_GET_ITEM" (list of, Py_ssize_t i) noexcept

cdef enum:
    ROW_MOST = 64  # payloads that are given to the engine at once


cdef inline int answered(RpcCore s) except -1:
    """A request that was left for later has its reply now; the last one ends a stream that the peer has finished."""
    s.unanswered -= 1
    if s.fin and s.unanswered <= 0 and not s.closed:
        return s.close_finished()
    return 0


@cython.no_gc_clear
cdef class RpcCore(StreamCore):
    # ---- requests of the peer ----

    cdef int ev_request(self, const en.nq_event *e) except -1:
        cdef object handler = self.on_request
        cdef object type_
        cdef bytes payload
        if handler is None:
            if self.on_batch is not None:
                return requests_for(self).add(self, e)
            en.nq_rpc_reply(self.loop.l, self.handle, e.msgid, R_NOTSUPPORT, NULL, 0)
            return 0
        type_ = <int>e.type
        payload = event_bytes(e)
        return self.request(handler, type_, e.msgid, payload)

    cdef int ev_notify(self, const en.nq_event *e) except -1:
        cdef object handler = self.on_notify
        cdef object type_
        cdef bytes payload
        if handler is None:
            return 0
        type_ = <int>e.type
        payload = event_bytes(e)
        return self.notification(handler, type_, payload)

    cdef int ev_cancelled(self, const en.nq_event *e) except -1:
        return 0

    cdef bint ev_undelivered(self, const en.nq_event *e) except -1:
        return e.kind == en.NQ_EV_RPC_REQUEST and en.nq_rpc_reply(self.loop.l, e.handle, e.msgid, R_ALLOC, NULL, 0) >= 0

    cdef int request(self, object handler, object type, uint32_t msgid, bytes payload) except -1:
        return 0

    cdef int notification(self, object handler, object type, bytes payload) except -1:
        return 0

    cdef Requests new_requests(self):
        return Requests.__new__(Requests)

    cdef int reply_object(self, uint32_t msgid, object reply, object where) except -1:
        return self.reply_now(msgid, 0, reply, where)

    cdef int refuse_request(self, uint32_t msgid, object where) except -1:
        return self.reply_now(msgid, R_USER, b"", where)

    cdef int close_finished(self) except -1:
        return 0

    cdef int reply_now(self, uint32_t msgid, int result, object payload, object where) except -1:
        """Sends a reply. One to a stream that is gone is dropped; one that is not accepted is reported, with `where`,
        and the caller gets an error reply instead."""
        cdef View v
        cdef int rc = en.NQ_DONE
        if self.closed:
            return 0
        if not -32768 <= result <= 0:
            raise ValueError(f"the result of a reply is 0 or negative, down to -32768; not {result}")
        view_get(&v, payload)
        try:
            if not self.closed and load_loop(&self.loop.l) != NULL:
                rc = en.nq_rpc_reply(own(self.loop), self.handle, msgid, <int16_t>result, v.p, v.n)
        finally:
            view_done(&v)
        return self.reply_failed(msgid, rc, where) if rc < 0 else 0

    cdef int reply_failed(self, uint32_t msgid, int rc, object where) except -1:
        """A reply was not accepted: gone streams are nothing to report; else the caller gets an error reply."""
        if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:
            return 0
        try:
            engine_error(self.loop, rc, "replying to a request")
        except Exception as exc:
            self.handler_failed(exc, where, None)
        if mine(self.loop):  # sys.unraisablehook may have closed it
            en.nq_rpc_reply(own(self.loop), self.handle, msgid, R_TOOBIG if rc == en.NQ_ERR_TOOBIG else R_USER, NULL, 0)
        return 0

    # ---- calls of this side ----

    cdef int ev_reply(self, object cb, int kind, bint local, int result, bytes payload) except -1:
        return 0

    cdef en.nq_loop *for_call(self) except? NULL:
        return own(self.loop)

    cdef int call_now(self, en.nq_loop *l, object cb, int kind, int type, const View *v, uint64_t timeout,
                      uint32_t *msgid) except? -32768:
        """Sends a request; what the engine says. timeout: ns, 0 is the stream's. msgid may be NULL."""
        cdef CallNode *node
        cdef int rc
        if kind == CALL_CALLBACK:
            node = self.loop.calls.shared_node(self, cb)
        else:
            node = self.loop.calls.node(self, cb, kind)
        rc = en.nq_rpc_call(l, self.handle, <int16_t>type, v.p, v.n, timeout, <void *>node, msgid)
        if rc < 0:
            self.loop.calls.forget(node)
        return rc

    cdef int cancel_now(self, uint32_t msgid) except -1:
        """Forgets a call, when it still waits."""
        cdef CallNode *node
        if not self.closed and self.loop.l != NULL:
            node = <CallNode *>en.nq_rpc_cancel(own(self.loop), self.handle, msgid)
            if node != NULL:
                self.loop.calls.forget(node)
        return 0


# ---- the requests of a tick ----

cdef Requests requests_for(RpcCore rpc):
    """Where the requests for a stream's batch handler are collected until the end of this dispatch."""
    cdef Loop loop = rpc.loop
    cdef Requests found = loop.requests
    if found is not None and found.handler is rpc.on_batch:
        return found
    found = loop.collected.get(rpc.on_batch)
    if found is None:
        found = rpc.new_requests()
        found.handler = rpc.on_batch
        loop.collected[rpc.on_batch] = found
    loop.requests = found
    return found


cdef class Requests:
    def __cinit__(self):
        self.payloads = []
        self.owners = []

    def __dealloc__(self):
        free(self.asked)
        free(self.runs)

    cdef int add(self, RpcCore rpc, const en.nq_event *e) except -1:
        cdef size_t cap
        cdef Asked *grown
        if <size_t>self.n == self.cap:
            cap = self.cap * 2 or 64
            grown = <Asked *>realloc(self.asked, cap * sizeof(Asked))
            if grown == NULL:
                raise MemoryError()
            self.asked = grown
            self.cap = cap
        if self.n_runs == 0 or self.runs[self.n_runs - 1].stream != e.handle:
            self.begin_run(rpc, e.handle)
        self.payloads.append(event_bytes(e))
        self.asked[self.n] = Asked(e.msgid, e.type)
        self.n += 1
        rpc.unanswered += 1
        return 0

    cdef int begin_run(self, RpcCore rpc, en.nq_handle stream) except -1:
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

    cdef object call(self):
        return None

    cdef int run(self, Loop loop) except -1:
        """Calls the handler, and sends its replies."""
        cdef object results
        cdef list replies
        cdef bint shared = False
        try:
            results = self.call()
            if results is None:
                return 0
            if isinstance(results, (bytes, bytearray, memoryview, str)):
                raise TypeError(f"a batch handler returned {type(results).__name__}: a list with a reply for each "
                                "request is needed, or None when all come later")
            shared = type(results) is list and not LISTS_CHANGE
            replies = results if shared else list(results)
            if len(replies) != self.n:
                raise ValueError(f"a batch handler returned {len(replies)} replies for {self.n} requests: one for each "
                                 "is needed, None where the reply comes later")
        except BaseException as exc:
            (<RpcCore>self.runs[0].rpc).handler_failed(exc, self.fn, None)
            return self.refuse()
        return self.answer(loop, replies, shared)

    cdef int answer(self, Loop loop, list replies, bint shared) except -1:
        """shared: the list is the handler's, which may change it as soon as code of the user's runs."""
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t k
        cdef Py_ssize_t end
        cdef object reply
        cdef RpcCore rpc
        cdef int rc
        for k in range(self.n_runs):
            rpc = <RpcCore>self.runs[k].rpc
            end = self.end_of(k)
            while i < end:
                reply = replies[i]
                if PyBytes_CheckExact(reply) and loop.l != NULL:
                    rc = en.nq_rpc_reply(loop.l, self.runs[k].stream, self.asked[i].msgid, 0,
                                         <const uint8_t *>PyBytes_AS_STRING(reply), PyBytes_GET_SIZE(reply))
                    if rc >= 0:
                        answered(rpc)
                        i += 1
                        continue
                else:
                    rc = en.NQ_DONE
                if reply is not None:
                    if shared:
                        replies = list(replies)
                        shared = False
                    self.answer_other(loop, rpc, self.asked[i].msgid, reply, rc)
                i += 1
        return 0

    cdef int answer_other(self, Loop loop, RpcCore rpc, uint32_t msgid, object reply, int rc) except -1:
        """A reply that is not just bytes, or was not accepted (rc)."""
        try:
            if rc < 0:
                rpc.reply_failed(msgid, rc, self.fn)
            else:
                rpc.reply_object(msgid, reply, self.fn)
        except BaseException as exc:
            rpc.handler_failed(exc, self.fn, None)
            rpc.refuse_request(msgid, self.fn)
        return answered(rpc)

    cdef int refuse(self) except -1:
        """The handler failed: every caller gets an error reply."""
        cdef Py_ssize_t i
        cdef RpcCore rpc
        for i in range(self.n):
            rpc = <RpcCore>self.run_of(i).rpc
            rpc.refuse_request(self.asked[i].msgid, self.fn)
            answered(rpc)
        return 0


# ---- many calls at once ----

cdef class ManyCalls:
    def __dealloc__(self):
        free(self.rows)

    cdef int start(self, RpcCore rpc, object cb, int type, list todo, uint64_t timeout) except? -32768:
        """Makes the calls, cb being what ev_reply is given. What the engine says to the first that cannot be made;
        those before it are made all the same. Raises what the buffers of the payloads raise."""
        cdef en.nq_payload v[ROW_MOST]
        cdef View view
        cdef CallNode *node = NULL
        cdef PyObject *item
        cdef Py_ssize_t n = PyList_GET_SIZE(todo)
        cdef uint32_t k
        cdef int rc
        cdef bint copied = False
        cdef Loop loop = rpc.loop
        cdef en.nq_loop *l
        while self.made < n:
            if loop.schedule:  # for_call begins a turn: code of the user's, which may end the calls before
                node = NULL
            l = rpc.for_call()
            if l == NULL:
                return en.NQ_ERR_STALE
            if PyList_GET_SIZE(todo) != n:
                raise RuntimeError("the list of payloads changed while the calls were made")
            k = 0
            while k < ROW_MOST and self.made + k < n:
                item = borrowed_item(todo, self.made + k)
                if not PyBytes_CheckExact(<object>item):
                    break
                v[k] = en.nq_payload(<const uint8_t *>PyBytes_AS_STRING(<object>item), PyBytes_GET_SIZE(<object>item))
                k += 1
            if k:
                rc = self.send(l, rpc, cb, &node, type, v, k, timeout)
                if rc < 0:
                    return rc
                continue
            if not copied:  # a buffer's own code runs, and the list may be the caller's
                todo = list(todo)
                copied = True
                continue
            node = NULL
            view_get(&view, todo[self.made])
            try:
                l = rpc.for_call()
                v[0] = en.nq_payload(view.p, view.n)
                rc = en.NQ_ERR_STALE if l == NULL else self.send(l, rpc, cb, &node, type, v, 1, timeout)
            finally:
                view_done(&view)
            if rc < 0:
                return rc
            node = NULL
        return en.NQ_DONE

    cdef int send(self, en.nq_loop *l, RpcCore rpc, object cb, CallNode **node, int type, const en.nq_payload *v,
                  uint32_t n, uint64_t timeout) except? -32768:
        """Makes n calls. node: of the row that the call before belongs to, or NULL; then that of the last."""
        cdef Calls calls = rpc.loop.calls
        cdef uint32_t done = 0
        cdef uint32_t made = 0
        cdef uint32_t msgid
        cdef int rc
        while done < n:
            msgid = 0 if node[0] == NULL else node[0].first + node[0].left
            if msgid == 0:
                node[0] = calls.node(rpc, cb, CALL_MANY + <int>self.made)
                node[0].left = 0
            rc = en.nq_rpc_call_row(l, rpc.handle, <int16_t>type, v + done, n - done, timeout, <void *>node[0], &msgid,
                                    &made)
            if made:
                if node[0].left == 0:
                    node[0].first = msgid
                node[0].left += made
                self.note(msgid)
                self.made += made
                done += made
            if rc < 0:
                if node[0].left == 0:
                    calls.release(node[0])
                return rc
            if done < n:  # the next ID is not the next number
                node[0] = NULL
        return en.NQ_DONE

    cdef int note(self, uint32_t msgid) except -1:
        """The calls from `made` on have message IDs from this one on."""
        cdef CallRow *last = self.rows + (self.n_rows - 1) if self.n_rows else NULL
        cdef CallRow *grown
        if last != NULL and msgid == last.msgid + <uint32_t>(self.made - last.begin):
            return 0
        if self.n_rows & (self.n_rows - 1) == 0:  # a power of two: full
            grown = <CallRow *>realloc(self.rows, (self.n_rows * 2 or 1) * sizeof(CallRow))
            if grown == NULL:
                raise MemoryError()
            self.rows = grown
        self.rows[self.n_rows] = CallRow(msgid, self.made)
        self.n_rows += 1
        return 0
