# rpc.pyx: RPC streams. A request costs one bytes object, one vectorcall and one reply call; a reply the same.
# needs: core/arguments core/buffers core/callbacks core/calls core/conn core/core core/errors core/rpc core/threads
# needs: aio/batch aio/call aio/conn aio/failures aio/handlers aio/stream aio/tasks

cdef uint64_t timeout_ns(object seconds) except? 0:
    cdef uint64_t ns = to_ns(seconds, "timeout")
    if ns == 0:
        raise ValueError("a timeout must be above 0 seconds")
    return ns


# Made before it is needed, as there may be no memory for it then.
cdef object NO_MEMORY = MemoryError("there was no memory for the reply")


cdef object call_error(bint local, int result, bytes payload):
    """Why a call has no reply, other than the end of its stream."""
    try:
        if not local:
            return errors.RpcError(payload, result)
        if result == R_TIMEOUT:
            return errors.CallTimeout("no reply came within the call's timeout")
        if result == R_TOOBIG:
            return errors.MessageTooBig("the reply is larger than this side's Limits.max_message_size; raise it, or "
                                        "ask for the answer in parts")
        return MemoryError(*NO_MEMORY.args)
    except MemoryError:
        return NO_MEMORY


@cython.no_gc_clear
cdef class BaseRpc(AioStream):
    """An RPC stream; naquid.Rpc adds the coroutines."""

    # ---- requests of the peer ----

    cdef int use(self, HandlerEntry entry) except -1:
        if isinstance(entry.handler, BatchHandler):
            self.on_batch = entry.handler
        else:
            self.on_request = entry.handler
        self.on_notify = entry.notify
        self.keeps_on = not entry.cancel
        return 0

    cdef int ev_open(self, const en.nq_event *e) except -1:
        if self.open_waiters is not None:
            wake_waiters(self.loop, self.open_waiters, None)
        return 0

    cdef int request(self, object handler, object type, uint32_t msgid, bytes payload) except -1:
        cdef PyObject *r
        cdef int rc
        self.heard = True
        enter_context(self.loop, self.conn)
        self.msgid = msgid
        r = call_handler(handler, self, type, None, payload)
        self.msgid = 0
        if r == NULL:
            self.undefer()
            return self.request_failed(msgid, handler, type)
        if PyBytes_CheckExact(<object>r):
            if self.deferral is not None:
                self.undefer()
            rc = en.NQ_DONE
            if self.loop.l != NULL:
                rc = en.nq_rpc_reply(self.loop.l, self.handle, msgid, 0, <const uint8_t *>PyBytes_AS_STRING(<object>r),
                                     PyBytes_GET_SIZE(<object>r))
            Py_XDECREF(r)
            return self.reply_failed(msgid, rc, handler) if rc < 0 else 0
        result = <object>r
        Py_XDECREF(r)
        return self.request_done(msgid, result, type)

    cdef int notification(self, object handler, object type, bytes payload) except -1:
        cdef PyObject *r
        self.heard = True
        enter_context(self.loop, self.conn)
        r = call_handler(handler, self, type, None, payload)
        if r == NULL:
            return handler_raised(self, handler, type)
        result = <object>r
        Py_XDECREF(r)
        if result is not None:
            work = coroutine_of(result)
            if work is not None:
                start_task(new_task(<BaseConnection>self.conn, self, result, work, TASK_NOTIFY),
                           self._serve_notify(work, type))
        return 0

    cdef Requests new_requests(self):
        cdef RpcBatch batch = RpcBatch.__new__(RpcBatch)
        batch.fn = (<BatchHandler>self.on_batch).fn
        return batch

    cdef int reply_object(self, uint32_t msgid, object reply, object where) except -1:
        if isinstance(reply, errors.RpcError):
            return self.reply_now(msgid, to_result(reply.code), reply.payload, where)
        return self.reply_now(msgid, 0, reply, where)

    cdef int request_done(self, uint32_t msgid, object result, object type) except -1:
        """The handler returned something that is not exactly bytes."""
        cdef object work
        if result is None:
            if self.deferral is not None:
                self.unanswered += 1
                self.deferral = None  # when nobody has kept it, the reply is never to come: see Deferred
                return 0
            return self.reply_now(msgid, 0, b"", self.on_request)
        work = coroutine_of(result)
        if work is not None:
            self.request_task(msgid, result, work, type)
        else:
            self.undefer()
            try:
                self.reply_now(msgid, 0, result, self.on_request)
            except Exception as exc:
                self.handler_failed(exc, self.on_request, type)
                self.refuse_request(msgid, self.on_request)
        return 0

    cdef int request_failed(self, uint32_t msgid, object where, object type) except -1:
        """The handler raised (the error indicator is set): the caller gets an error reply."""
        try:
            raise_set()
        except errors.RpcError as exc:
            try:
                return self.reply_now(msgid, to_result(exc.code), exc.payload, where)
            except Exception as wrong:  # they were changed to what cannot be sent
                self.handler_failed(wrong, where, type)
        except BaseException as exc:
            self.handler_failed(exc, where, type)
        return self.refuse_request(msgid, where)

    cdef int refuse_request(self, uint32_t msgid, object where) except -1:
        return self.reply_now(msgid, R_USER, HANDLER_FAILED, where)

    cdef int request_task(self, uint32_t msgid, object result, object work, object type) except -1:
        cdef HandlerTask h = new_task(<BaseConnection>self.conn, self, result, work, TASK_REQUEST)
        h.msgid = msgid
        h.deferred = self.deferral
        self.deferral = None
        if self.running is None:
            self.running = {}
        self.running[msgid] = h
        self.unanswered += 1
        self.msgid = msgid  # an eager task takes its first step now
        try:
            start_task(h, self._serve_request(work, msgid, type))
        except BaseException:
            self.running.pop(msgid, None)
            self.unanswered -= 1
            self.undefer()
            raise
        finally:
            self.msgid = 0
        if self.deferral is not None:
            h.deferred = self.deferral
            self.deferral = None
        return 0

    cdef int undefer(self) except -1:
        """The handler of a request has deferred its reply and failed, or given it all the same."""
        if isinstance(self.deferral, Deferred):
            (<Deferred>self.deferral).msgid = 0
        self.deferral = None
        return 0

    cdef HandlerTask current_request(self):
        """The request whose coroutine handler is the running task, or None."""
        cdef HandlerTask h
        if not self.running:
            return None
        h = (<BaseConnection>self.conn).tasks.get(current_task(self.loop))
        return h if h is not None and h.stream is self and h.kind == TASK_REQUEST else None

    cdef int ev_cancelled(self, const en.nq_event *e) except -1:
        """The caller waits for the reply no more. One that is sent all the same is ignored."""
        cdef HandlerTask h = self.running.get(e.msgid) if self.running is not None else None
        if h is not None and not self.keeps_on:
            h.unwanted = True
            h.task.cancel()
        return 0

    def _deferred(self, uint32_t msgid):
        """Whether the handler of this request, which has returned None, has deferred the reply."""
        cdef HandlerTask h = self.running.get(msgid)
        return h is None or h.deferred is not None or self.deferral is not None

    def _end_request(self, uint32_t msgid, result, payload):
        """The reply of a coroutine handler, unless its request was answered before."""
        if msgid in self.running:
            self._answer(msgid, result, payload)

    def _answer(self, uint32_t msgid, result, payload):
        """The reply to a request that was not answered at once. One that raises leaves it unanswered."""
        cdef HandlerTask h = self.running.get(msgid) if self.running is not None else None
        if h is None or not h.unwanted:
            self.reply_now(msgid, 0 if result == 0 else to_result(result), payload, self.on_request)
        if h is not None:
            self.running.pop(msgid, None)
            if isinstance(h.deferred, Deferred):
                (<Deferred>h.deferred).msgid = 0
        answered(self)

    cdef int close_finished(self) except -1:
        self.close()
        return 0

    @property
    def request_handler(self):
        """What takes requests: (rpc, type, payload) -> bytes, None or a coroutine. None: nothing does."""
        return self.on_request

    @request_handler.setter
    def request_handler(self, handler):
        self.on_request = handler

    @property
    def notify_handler(self):
        """What takes notifications: (rpc, type, payload) -> None or a coroutine. None: nothing does."""
        return self.on_notify

    @notify_handler.setter
    def notify_handler(self, handler):
        self.on_notify = handler

    @property
    def current_msgid(self):
        """Message ID of the request that is being handled, inside its handler; 0 elsewhere. Who reads it says that the
        reply comes by `reply()`: None as the handler's result is no reply then."""
        cdef HandlerTask h
        if self.msgid != 0:
            if self.deferral is None:
                self.deferral = True
            return self.msgid
        h = self.current_request()
        if h is None:
            return 0
        if h.deferred is None:
            h.deferred = True
        return h.msgid

    def defer(self):
        """Inside a request handler that will return None: an object to reply with later, from anywhere in the
        event loop. When that object is forgotten, the caller gets an error reply (code -7), and the logger "naquid" a
        warning. Raises RuntimeError elsewhere."""
        cdef HandlerTask h = self.current_request() if self.msgid == 0 else None
        if self.msgid == 0 and h is None:
            raise RuntimeError("defer() is for inside a request handler")
        cdef object known = self.deferral if h is None else h.deferred
        if isinstance(known, Deferred):
            return known
        cdef Deferred d = Deferred.__new__(Deferred)
        d.rpc = self
        d.msgid = self.msgid if h is None else h.msgid
        d.owe(1)
        if h is None:
            self.deferral = d
        else:
            h.deferred = d
        return d

    def reply(self, msgid, payload=b""):
        """Replies to a request whose handler returned None; msgid is what `current_msgid` was then. Dropped when the
        stream is gone. Raises MessageTooBig or QueueFull through the error reply the caller gets; TypeError and
        ValueError for what is no message ID, or no buffer."""
        self._answer(to_msgid(msgid), 0, payload)

    def reply_error(self, msgid, payload=b"", code=R_USER):
        """Replies with an error (code is -32768 to -1): the caller's `call()` raises RpcError(payload, code)."""
        self._answer(to_msgid(msgid), to_result(code), payload)

    # ---- calls of this side ----

    cdef bint comes_back(self) noexcept:
        """Whether this outgoing stream ended because its connection was lost, which is or will be brought back."""
        cdef BaseConnection conn = <BaseConnection>self.conn
        return (self.outgoing and not self.closed_locally and conn.reconnects and not conn.closed and not conn.closing
                and self.epoch is not None and self.epoch.error is not None)

    cdef BaseRpc find_successor(self):
        """The stream that stands for this one since its connection came back. None while the connection is away."""
        cdef BaseConnection conn = <BaseConnection>self.conn
        if self.successor is not None and self.successor.is_lost():
            self.last_msgid = self.successor.last_msgid
            self.successor = None
        if self.successor is None and conn.is_up():
            self.successor = conn._open_stream(type(self), 2, self.name, False, self.call_timeout)
            self.successor.on_request = self.on_request
            self.successor.on_notify = self.on_notify
            if self.attached is None:
                self.attached = Attached.__new__(Attached)
            self.successor.attached = self.attached
            self.successor.last_msgid = self.last_msgid
            # `cancel` takes old ones for no new calls.
            en.nq_rpc_last_msgid(peek(self.loop), self.successor.handle, self.last_msgid)
        return self.successor

    cdef int start_call(self, object type, object payload, object cb, int kind, object timeout,
                        uint32_t *msgid) except -1:
        cdef int number = to_type(type, "request")
        cdef View v
        cdef uint64_t ns = 0
        cdef int rc
        if timeout is not None:
            ns = timeout_ns(timeout)
        view_get(&v, payload)
        try:
            rc = self.call_now(own(self.loop), cb, kind, number, &v, ns, msgid)
        finally:
            view_done(&v)
        return self.call_failed(rc) if rc < 0 else 0

    cdef int call_failed(self, int rc) except -1:
        if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:
            raise self._gone()
        return engine_error(self.loop, rc, "calling")

    def call_soon(self, type, payload, on_reply, timeout=None):
        """Sends a request and returns at once; on_reply(result: int, payload: bytes) is called exactly once.

        type: 1 to 32767. timeout: seconds; None is the stream's. result is 0, the negative code of an error reply,
        naquid.ETIMEOUT, naquid.ETOOBIG when request or reply is above a max_message_size, naquid.EALLOC when there was
        no memory for the reply, or naquid.EGOAWAY when the stream or connection ended.
        Returns the message ID for `cancel`.
        Raises ConnectionLost, MessageTooBig, QueueFull, ValueError.
        """
        cdef uint32_t msgid = 0
        if not callable(on_reply):
            raise TypeError("on_reply must be callable")
        if self.closed and self.comes_back() and self.find_successor() is not None:
            return self.successor.call_soon(type, payload, on_reply, timeout)
        self.start_call(type, payload, on_reply, CALL_CALLBACK, timeout, &msgid)
        self.last_msgid = msgid
        return msgid

    def call(self, type, payload=b"", timeout=None):
        """Sends a request; the result is awaited for the reply's payload: `reply = await rpc.call(1, b"hi")`.

        type: 1 to 32767. payload: any contiguous bytes-like object; it is copied, and sent at the end of this turn of
        the event loop, whether the result is awaited yet or not. timeout: seconds; None is the stream's own. When the
        waiting task is cancelled the reply is forgotten. While a connection that was lost is being brought back the
        call waits for that, for at most its timeout, and is sent then.

        Raises ConnectionLost when the stream or connection is gone, MessageTooBig, QueueFull, ValueError for a type
        out of range. Awaiting raises RpcError for an error reply, with the code naquid.ETOOBIG when the peer's
        max_message_size is below the payload; CallTimeout, ConnectionLost, MessageTooBig for a reply above this side's.
        """
        cdef Call call
        cdef Reply reply
        if self.loop.aloop is None:
            raise self._gone()
        if self.closed and self.comes_back():
            if self.find_successor() is not None:
                return self.successor.call(type, payload, timeout)
            if timeout is not None:
                timeout_ns(timeout)
            return self._call_when_back(to_type(type, "request"), bytes(memoryview(payload)),
                                        self.call_timeout if timeout is None else timeout)
        reply = Reply.__new__(Reply)
        reply.rpc = self
        reply.aloop = self.loop.aloop
        self.start_call(type, payload, reply, CALL_AWAITED, timeout, &reply.msgid)
        call = Call.__new__(Call)
        call.reply = reply
        return call

    def call_many(self, type, payloads, timeout=None, *, bint return_exceptions=False):
        """Sends a request for each payload; the result is awaited for the list of their replies, in order.

        It costs one await for all of them. timeout: seconds, of each. return_exceptions: an error reply or timeout
        stands in the list; otherwise the first one is raised and the replies still to come are forgotten. Raises as
        `call` does; QueueFull when some, but not all, could be sent (those are forgotten).
        """
        cdef Many many
        cdef Call call
        cdef int number
        cdef int rc
        cdef uint64_t ns = 0
        cdef list todo = payloads if isinstance(payloads, list) and not LISTS_CHANGE else list(payloads)
        if self.loop.aloop is None:
            raise self._gone()
        if self.closed and self.comes_back() and self.find_successor() is not None:
            return self.successor.call_many(type, todo, timeout, return_exceptions=return_exceptions)
        number = to_type(type, "request")
        if timeout is not None:
            ns = timeout_ns(timeout)
        own(self.loop)  # raises when nothing can be sent, also when there is nothing to send
        many = Many.__new__(Many)
        many.rpc = self
        many.aloop = self.loop.aloop
        many.keep_errors = return_exceptions
        many.calls = ManyCalls.__new__(ManyCalls)
        many.values = [None] * len(todo)
        many.left = len(todo)
        try:
            rc = many.calls.start(self, many, number, todo, ns)
            if rc < 0:
                self.call_failed(rc)
        except BaseException:
            many.forget()
            raise
        if many.left == 0:
            many.settle(CALL_DONE, many.values)
        call = Call.__new__(Call)
        call.reply = many
        return call

    def _drain_wait(self):
        if self.closed and self.comes_back() and self.find_successor() is not None:
            return self.successor._drain_wait()
        if self.closed or self.finished:
            raise self._gone()
        return AioStream._drain_wait(self)

    def close(self):
        """Closes both directions: what was sent is delivered, then FIN; calls in flight fail. Closing twice does
        nothing."""
        if self.successor is not None:
            self.successor.close()
        elif self.closed and self.comes_back():
            self.closed_locally = True  # and does not come back
        else:
            AioStream.close(self)

    def cancel(self, msgid):
        """Forgets a call of `call_soon`: its on_reply is never called. Returns whether it was still waiting; False for
        every number that is no message ID of such a call. To give up what is awaited, cancel the task."""
        cdef CallNode *node
        cdef en.nq_loop *l
        if not isinstance(msgid, int):
            raise TypeError(f"a message ID is an int, not {type(msgid).__name__}")
        if self.successor is not None:
            return self.successor.cancel(msgid)
        if self.closed or self.loop.l == NULL or not 1 <= msgid <= 0xffffffff:
            return False
        l = own(self.loop)
        node = <CallNode *>en.nq_rpc_pending(l, self.handle, msgid)
        if node == NULL or node.kind != CALL_CALLBACK:
            return False
        en.nq_rpc_cancel(l, self.handle, msgid)
        self.loop.calls.forget(node)
        return True

    def notify(self, type, payload=b""):
        """Sends a message that has no reply. type: 1 to 32767. Raises ConnectionLost, MessageTooBig, QueueFull."""
        cdef View v
        cdef int rc
        cdef int number = to_type(type, "notify")
        if self.closed and self.comes_back() and self.find_successor() is not None:
            self.successor.notify(number, payload)
            return
        view_get(&v, payload)
        try:
            rc = en.nq_rpc_notify(own(self.loop), self.handle, <int16_t>number, v.p, v.n)
        finally:
            view_done(&v)
        if rc < 0:
            if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:
                raise self._gone()
            engine_error(self.loop, rc, "notifying")

    cdef int ev_reply(self, object cb, int kind, bint local, int result, bytes payload) except -1:
        cdef PyObject *args[3]
        cdef object result_
        if not local:
            self.heard = True
        if kind >= CALL_MANY:
            if result == 0:
                return (<Many>cb).put(kind - CALL_MANY, payload, False)
            if result == R_GOAWAY and local:
                return (<Many>cb).settle(CALL_GONE, None)
            return (<Many>cb).put(kind - CALL_MANY, call_error(local, result, payload), True)
        if kind == CALL_AWAITED:
            if result == 0:
                return (<Reply>cb).settle(CALL_DONE, payload)
            if result == R_GOAWAY and local:
                return (<Reply>cb).settle(CALL_GONE, None)
            return (<Reply>cb).settle(CALL_FAILED, call_error(local, result, payload))
        enter_context(self.loop, self.conn)
        result_ = result
        args[0] = NULL
        args[1] = <PyObject *>result_
        args[2] = <PyObject *>payload
        return call_back(self.loop, cb, args, 2)

    def _gone(self):
        """The exception for calls on a stream or connection that went away."""
        self.look_ahead()
        refusal = None if self.closed_locally else self.refusal()
        if refusal is not None:
            return refusal
        if self.is_lost() or (<BaseConnection>self.conn).closing:
            return self.lost()
        if self.given_up:
            return errors.ConnectionLost(f"the RPC stream was given up: {errors.given_up(self.reset_code)}",
                                         code=self.reset_code)
        if self.closed_locally:
            return errors.ConnectionLost("the RPC stream is closed: this side has closed it")
        code = max(self.reset_code, self.stop_code, self.close_code)
        if code > 0 or self.reset_code == 0 or self.stop_code == 0:
            return errors.ConnectionLost(f"the peer refused or reset the RPC stream {self.name!r} (code {code:#x})",
                                         code=code, remote=True)
        return errors.ConnectionLost("the RPC stream is closed", remote=self.fin)

    # ---- the end ----

    cdef int ev_fin(self, const en.nq_event *e) except -1:
        self.fin = True
        if self.unanswered <= 0:
            self.close()
        return 0

    cdef int ev_reset(self, const en.nq_event *e) except -1:
        self.reset_code = <int64_t>e.code
        self.given_up = (e.flags & en.NQ_EVF_LOCAL) != 0
        cancel_of_stream(self, False)
        self.close()
        return 0

    cdef int ev_stop(self, const en.nq_event *e) except -1:
        self.stop_code = <int64_t>e.code
        cancel_of_stream(self, True)
        self.close()
        return 0

    cdef int ev_close(self, const en.nq_event *e) except -1:
        AioStream.ev_close(self, e)
        cancel_of_stream(self, self.close_code == 0 and self.reset_code < 0)
        left = self.unanswered - (0 if self.running is None else len(self.running))
        if left > 0 and self.loop.collected.get(self.on_batch) is None:  # else a batch handler has them in this tick
            log_forgotten(self, left, "were not answered when it ended")
        return 0

    cdef int end_tasks(self) except -1:
        return cancel_of_stream(self, False)

    cdef int ev_data(self, const en.nq_event *e) except -1:
        return 0


cdef int log_forgotten(BaseRpc rpc, Py_ssize_t n, str what) except -1:
    import logging
    handler = rpc.on_request if rpc.on_batch is None else (<BatchHandler>rpc.on_batch).fn
    logging.getLogger("naquid").warning(
        "RPC stream %r: %d request%s that the handler %s deferred %s", rpc.name, n, "" if n == 1 else "s",
        getattr(handler, "__qualname__", handler), what)
    return 0


def _answer_forgotten(BaseRpc rpc, uint32_t msgid):
    try:
        rpc._answer(msgid, R_USER, b"")
    finally:
        owe_reply(rpc, -1)


cdef inline void owe_reply(BaseRpc rpc, int n) noexcept:
    if mine(rpc.loop):
        en.nq_conn_owe(rpc.loop.l, rpc.conn.handle, n)


@cython.no_gc_clear
cdef class Deferred:
    """A request that waits for its reply: `reply(payload)` or `error(payload, code)`, once."""

    def __del__(self):
        cdef uint32_t msgid = self.msgid
        cdef BaseRpc rpc = self.rpc
        if msgid == 0 or rpc is None or rpc.closed or load_loop(&rpc.loop.l) == NULL:
            return
        self.msgid = 0
        log_forgotten(rpc, 1, "can never be answered: what defer() returned was dropped")
        rpc.loop.post(_answer_forgotten, rpc, msgid)  # this may be any thread, and any moment

    cdef int answer(self, int result, object payload) except -1:
        cdef uint32_t msgid = self.msgid
        if msgid == 0:
            raise RuntimeError("this request has its reply already")
        self.msgid = 0  # before the payload's own code runs, which may reply too
        try:
            self.rpc._answer(msgid, result, payload)
        except BaseException:
            self.msgid = msgid
            raise
        self.owe(-1)
        return 0

    cdef void owe(self, int n) noexcept:
        """A close in order of the connection waits for n more replies."""
        owe_reply(self.rpc, n)

    def reply(self, payload=b""):
        """Sends the reply. Dropped when the stream is gone. After an exception it is still to be sent."""
        self.answer(0, payload)

    def error(self, payload=b"", code=R_USER):
        """Sends an error reply; code is -32768 to -1."""
        self.answer(to_result(code), payload)
