# call.pyx: the reply of a call, awaited without a coroutine, a Future or a turn of the event loop of its own.
# needs: core/callbacks core/loop
# needs: aio/rpc

cdef enum:
    CALL_PENDING
    CALL_DONE
    CALL_FAILED
    CALL_GONE       # the stream or connection went away; the reason is known once the whole batch is dispatched
    CALL_CANCELLED


@cython.freelist(1024)
cdef class Reply:
    """The task that awaits it goes on inside the tick that brought the reply, as a plain callback would, so that what
    it sends next leaves in the same packets. Further tasks that await it go on by `call_soon`."""

    cdef int settle(self, int state, object value) except -1:
        if self.state != CALL_PENDING:
            return 0
        self.state = state
        self.value = value
        if self.wakeup is not None and self.rpc.loop.ticking and state < CALL_GONE:
            self.resume()
            self.wakeup = None
            self.context = None
        if self.wakeup is not None or self.callbacks is not None:
            return self.wake()
        return 0

    cdef int wake(self) except -1:
        """The tasks that wait go on in this turn of the event loop, or in a later one when there is no memory for
        that now."""
        cdef Loop loop = self.rpc.loop
        try:
            if self.wakeup is not None:
                self.aloop.call_soon(self.wakeup, self, context=self.context)
                self.wakeup = None
                self.context = None
                loop.woken = True
            while self.callbacks:
                fn, context = self.callbacks[0]
                self.aloop.call_soon(fn, self, context=context)
                del self.callbacks[0]
                loop.woken = True
            self.callbacks = None
        except MemoryError:
            self.next_unwoken = loop.unwoken
            loop.unwoken = self
            loop.wake_unwoken = wake_replies
        return 0

    cdef int resume(self) except -1:
        cdef PyObject *args[2]
        cdef PyObject *r
        cdef object wakeup = self.wakeup
        cdef object context = self.context
        cdef Loop loop = self.rpc.loop
        args[0] = NULL
        args[1] = <PyObject *>self
        if loop.context is not None:  # of a connection: what the task does may call handlers of others
            loop.switch_context(None)
        try:
            PyContext_Enter(context)
        except RuntimeError:  # entered already: shared with what runs now
            self.aloop.call_soon(wakeup, self, context=context)
            loop.woken = True
            return 0
        r = PyObject_Vectorcall(<PyObject *>wakeup, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
        PyContext_Exit(context)
        if r == NULL:
            raise_set()
        Py_XDECREF(r)
        return 0

    cdef int forget(self) except -1:
        self.rpc.cancel_now(self.msgid)
        return 0

    cdef object failure(self):
        if self.state == CALL_GONE and self.value is None:
            self.value = self.rpc._gone()
        return self.value

    cdef object outcome(self):
        if self.state == CALL_DONE:
            return self.value
        if self.state == CALL_CANCELLED:
            from asyncio import CancelledError
            raise CancelledError() if self.value is None else CancelledError(self.value)
        raise self.failure()

    @property
    def _asyncio_future_blocking(self):
        return self.blocking

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, bint value):
        self.blocking = value

    def get_loop(self):
        return self.aloop

    def result(self):
        return self.outcome()

    def add_done_callback(self, fn, *, context):
        if self.state != CALL_PENDING:
            self.aloop.call_soon(fn, self, context=context)
        elif self.wakeup is None:
            self.wakeup = fn
            self.context = context
        else:
            if self.callbacks is None:
                self.callbacks = []
            self.callbacks.append((fn, context))

    def cancel(self, msg=None):
        """Forgets the call. The caller of this goes on; the task that waits runs after it."""
        if self.state != CALL_PENDING:
            return False
        self.forget()
        self.settle(CALL_CANCELLED, msg)
        return True


cdef int wake_replies(Loop loop) except -1:
    """Tries again; those that fail again are tried in the next tick."""
    cdef Reply r = loop.unwoken
    cdef Reply following
    loop.unwoken = None
    while r is not None:
        following = r.next_unwoken
        r.next_unwoken = None
        r.wake()
        r = following
    if loop.unwoken is not None and loop.l != NULL:
        en.nq_loop_wake(loop.l)
    return 0


@cython.freelist(1024)
cdef class Call:
    """A request that was sent. Await it for the reply's payload, or give it to whatever takes a coroutine:
    `asyncio.create_task`, `gather`, `wait_for`, a task group. It may be awaited more than once."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        cdef Reply reply = self.reply
        if reply.state == CALL_PENDING:
            reply.blocking = True
            return reply
        if reply.state == CALL_DONE:
            PyErr_SetObject(StopIteration, reply.value)
            raise_set()
        reply.outcome()

    def send(self, value):
        """As a coroutine's."""
        return self.__next__()

    def throw(self, type, value=None, traceback=None):
        """As a coroutine's: the exception comes out of the await; a reply that is still to come is forgotten."""
        self.reply.cancel()
        raise type if value is None else value

    def close(self):
        """As a coroutine's: a reply that is still to come is forgotten."""
        self.reply.cancel()


Coroutine.register(Call)
