# stream.pyx: streams of the asyncio facade: record streams and raw streams. The coroutines are in naquid/stream.py
# and naquid/raw_stream.py; here is what they wait for.
# needs: core/arguments core/buffers core/conn core/core core/dispatch core/errors core/loop core/native core/rpc
# needs: core/stream core/threads
# needs: aio/conn aio/failures aio/handlers aio/tasks

cdef enum:
    PAUSE_BYTES = 256 * 1024   # received and not read yet: above it the peer is stopped by flow control,
    RESUME_BYTES = 128 * 1024  # at it the peer may go on
    PAUSE_RECORDS = 1024
    RESUME_RECORDS = 512


cdef object new_waiter(Loop loop, list waiters):
    if loop.aloop is None:
        raise errors.StreamClosed("the loop is closed")
    fut = loop.aloop.create_future()
    if loop.aloop is None:  # closed by what ran meanwhile: who waited then was woken
        raise errors.StreamClosed("the loop is closed")
    waiters.append(fut)
    return fut


cdef int wake_waiters(Loop loop, list waiters, object value) except -1:
    cdef object failure = None
    for fut in waiters:
        if not fut.done():
            try:
                fut.set_result(value)
            except MemoryError as exc:  # the others are woken all the same
                failure = exc
    waiters.clear()
    loop.woken = True
    if failure is not None:
        raise failure
    return 0


@cython.no_gc_clear
cdef class AioStream(RpcCore):
    def __cinit__(self):
        self.reset_code = -1
        self.stop_code = -1
        self.last_id = -1

    # ---- events ----

    cdef int ev_open(self, const en.nq_event *e) except -1:
        cdef BaseConnection conn
        if self.open_waiters is not None:
            wake_waiters(self.loop, self.open_waiters, None)
        if not self.outgoing and self.handler is not None:
            conn = <BaseConnection>self.conn
            if conn.holds or conn.waiting:
                conn.wait_for_turn(self)
            else:
                enter_context(self.loop, conn)
                self.begin()
        return 0

    cdef int begin(self) except -1:
        """Calls the handler of a stream that the peer opened."""
        cdef HandlerTask h
        try:
            result = self.handler(self)
        except BaseException as exc:
            self.handler_failed(exc, self.handler, None)
            if self.linked and self.loop.l != NULL:  # code of the user's may have closed the loop
                refuse_stream(self.loop, self, self.handle, en.NQ_CODE_INTERNAL)
            return 0
        if result is not None:
            work = coroutine_of(result)
            if work is not None:
                h = new_task(<BaseConnection>self.conn, self, result, work, TASK_STREAM)
                self.serving = h
                start_task(h, self._serve(work))
        return 0

    cdef int handler_failed(self, object exc, object where, object type) except -1:
        return report_failure(self.loop, self.app, self.conn, self, type, exc, where)

    cdef int ev_fin(self, const en.nq_event *e) except -1:
        self.fin = True
        if self.read_waiters is not None:
            wake_waiters(self.loop, self.read_waiters, None)
        return 0

    cdef int ev_reset(self, const en.nq_event *e) except -1:
        self.reset_code = <int64_t>e.code
        self.given_up = (e.flags & en.NQ_EVF_LOCAL) != 0
        cdef bint attended = self.attended()
        if self.read_waiters is not None:
            wake_waiters(self.loop, self.read_waiters, None)
        return 0 if attended else cut_handler(self)

    cdef bint ev_undelivered(self, const en.nq_event *e) except -1:
        if RpcCore.ev_undelivered(self, e):
            return True
        self.reset_code = en.NQ_CODE_OVERLOAD
        self.given_up = True
        if self.read_waiters is not None:
            wake_waiters(self.loop, self.read_waiters, None)
        return False

    cdef int ev_stop(self, const en.nq_event *e) except -1:
        self.stop_code = <int64_t>e.code
        self.over_high = False
        if self.write_waiters is not None:
            wake_waiters(self.loop, self.write_waiters, None)
        return 0

    cdef int ev_writable(self, const en.nq_event *e) except -1:
        self.over_high = False
        if self.write_waiters is not None:
            wake_waiters(self.loop, self.write_waiters, None)
        return 0

    cdef int ev_close(self, const en.nq_event *e) except -1:
        self.closed = True
        self.last_id = en.nq_stream_id(self.loop.l, self.handle)
        self.close_code = <int64_t>e.code
        self.told = self.told or bool(self.close_waiters)
        self.wake_all()
        if self.serving is not None:
            know(self)
            if self.close_code != 0 or self.reset_code >= 0:
                cut_handler(self)
        return 0

    cdef int detached(self) except -1:
        self.closed = True
        return self.wake_all()

    cdef int wake_all(self) except -1:
        for waiters in (self.open_waiters, self.read_waiters, self.write_waiters, self.close_waiters):
            if waiters is not None:
                wake_waiters(self.loop, waiters, None)
        return 0

    # ---- sending ----

    cdef int queue(self, object data) except -1:
        cdef View v
        cdef int rc
        view_get(&v, data)
        try:
            rc = send_view(own(self.loop), self.handle, data, &v)
            if rc > 0:
                self.over_high = True
        finally:
            view_done(&v)
        if rc < 0:
            raise self.send_failure(rc, "sending on a stream")
        return 0

    cdef int look_ahead(self) except -1:
        """The engine refuses something: the reason may be in events of this turn that are not dispatched yet."""
        cdef const en.nq_event *e
        cdef int i
        if self.loop.l == NULL:
            return 0
        for i in range(self.loop.polled):
            e = en.nq_loop_events(self.loop.l) + i
            if e.handle == self.handle:
                if e.kind == en.NQ_EV_STREAM_RESET:
                    self.reset_code = <int64_t>e.code
                    self.given_up = (e.flags & en.NQ_EVF_LOCAL) != 0
                elif e.kind == en.NQ_EV_STREAM_STOP:
                    self.stop_code = <int64_t>e.code
                elif e.kind == en.NQ_EV_STREAM_CLOSE:
                    self.close_code = <int64_t>e.code
        if not self.is_lost():
            (<BaseConnection>self.conn).look_ahead()
        return 0

    def use_native(self, capsule):
        """Gives the events of this stream to the C functions of a PyCapsule (see naquid_native.h), or with None back to
        Python. Replies to calls that Python made still come to Python. Raises TypeError, ConfigError, StreamClosed."""
        cdef const en.naquid_handler *table = NULL
        if capsule is not None:
            table = native_table(capsule)
        if en.nq_stream_set_native(own(self.loop), self.handle, table) < 0:
            raise errors.StreamClosed("the stream has ended: it has no events any more")
        self.native = capsule

    def native_address(self):
        """(loop, stream): what the functions of naquid_native.h take, as integers. Good while the stream is, and only
        in the thread that runs its loop."""
        return <size_t>peek(self.loop), self.handle

    cdef bint is_lost(self) noexcept:
        """Whether the connection is gone, or is not the one any more that this stream was opened on."""
        return self.conn.closed or (self.epoch is not None and self.epoch.error is not None)

    cdef object lost(self):
        if self.epoch is not None and self.epoch.error is not None:
            return errors.again(self.epoch.error)
        return (<BaseConnection>self.conn).lost()

    cdef object refusal(self):
        cdef int64_t code = en.NQ_STREAM_UNKNOWN_PROTOCOL
        if self.outgoing and not self.heard and not self.given_up and code in (self.reset_code, self.stop_code,
                                                                               self.close_code):
            return errors.StreamRefused(self.name)
        return None

    cdef object send_failure(self, int rc, str what):
        """The exception for a send that was not accepted."""
        self.look_ahead()
        if rc == en.NQ_ERR_STALE or rc == en.NQ_ERR_STATE:
            self.told = True
            refusal = None if self.closed_locally else self.refusal()
            if refusal is not None:
                return refusal
            if self.stop_code >= 0 and not self.closed_locally:  # what the peer said first, and says more
                return errors.StreamReset(self.stop_code, "the peer stopped reading this stream")
            if self.is_lost() or (<BaseConnection>self.conn).closing:
                return self.lost()
            if self.given_up and not self.finished:
                return errors.StreamReset(self.reset_code, errors.given_up(self.reset_code))
            return errors.StreamClosed(f"{what}: this side has closed it already" if self.finished
                                       else f"{what}: it is closed, or was opened by the peer to send only")
        try:
            engine_error(self.loop, rc, what)
        except Exception as exc:
            return exc

    cdef object read_failure(self):
        """Why nothing more can be read: an exception, or None at the end of the stream, or of a connection that the
        peer has closed in order, which ends what it carries as a TCP connection does."""
        self.told = True
        if self.given_up:
            return errors.StreamReset(self.reset_code, errors.given_up(self.reset_code))
        if self.fin:
            self.told = False
            self.read_end = True
            return None
        if self.read_closed and not self.is_lost():
            return errors.StreamClosed("this side has closed the stream, or stopped reading it")
        refusal = self.refusal()
        if refusal is not None:
            return refusal
        if self.reset_code >= 0:
            return errors.StreamReset(self.reset_code, "the peer reset this stream")
        if self.is_lost():
            return None if (<BaseConnection>self.conn).ended_in_order() else self.lost()
        if self.close_code != 0:
            return errors.StreamReset(self.close_code, "the peer reset this stream")
        return errors.StreamClosed("this side has closed the stream")

    cdef int pause(self) except -1:
        if not self.paused and not self.closed and not self.fin:
            self.paused = True
            en.nq_stream_pause(self.loop.l, self.handle)
        return 0

    cdef int resume(self) except -1:
        self.paused = False
        if not self.closed and self.loop.l != NULL:
            en.nq_stream_resume(own(self.loop), self.handle)
        return 0

    cdef int stop_reading(self) except -1:
        """Wakes the tasks that wait for more, as none will come."""
        self.read_closed = self.read_closed or not (self.fin or self.reset_code >= 0)
        if self.read_waiters is not None:
            wake_waiters(self.loop, self.read_waiters, None)
        return 0

    # ---- what the coroutines use ----

    def _open_wait(self):
        """None when the stream has its ID, else a future to await before asking again. Raises when it never will."""
        if self.closed:
            refusal = self.refusal()
            if refusal is not None:
                raise refusal
            if self.is_lost():
                raise self.lost()
            raise errors.StreamClosed("the stream was closed before it was opened")
        if self.opened or en.nq_stream_id(peek(self.loop), self.handle) >= 0:
            return None
        if self.open_waiters is None:
            self.open_waiters = []
        return new_waiter(self.loop, self.open_waiters)

    def _drain_wait(self):
        """None when the stream is writable, else a future. Raises when sending is over."""
        if self.closed or self.stop_code >= 0:
            if self.closed and self.finished and self.stop_code < 0 and not self.is_lost():
                return None
            raise self.send_failure(en.NQ_ERR_STALE, "draining a stream")
        if not self.over_high and en.nq_stream_writable(own(self.loop), self.handle) <= 0:
            return None
        self.over_high = True
        if self.write_waiters is None:
            self.write_waiters = []
        return new_waiter(self.loop, self.write_waiters)

    def _read_wait(self):
        """None at the end of the stream, else a future. Raises when it ended in another way."""
        if self.uni and self.outgoing:
            raise errors.StreamClosed("nothing can be read: this side opened the stream to send only")
        if self.fin or self.closed or self.read_closed or self.reset_code >= 0:
            failure = self.read_failure()
            if failure is not None:
                raise failure
            return None
        peek(self.loop)
        if self.read_waiters is None:
            self.read_waiters = []
        return new_waiter(self.loop, self.read_waiters)

    def _close_wait(self):
        if self.closed:
            return None
        if self.close_waiters is None:
            self.close_waiters = []
        return new_waiter(self.loop, self.close_waiters)

    def _failed(self, exc, where, type=None):
        self.handler_failed(exc, where, type)

    def _finish(self):
        """FIN after what is queued; once."""
        if not self.closed and not self.finished and self.stop_code < 0:
            self.finished = True
            en.nq_stream_finish(own(self.loop), self.handle)

    def close(self):
        """Closes both directions: what was sent is delivered, then FIN; what still comes is refused (STOP_SENDING).

        Returns at once; `wait_closed()` waits. Closing twice does nothing.
        """
        if not self.closed:
            self.closed_locally = self.closed_locally or not (self.fin or self.reset_code >= 0 or self.stop_code >= 0)
            self.finished = True
            en.nq_stream_close(own(self.loop), self.handle)
            self.stop_reading()

    def reset(self, code=0):
        """Ends the sending side at once (RESET_STREAM, RFC 9000 3.1) with an application error code of 62 bits.

        What was not delivered yet may be lost. Does nothing on a closed stream.
        """
        cdef uint64_t number = to_code(code)
        if not self.closed:
            self.finished = True
            self.over_high = False
            en.nq_stream_reset(own(self.loop), self.handle, number)
            if self.write_waiters is not None:
                wake_waiters(self.loop, self.write_waiters, None)
            self.end_tasks()

    cdef bint attended(self) except -1:
        """Whether somebody waits for something of the stream. A reset of one direction is told to who uses that; who
        uses the other, or waits for the end of both, goes on."""
        return bool(self.read_waiters) or bool(self.write_waiters) or bool(self.close_waiters)

    cdef int end_tasks(self) except -1:
        if self.serving is not None and not self.attended() and self.serving.task is not current_task(self.loop):
            cut_handler(self)
        return 0

    def stop_sending(self, code=0):
        """Asks the peer to send no more (STOP_SENDING, RFC 9000 3.5); what still comes is dropped."""
        cdef uint64_t number = to_code(code)
        if not self.closed:
            en.nq_stream_stop(own(self.loop), self.handle, number)
            self.stop_reading()

    @property
    def connection(self):
        """The connection of the stream."""
        return self.conn

    @property
    def data(self):
        """The program's own: any object, None until it is set. It is freed with this object."""
        return None if self.attached is None else self.attached.value

    @data.setter
    def data(self, value):
        if self.attached is None:
            self.attached = Attached.__new__(Attached)
        self.attached.value = value

    @property
    def is_closed(self):
        """True when both directions have ended."""
        return self.closed

    @property
    def is_outgoing(self):
        """True when this side opened the stream."""
        return self.outgoing

    @property
    def stream_id(self):
        """The QUIC stream ID (RFC 9000 2.1), for the whole life of the object; -1 while the stream waits for the peer's
        limit."""
        return self.last_id if self.closed or self.loop.l == NULL else en.nq_stream_id(peek(self.loop), self.handle)

    @property
    def queued(self):
        """Bytes given to this stream that the peer has not acknowledged yet."""
        return 0 if self.closed or self.loop.l == NULL else en.nq_stream_queued(peek(self.loop), self.handle)

    @property
    def is_writable(self):
        """False while nothing more should be sent: the send queue was above `Limits.send_high` and is not down to
        `send_low` yet, or that of the connection above half of `max_send_queue` and not down to a quarter; or sending
        is over. `drain()` waits for True."""
        if self.closed or self.finished or self.stop_code >= 0 or self.loop.l == NULL:
            return False
        return not self.over_high and en.nq_stream_writable(own(self.loop), self.handle) == 0

    def __repr__(self):
        state = "closed" if self.closed else "open"
        return f"<naquid.{type(self).__name__} {self.name!r} {state}>"


@cython.no_gc_clear
cdef class BaseStream(AioStream):
    """A record stream's queue; naquid.Stream adds the coroutines."""

    def __cinit__(self):
        self.records = collections.deque()

    cdef int ev_record(self, const en.nq_event *e) except -1:
        self.heard = True
        self.records.append(event_bytes(e))
        self.held_bytes += e.len
        if not self.paused and (self.held_bytes > PAUSE_BYTES or len(self.records) > PAUSE_RECORDS):
            self.pause()
        if self.read_waiters:
            wake_waiters(self.loop, self.read_waiters, None)
        return 0

    cdef object take(self):
        if not self.records:
            return None
        cdef bytes record = self.records.popleft()
        self.held_bytes -= len(record)
        if self.paused and self.held_bytes <= RESUME_BYTES and len(self.records) <= RESUME_RECORDS:
            self.resume()
        return record

    def _take(self):
        return self.take()

    def send_nowait(self, data):
        """Queues one record (any contiguous bytes-like object), without waiting. See `send`.

        A record of 64 KiB or more is not copied when it is bytes, or a memoryview of bytes: it is kept until all of it
        is acknowledged, or the stream has ended.
        """
        self.queue(data)
