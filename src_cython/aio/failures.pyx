# failures.pyx: what handlers raise: logged, and told to the program. naquid/logs.py does both.
# needs: core/callbacks core/core core/loop
# needs: aio/conn aio/handlers aio/stream

# What the caller of a request is told when its handler raised: no more than that.
HANDLER_FAILED = b"the peer's handler failed"


cdef int report_failure(Loop loop, AppCore app, BaseConnection conn, AioStream stream, object type, object exc,
                        object where) except -1:
    """A handler raised exc. stream and type may be None. KeyboardInterrupt, SystemExit and their like go on."""
    from asyncio import CancelledError
    if not isinstance(exc, (Exception, CancelledError)):
        return loop.failed(exc, where)
    try:
        from naquid import logs
        if loop.failures is None:
            loop.failures = logs.Failures(loop.aloop)
        on_error = app.error_fn if isinstance(exc, Exception) else None
        coro = logs.handler_failed(loop.failures, on_error, exc, conn, stream, type, where)
        if coro is not None:
            app.spawn(loop, coro)
    except BaseException as another:  # there is no memory, or no event loop any more
        loop.failed(exc, where)
        loop.failed(another, where)
    return 0


cdef int handler_raised(Core core, object fn, object type) except -1:
    """fn raised (the error indicator is set): reported, the loop goes on."""
    try:
        raise_set()
    except BaseException as exc:
        core.handler_failed(exc, fn, type)
    return 0
