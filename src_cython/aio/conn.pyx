# conn.pyx: connections of the asyncio facade. The coroutines are in naquid/connection.py and client.py.
# needs: core/address core/arguments core/buffers core/callbacks core/conn core/core core/errors core/limits core/loop
# needs: core/stream core/threads core/tls
# needs: aio/failures aio/handlers aio/rpc aio/server aio/stream aio/tasks

# Made before it is needed, as there may be no memory for it then.
cdef object NO_MEMORY_AT_THE_END = errors.ConnectionLost("the connection has ended; there was no memory to say why")


cdef class Epoch:
    pass


@cython.no_gc_clear
cdef class BaseConnection(ConnCore):
    """A connection's state; naquid.Connection adds the coroutines."""

    def __cinit__(self):
        self.tasks = {}

    # ---- events ----

    cdef int ev_open(self, const en.nq_event *e) except -1:
        self.opened = True
        self.close_error = None
        if self.server is not None:
            self.server.live.add(self)
            self.running.conns.add(self)
            if self.running.shutting_down:
                hold_conn(self, HOLD_SHUTDOWN)
        if self.open_waiters is not None:
            wake_waiters(self.loop, self.open_waiters, None)
        if self.attempt is not None:
            self.attempted(None)
        if not self.quiet:
            self.announce()
        if self.watched:
            self.changed()
        return 0

    cdef int announce(self) except -1:
        if not self.announced:
            self.announced = True
            if life_is_logged():
                logs_module().connection_opened(self)
            self.run_handler(self.app.connect_fn, (self,), TASK_CONNECT)
        return 0

    cdef int run_handler(self, object fn, tuple args, int kind) except -1:
        cdef object before
        if fn is None:
            return 0
        before = self.loop.push_context(self.context)
        try:
            result = fn(*args)
            if result is not None:
                self.run_task(fn, result, kind)
        except BaseException as exc:
            self.handler_failed(exc, fn, None)
            if kind == TASK_CONNECT:
                self.refuse_peer()
        finally:
            self.loop.pop_context(before)
        return 0

    cdef int handler_failed(self, object exc, object where, object type) except -1:
        return report_failure(self.loop, self.app, self, None, None, exc, where)

    cdef bint run_task(self, object fn, object result, int kind) except -1:
        work = coroutine_of(result)
        if work is None:
            return False
        serve = self._serve_connect if kind == TASK_CONNECT else self._serve
        start_task(new_task(self, None, result, work, kind), serve(work, fn))
        return True

    cdef int refuse_peer(self) except -1:
        if not self.client and not self.closed and not self.closing:
            self._close(en.NQ_CODE_REFUSED, "the server's on_connect handler refused the connection", False)
        return 0

    def _refuse_peer(self):
        self.refuse_peer()

    cdef int wait_for_turn(self, object what) except -1:
        if self.waiting is None:
            self.waiting = collections.deque()
        self.waiting.append(what)
        return 0

    cdef int end_work(self, bint in_order) except -1:
        """The connection has ended, and whoever waited was woken: its handlers end, too."""
        self.holds = 0
        self.waiting = None
        return cancel_of_conn(self, in_order)

    cdef int learn(self, const en.nq_event *e) except -1:
        """Keeps why the connection ended."""
        self.keep_close(e)
        try:
            self.close_error = errors.from_close(self.why, self.code, self.reason,
                                                 (self.close_flags & en.NQ_EVF_REMOTE) != 0, self.opened)
        except MemoryError:
            self.close_error = NO_MEMORY_AT_THE_END
        if self.reconnects and not self.closing and not self.was_in_order():
            self.closed = False
            self.epoch.error = self.close_error
        return 0

    cdef int ev_close(self, const en.nq_event *e) except -1:
        self.learn(e)
        if self.client:
            self.end_opening()
            if not self.closed:
                return self.interrupted()
            self.give_up()
        return self.ended()

    cdef int give_up(self) except -1:
        """Lets go of the engine's object, which sends no more events to this one."""
        if load_loop(&self.loop.l) != NULL:
            en.nq_conn_set_user(self.loop.l, self.handle, NULL)
            en.nq_conn_free(self.loop.l, self.handle)
        self.loop.unlink(self)
        return 0

    cdef int interrupted(self) except -1:
        """The connection was lost and is to come back, or an attempt at that failed."""
        cdef bint was_open = self.opened
        self.opened = False
        self.epoch = Epoch.__new__(Epoch)
        if self.attempt is not None:
            self.attempted(self.close_error)
        if self.watched:
            self.changed()
        if not was_open:
            return 0
        if self.ping_waiters is not None:
            wake_waiters(self.loop, self.ping_waiters, None)
        self.end_work(False)
        self._interrupted()
        if self.announced:
            self.announced = False
            if life_is_logged():
                logs_module().connection_lost(self, self.close_error)
            self.run_handler(self.app.disconnect_fn, (self, self.close_error), TASK_DISCONNECT)
        return 0

    cdef int changed(self) except -1:
        self.loop.woken = True
        self._changed()
        return 0

    cdef int attempted(self, object error) except -1:
        cdef object attempt = self.attempt
        self.attempt = None
        self.loop.woken = True
        if not attempt.done():
            attempt.set_result(error)
        return 0

    cdef bint ended_in_order(self) noexcept:
        return self.closed and self.was_in_order() and (self.close_flags & en.NQ_EVF_REMOTE) != 0

    cdef bint was_in_order(self) noexcept:
        """Whether its end said that nothing went wrong: application code 0, or NO_ERROR of the peer's transport, which
        is what clients say that have no more to ask."""
        if self.code != 0:
            return False
        return self.why == en.NQ_WHY_APP or (self.why == en.NQ_WHY_TRANSPORT and self.opened
                                             and (self.close_flags & en.NQ_EVF_REMOTE) != 0)

    cdef bint is_up(self) noexcept:
        return self.opened and not self.closed and (self.epoch is None or self.epoch.error is None)

    cdef int detached(self) except -1:
        if self.close_error is None:
            self.close_error = errors.ConnectionLost("the event loop's engine was closed")
        self.ended()
        return 0

    cdef int ended(self) except -1:
        self.closed = True
        if self.attempt is not None:
            self.attempted(self.close_error)
        if self.watched:
            self.changed()
        if self.server is not None:
            self.server.live.discard(self)
            self.running.conns.discard(self)
            if not self.server.live and self.server.idle_waiters is not None:
                wake_waiters(self.loop, self.server.idle_waiters, None)
        for waiters in (self.open_waiters, self.close_waiters, self.ping_waiters):
            if waiters is not None:
                wake_waiters(self.loop, waiters, None)
        self.end_work(self.was_in_order())
        if self.announced:
            if life_is_logged():
                logs_module().connection_closed(self, self.error)
            self.run_handler(self.app.disconnect_fn, (self, self.error), TASK_DISCONNECT)
        self._released()
        return 0

    # ---- for subclasses ----

    def _released(self):
        """The connection needs its event loop's engine no more."""

    def _changed(self):
        """`_state` is another one. Only called once `_watch` was."""

    def _interrupted(self):
        """The connection was lost, and `_survive` was called before: bring it back by `_reconnect`, or end it by
        `_end`."""

    cdef int ev_datagram(self, const en.nq_event *e) except -1:
        if self.app.datagram_fn is None:
            return Core.ev_datagram(self, e)
        if self.holds and self.hold_datagram(e):
            return 0
        data = event_bytes(e)
        enter_context(self.loop, self)
        return self.take_datagram(data)

    cdef bint hold_datagram(self, const en.nq_event *e) except -1:
        """Whether it is not handled now: on_connect has not ended, or another coroutine may not be begun. Datagrams are
        dropped then (RFC 9221 5.2), but for some of those that come with the first packets."""
        if self.holds & HOLD_CONNECT and (self.waiting is None or len(self.waiting) < EARLY_MOST):
            self.wait_for_turn(event_bytes(e))
            return True
        if not (self.holds & (HOLD_CONNECT | HOLD_SHUTDOWN) or self.app.datagram_tasks):
            return False
        en.nq_loop_drop(self.loop.l, en.NQ_DROP_TASKS)
        return True

    cdef int take_datagram(self, bytes data) except -1:
        cdef PyObject *args[3]
        cdef PyObject *r
        cdef object handler = self.app.datagram_fn
        args[0] = NULL
        args[1] = <PyObject *>self
        args[2] = <PyObject *>data
        r = PyObject_Vectorcall(<PyObject *>handler, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
        if r == NULL:
            return handler_raised(self, handler, None)
        result = <object>r
        Py_XDECREF(r)
        if result is not None and self.run_task(handler, result, TASK_DATAGRAM):
            self.app.datagram_tasks = True
        return 0

    cdef int ev_pong(self, const en.nq_event *e) except -1:
        if self.ping_waiters is not None:
            wake_waiters(self.loop, self.ping_waiters, e.value / 1e9)
        return 0

    cdef StreamCore accept_stream(self, const en.nq_event *e):
        cdef HandlerEntry entry = <HandlerEntry>e.user
        cdef AioStream s = entry.cls.__new__(entry.cls)
        s.conn = self
        s.epoch = self.epoch
        s.app = self.app
        s.name = entry.name
        if isinstance(s, BaseRpc):
            (<BaseRpc>s).use(entry)
        else:
            s.handler = entry.handler
        return s

    cdef object lost(self):
        """A new exception that says why the connection is gone."""
        if self.close_error is not None:
            return errors.again(self.close_error)
        if self.closing and not self.closed:
            return errors.ConnectionLost("this side is closing the connection: it takes nothing new")
        if not self.opened and not self.closed:
            return errors.ConnectionLost("the connection is not established yet")
        return errors.ConnectionLost("the connection is closed", code=self.code, reason=self.reason,
                                     remote=(self.close_flags & en.NQ_EVF_REMOTE) != 0)

    cdef int look_ahead(self) except -1:
        """Learns of the end that is in events of this turn which are not dispatched yet."""
        cdef const en.nq_event *e
        cdef int i
        if self.loop.l == NULL:
            return 0
        for i in range(self.loop.polled):
            e = en.nq_loop_events(self.loop.l) + i
            if e.kind == en.NQ_EV_CONN_CLOSE and e.handle == self.handle:
                self.learn(e)
        return 0

    cdef int refused(self, int rc) except -1:
        """The engine said no: raises the end of the connection when that is the reason."""
        if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:
            self.look_ahead()
            if not self.is_up():
                raise self.lost()
        return 0

    # ---- opening ----

    def _connect(self, Loop loop, str host, int port, str server_name, Tls tls, AppCore app, EngineLimits limits,
                 bint quiet, uint32_t version, BaseServer server, context):
        """Starts to connect to a numeric address. quiet: on_connect waits for _announce(). server: None, or the one
        whose socket is used and whose end ends the connection. context: what that of its handlers is a copy of."""
        cdef en.nq_addr a
        to_addr(&a, host, port)
        self.app = app
        self.running = app.running if server is None else server.app.running
        self.origin = context
        self.context = PyContext_Copy(context)
        self.quiet = quiet
        self.epoch = Epoch.__new__(Epoch)
        self.server = server
        self.connect(loop, &a, server_name, tls, app.hdmap, &limits.values, 0 if server is None else server.id,
                     version, True)

    def _announce(self):
        self.quiet = False
        self.announce()

    def _lost(self):
        return self.lost()

    def _survive(self):
        """From now on the loss of the connection is not its end: `_interrupted` is called."""
        self.reconnects = True

    def _watch(self):
        self.watched = True

    def _reconnect(self, str host, int port):
        """After a loss: starts to connect to a numeric address. A future of None, or of why it failed."""
        cdef en.nq_addr a
        cdef int rc
        to_addr(&a, host, port)
        if self.loop.aloop is None:
            raise self.lost()
        attempt = self.loop.aloop.create_future()
        rc = en.nq_conn_reconnect(own(self.loop), self.handle, 0, &a)
        if rc < 0:
            engine_error(self.loop, rc, "reconnecting")
        self.attempt = attempt
        if self.watched:
            self.changed()
        return self.attempt

    def _stop_attempt(self):
        """Ends the attempt that _reconnect has begun: its future has a failure soon."""
        if self.attempt is not None and self.loop.l != NULL:
            en.nq_conn_close(own(self.loop), self.handle, en.NQ_CODE_INTERNAL, b"", 0, True)

    def _end(self, error):
        """After a loss: the connection is not to come back; error says why."""
        if not self.closed:
            self.close_error = error
            self.why = 0
            own(self.loop)
            self.give_up()
            self.ended()

    def _open_wait(self):
        """None when the handshake is completed, else a future. Raises why it failed."""
        if self.closed or self.closing:
            raise self.lost()
        if self.is_up():
            return None
        if self.open_waiters is None:
            self.open_waiters = []
        return new_waiter(self.loop, self.open_waiters)

    def _refusal(self):
        """Why the connection ended, for a task that waits for the handshake and did not see it completed before. None
        when the engine has not ended it."""
        if not self.closed or self.why == 0:
            return None
        return errors.from_close(self.why, self.code, self.reason, (self.close_flags & en.NQ_EVF_REMOTE) != 0, False)

    def _close_wait(self):
        if self.closed:
            return None
        if self.close_waiters is None:
            self.close_waiters = []
        return new_waiter(self.loop, self.close_waiters)

    def _ping(self):
        """A future of the round trip in seconds (None when the connection ended)."""
        if self.closing or not self.is_up():
            raise self.lost()
        cdef en.nq_loop *l = own(self.loop)
        cdef int rc = en.nq_conn_ping(l, self.handle)
        if rc < 0:
            self.refused(rc)
            engine_error(self.loop, rc, "sending a PING")
        if self.ping_waiters is None:
            self.ping_waiters = []
        return new_waiter(self.loop, self.ping_waiters)

    def _open_stream(self, cls, int kind, name, bint uni, double call_timeout):
        """A new outgoing stream object of class cls; kind: 0 raw, 1 record, 2 RPC."""
        cdef AioStream s = cls.__new__(cls)
        cdef HandlerEntry entry
        if self.closing or not self.is_up():
            raise self.lost()
        if not isinstance(name, str) and (name is not None or kind != 0):
            raise TypeError(f"a stream name is a str, not {type(name).__name__}")
        s.app = self.app
        s.name = name
        if isinstance(s, BaseRpc):
            (<BaseRpc>s).call_timeout = call_timeout
            entry = self.app.rpcs.get(name)
            if entry is not None:
                (<BaseRpc>s).use(entry)
        s.epoch = self.epoch
        try:
            s.open_on(self, en.NQ_KIND_RAW if kind == 0 else en.NQ_KIND_RECORD if kind == 1 else en.NQ_KIND_RPC,
                      None if name is None else name.encode(), uni, to_ns(call_timeout, "call_timeout"))
        except errors.StreamClosed:
            self.refused(en.NQ_ERR_STATE)
            raise
        if name is not None:
            self.used_names = True
        return s

    # ---- doing ----

    def send_datagram(self, data):
        """Sends an unreliable datagram (RFC 9221), any contiguous bytes-like object; never waits.

        When Limits.datagram_queue are waiting, the oldest is dropped. Raises MessageTooBig above
        `max_datagram_size`, ConnectionLost.
        """
        cdef View v
        cdef int rc
        if self.closing or not self.is_up():
            raise self.lost()
        view_get(&v, data)
        try:
            rc = en.nq_conn_send_datagram(own(self.loop), self.handle, v.p, v.n)
        finally:
            view_done(&v)
        if rc < 0:
            self.refused(rc)
            if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:  # it ends in this tick
                raise self.lost()
            if rc == en.NQ_ERR_TOOBIG:
                most = self.max_datagram_size
                raise errors.MessageTooBig(f"a datagram of {v.n} bytes: at most {most} fit now (max_datagram_size)"
                                           if most else "the peer takes no datagrams (its max_datagram_size is 0)")
            engine_error(self.loop, rc, "sending a datagram")

    def _close(self, code, str reason, bint now):
        cdef bytes text = reason.encode()
        cdef uint64_t number = to_code(code)
        if len(text) > 1024:
            raise ValueError("the reason of a close is at most 1024 bytes long")
        if self.closed:
            return
        self.closing = True
        if self.watched:
            self.changed()
        if self.closed:  # code of the user's has closed the loop
            return
        if self.reconnects and not self.opened:  # no connection now that could be closed in order
            self.keep_own_close(number, reason)
            self.give_up()
            self.ended()
            return
        en.nq_conn_close(own(self.loop), self.handle, number, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), now)

    cdef int keep_own_close(self, uint64_t code, str reason) except -1:
        own(self.loop)
        self.why = en.NQ_WHY_APP
        self.code = code
        self.reason = reason
        self.close_flags = en.NQ_EVF_LOCAL
        self.close_error = errors.from_close(self.why, code, reason, False, True)
        return 0

    def flush(self):
        """Writes what is queued into packets now, not at the end of the event loop's turn."""
        if not self.closed:
            en.nq_conn_flush(own(self.loop), self.handle)

    def _failed(self, exc, where):
        self.handler_failed(exc, where, None)

    def _migrate(self):
        """Goes on from a new local socket (RFC 9000 9.2). False: the handshake is not confirmed yet, or the peer
        forbids it. Raises ConnectionLost, OSError."""
        cdef int rc
        if self.closing or not self.is_up():
            raise self.lost()
        rc = en.nq_conn_migrate(own(self.loop), self.handle)
        if rc < 0:
            self.refused(rc)
            if rc == en.NQ_ERR_STATE:
                return False
            engine_error(self.loop, rc, "moving to another local address")
        return True

    # ---- knowing ----

    @property
    def data(self):
        """The program's own: any object, None until it is set. It stays with the connection, also over its loss and
        return (`ClientConfig.reconnect`), and is freed with this object."""
        return None if self.attached is None else self.attached.value

    @data.setter
    def data(self, value):
        if self.attached is None:
            self.attached = Attached.__new__(Attached)
        self.attached.value = value

    def _info(self):
        """nq_conn_info as a dict; None when the connection is gone."""
        return conn_info(self)

    def loop_stats(self):
        """Counters of the event loop's engine, as a dict: packets, system calls, what is alive (Loop.stats)."""
        return self.loop.stats()

    @property
    def peer_certificates(self):
        """The peer's certificate chain as DER bytes, leaf first; empty when it showed none."""
        return peer_chain(self)

    @property
    def _peer_verified(self):
        """Whether the certificate that the peer showed, if any, was verified."""
        return self.tls is None or not self.tls.insecure

    @property
    def max_datagram_size(self):
        """Bytes that one datagram may carry now; 0 when the peer takes none."""
        return 0 if self.loop.l == NULL else en.nq_conn_max_datagram(peek(self.loop), self.handle)

    @property
    def is_client(self):
        """True on the side that connected."""
        return self.client

    @property
    def is_open(self):
        """True from the completed handshake to the end, or to its loss when the connection is one that comes back."""
        return self.is_up()

    @property
    def is_closed(self):
        """True once the connection has ended."""
        return self.closed

    @property
    def error(self):
        """Why the connection ended, or was lost last while it is not back: an exception. None while it is open and
        after a close in order (application code 0, or NO_ERROR of the peer's transport)."""
        if self.is_up() or self.was_in_order():
            return None
        return self.close_error

    @property
    def _state(self):
        if self.closed:
            return "closed"
        if self.closing:
            return "closing"
        if self.is_up():
            return "open"
        return "connecting" if self.attempt is not None or not self.reconnects else "waiting"

    @property
    def _reconnects(self):
        return self.reconnects

    @property
    def _call_timeout(self):
        return self.app.call_timeout

    @property
    def _closing(self):
        return self.closing

    @property
    def _delivered(self):
        return self.closed and (self.close_flags & en.NQ_EVF_DELIVERED) != 0

    @property
    def _named(self):
        return self.app.named or self.used_names
