# server.pyx: listening addresses of the asyncio facade. The coroutines are in naquid/server.py.
# needs: core/address core/buffers core/callbacks core/conn core/limits core/loop core/threads core/tls
# needs: aio/conn aio/failures aio/handlers aio/stream aio/tasks

@cython.no_gc_clear
cdef class BaseServer(EndpointCore):
    """A listening UDP address; naquid.Server adds the coroutines."""

    def __cinit__(self):
        self.live = set()

    def _listen(self, Loop loop, str host, int port, Tls tls, AppCore app, EngineLimits limits, conn_class,
                bint always_retry, bytes secret, context, int socket=-1):
        cdef en.nq_addr a
        to_addr(&a, host, port)
        self.app = app
        self.context = context
        self.conn_class = conn_class
        self.open_at(loop, &a, tls, app.hdmap, &limits.values, False, secret, always_retry, socket)

    cdef ConnCore accept_conn(self, const en.nq_event *e):
        cdef BaseConnection c
        if self.closed:
            return None
        trouble = trouble_news(self.tls)
        if trouble is not None:
            import logging
            logging.getLogger("naquid").warning("the certificate files have changed and cannot be used: %s; new "
                                                "clients see what was read before", trouble)
        c = self.conn_class.__new__(self.conn_class)
        c.app = self.app.chosen(self.loop, e.handle)
        c.running = c.app.running
        c.server = self
        c.origin = self.context
        c.context = PyContext_Copy(self.context)
        return c

    cdef int ev_handshake_failed(self, const en.nq_event *e) except -1:
        cdef en.nq_addr a
        cdef bytes data
        if self.closed or (self.app.handshake_fn is None and not life_is_logged()):
            return 0
        memcpy(&a, e.data, sizeof(a))
        data = event_bytes(e)
        error = errors.from_failed_accept(e.msgid, e.code, data[sizeof(a):].decode("utf-8", "replace"),
                                          (e.flags & en.NQ_EVF_REMOTE) != 0)
        coro = logs_module().handshake_failed(failures_of(self.loop), self.app.handshake_fn, peer_addr(&a), error)
        if coro is not None:
            start_report(self.loop, self.app.running, coro)
        return 0

    def _refuse(self):
        """New clients are refused from now on."""
        if not self.closed and self.loop.l != NULL:
            en.nq_endpoint_refuse(own(self.loop), self.id)

    def _broken(self):
        """The errno of what is wrong with the socket, 0 when nothing is."""
        return 0 if self.closed or self.loop.l == NULL else en.nq_endpoint_error(peek(self.loop), self.id)

    def _end(self):
        """Closes the socket."""
        if not self.closed:
            self.closed = True
            if self.loop.l != NULL:
                en.nq_endpoint_close(own(self.loop), self.id)

    cdef int detached(self) except -1:
        self.closed = True
        if self.idle_waiters is not None:
            wake_waiters(self.loop, self.idle_waiters, None)
        return 0

    def _idle_wait(self):
        """None when no connection is open, else a future."""
        if not self.live or self.loop.l == NULL:
            return None
        if self.idle_waiters is None:
            self.idle_waiters = []
        return new_waiter(self.loop, self.idle_waiters)

    @property
    def _tasks(self):
        """The tasks of its coroutine handlers."""
        return {(<HandlerTask>h).task for h in self.app.running.tasks} | self.app.running.reports

    @property
    def _requests(self):
        """Those of them that are to answer a request."""
        return {(<HandlerTask>h).task for h in self.app.running.tasks if (<HandlerTask>h).kind == TASK_REQUEST}

    def _begin_nothing(self):
        shut_down(self.app.running)

    @property
    def address(self):
        """(host, port) it is bound to."""
        cdef en.nq_addr a
        if self.loop.l == NULL or en.nq_endpoint_address(peek(self.loop), self.id, &a) != 0:
            return None
        return from_addr(&a)
