# tasks.pyx: coroutine handlers that run: how many may, who owns them, and when they are cancelled.
# needs: core/callbacks core/errors core/loop core/threads
# needs: aio/conn aio/rpc aio/stream

cdef enum:
    SHARE = 8        # handlers of a connection, below which it is not held because its server has many
    REPORTS_MOST = 1024  # coroutines that are told of failures, at once
    EARLY_MOST = 256  # datagrams that are kept until on_connect has ended

# Seconds that handlers have, other than those of requests, after their peer has closed the connection in order: what it
# sent before is still handled.
cdef double LAST_TIME = 1.0


cdef object coroutine_of(object result):
    """What an event loop can make a task of, when a handler returned something that is to be awaited; else None."""
    if is_coroutine(result):
        return result
    if not hasattr(type(result), "__await__"):
        return None
    from naquid.handlers import awaited  # a coroutine of Cython's would load more than all of this
    return awaited(result)


cdef object current_task(Loop loop):
    import asyncio
    return None if loop.aloop is None else asyncio.current_task(loop.aloop)


cdef class HandlerTask:
    """Called when its task has ended."""

    def __call__(self, task):
        cdef BaseConnection conn = self.conn
        cdef RunningTasks running = conn.running
        conn.tasks.pop(task, None)
        running.tasks.discard(self)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        try:
            self.ended()
        finally:
            if conn.holds & HOLD_TASKS and len(conn.tasks) <= conn.app.task_limit // 2:
                release_conn(conn, HOLD_TASKS)
            if conn.holds & HOLD_SERVER and len(conn.tasks) <= SHARE // 2:
                release_conn(conn, HOLD_SERVER)
            if running.full and len(running.tasks) <= running.limit // 2:
                running.full = False
                for other in list(running.conns):
                    release_conn(<BaseConnection>other, HOLD_SERVER)

    cdef int ended(self) except -1:
        cdef BaseRpc rpc
        cdef bint cancelled = self.task.cancelled()
        if cancelled:  # perhaps before its first step, so that nothing of it has run
            self.work.close()
            if self.work is not self.result and hasattr(self.result, "cancel"):
                self.result.cancel()
        if self.kind == TASK_REQUEST:
            rpc = <BaseRpc>self.stream
            if rpc.running.get(self.msgid) is self:
                if self.deferred is not None and not cancelled:
                    del rpc.running[self.msgid]
                else:
                    rpc._answer(self.msgid, R_USER, b"")
            self.deferred = None
        elif self.kind == TASK_STREAM:
            self.stream.serving = None
            if cancelled and not self.stream.closed and load_loop(&self.stream.loop.l) != NULL:
                self.stream.reset(en.NQ_CODE_INTERNAL)
                self.stream.close()
        elif self.kind == TASK_CONNECT:
            if cancelled and not self.conn.closed and load_loop(&self.conn.loop.l) != NULL:
                self.conn.refuse_peer()
            release_conn(self.conn, HOLD_CONNECT)
        return 0

    def cut(self):
        """The end of its stream or connection was told, to whoever waited for it: a task that was not told ends now."""
        cdef AioStream s = self.stream
        if self.task.done():
            return
        # What came in one batch with the stream itself was there before the handler's first step: it may wait since.
        if self.kind == TASK_STREAM and (s.told or s.read_end or (not s.closed and s.attended())):
            return
        self.task.cancel()


cdef class RunningTasks:
    def __cinit__(self):
        self.tasks = set()
        self.conns = set()
        self.reports = set()


# ---- beginning ----

cdef HandlerTask new_task(BaseConnection conn, AioStream stream, object result, object work, int kind):
    cdef HandlerTask h = HandlerTask.__new__(HandlerTask)
    h.conn = conn
    h.stream = stream
    h.result = result
    h.work = work
    h.kind = kind
    return h


cdef int start_task(HandlerTask h, object coro) except -1:
    """Begins it; coro awaits h.work. The context of the connection is entered."""
    cdef BaseConnection conn = h.conn
    cdef Loop loop = conn.loop
    cdef RunningTasks running = conn.running
    if loop.aloop is None:
        coro.close()
        h.work.close()
        raise RuntimeError("a coroutine handler needs an asyncio event loop")
    h.task = loop.aloop.create_task(coro)
    conn.tasks[h.task] = h
    running.tasks.add(h)
    h.task.add_done_callback(h, context=loop.own_context)
    loop.woken = True
    if h.kind == TASK_CONNECT:
        hold_conn(conn, HOLD_CONNECT)
    if len(conn.tasks) >= conn.app.task_limit:
        hold_conn(conn, HOLD_TASKS)
    if running.limit and not running.full and len(running.tasks) >= running.limit:
        running.full = True
        for other in running.conns:
            if len((<BaseConnection>other).tasks) >= SHARE:
                hold_conn(<BaseConnection>other, HOLD_SERVER)
    elif running.full and len(conn.tasks) >= SHARE:
        hold_conn(conn, HOLD_SERVER)
    return 0


cdef int start_report(Loop loop, RunningTasks running, object coro) except -1:
    """Runs a coroutine that is told of a failure. Of a flood of them the rest is dropped: they are in the log."""
    if loop.aloop is None or len(running.reports) >= REPORTS_MOST:
        coro.close()
        return 0
    task = loop.aloop.create_task(coro)
    running.reports.add(task)
    task.add_done_callback(running.reports.discard)
    loop.woken = True
    return 0


# ---- waiting ----

cdef int hold_conn(BaseConnection conn, int why) except -1:
    """From now on its requests, notifications and new streams wait. Replies to its own calls do not."""
    cdef bint was = conn.holds != 0
    if conn.closed:
        return 0
    conn.holds |= why
    if not was and conn.loop.l != NULL:
        en.nq_conn_hold(conn.loop.l, conn.handle, en.NQ_HOLD_TASKS, 1)
    return 0


cdef int release_conn(BaseConnection conn, int why) except -1:
    if not conn.holds & why:
        return 0
    conn.holds &= ~why
    if conn.holds == 0 and not conn.closed and load_loop(&conn.loop.l) != NULL:
        own(conn.loop)
        if conn.waiting:
            begin_waiting(conn)
        if conn.holds == 0 and not conn.closed and conn.loop.l != NULL:
            en.nq_conn_hold(conn.loop.l, conn.handle, en.NQ_HOLD_TASKS, 0)
    return 0


cdef int begin_waiting(BaseConnection conn) except -1:
    """The streams and datagrams that came while the connection was held, and after what made it so in the same tick."""
    cdef AioStream s
    cdef object before = conn.loop.push_context(conn.context)
    try:
        while conn.waiting and conn.holds == 0 and not conn.closed:
            waiting = conn.waiting.popleft()
            if not isinstance(waiting, AioStream):
                conn.take_datagram(waiting)
                continue
            s = <AioStream>waiting
            try:
                s.begin()
            except BaseException as exc:
                s.handler_failed(exc, s.handler, None)
                s.reset(en.NQ_CODE_INTERNAL)
                s.close()
    finally:
        conn.loop.pop_context(before)
    return 0


# ---- the end ----

cdef int know(AioStream s) except -1:
    """Its handler is waiting for something that has happened, such as the end of the stream: it knows."""
    waiter = getattr(s.serving.task, "_fut_waiter", None)
    if waiter is not None and waiter.done():
        s.told = True
    return 0


cdef int cut_handler(AioStream s) except -1:
    """The stream has ended other than in order. Its handler learns that from what it waits for, and ends as it likes;
    one that waits for anything else is cancelled, once all that were told have gone on."""
    cdef HandlerTask h = s.serving
    if h is None:
        return 0
    know(s)
    if s.loop.aloop is None:
        h.cut()
    else:
        s.loop.aloop.call_soon(h.cut, context=s.loop.own_context)
    return 0


cdef int cancel_of_stream(AioStream s, bint requests_only) except -1:
    """An RPC stream has ended: nobody can have the replies of these tasks."""
    cdef HandlerTask h
    cdef BaseConnection conn = <BaseConnection>s.conn
    cdef object current
    if not conn.tasks:
        return 0
    current = current_task(s.loop)
    for h in list(conn.tasks.values()):
        if h.stream is s and h.task is not current:
            if h.kind == TASK_REQUEST:
                if not (<BaseRpc>s).keeps_on:
                    h.unwanted = True
                    h.task.cancel()
            elif not requests_only:
                h.task.cancel()
    return 0


cdef int cancel_of_conn(BaseConnection conn, bint in_order) except -1:
    """The connection has ended; in_order: the peer, or this side, has closed it with code 0."""
    cdef HandlerTask h
    cdef object aloop = conn.loop.aloop
    for h in list(conn.tasks.values()):
        if h.kind == TASK_DISCONNECT:
            continue
        if h.kind == TASK_REQUEST:
            if not (<BaseRpc>h.stream).keeps_on:
                h.unwanted = True
                h.task.cancel()
        elif in_order and h.kind != TASK_CONNECT and aloop is not None:
            if h.kind == TASK_STREAM:
                know(h.stream)
            h.timer = aloop.call_later(LAST_TIME, h.cut, context=conn.loop.own_context)
        elif h.kind == TASK_STREAM:
            cut_handler(h.stream)
        else:
            h.task.cancel()
    return 0


cdef int shut_down(RunningTasks running) except -1:
    """Nothing new is begun from now on."""
    running.shutting_down = True
    for conn in running.conns:
        hold_conn(<BaseConnection>conn, HOLD_SHUTDOWN)
    return 0
