# failures.pyx: what handlers raise, and how connections begin and end: logged, and told to the program. naquid/logs.py
# does both.
# needs: core/callbacks core/core core/loop
# needs: aio/conn aio/handlers aio/stream aio/tasks

# What the caller of a request is told when its handler raised: no more than that.
HANDLER_FAILED = b"the peer's handler failed"


# The logger of connections' lives, once it was asked for; its isEnabledFor keeps its answer.
cdef object life_logger = None


cdef object logs_module():
    from naquid import logs
    return logs


cdef inline bint life_is_logged() except -1:
    """Whether it is logged that connections begin and end."""
    global life_logger
    if life_logger is None:
        import logging
        life_logger = logging.getLogger("naquid.connection")
    return life_logger.isEnabledFor(20)  # logging.INFO


cdef object failures_of(Loop loop):
    if loop.failures is None:
        loop.failures = logs_module().Failures(loop.aloop)
    return loop.failures


cdef int report_failure(Loop loop, AppCore app, BaseConnection conn, AioStream stream, object type, object exc,
                        object where) except -1:
    """A handler raised exc. stream and type may be None. KeyboardInterrupt, SystemExit and their like go on."""
    from asyncio import CancelledError
    if not isinstance(exc, (Exception, CancelledError)):
        return loop.failed(exc, where)
    try:
        on_error = app.error_fn if isinstance(exc, Exception) else None
        coro = logs_module().handler_failed(failures_of(loop), on_error, exc, conn, stream, type, where)
        if coro is not None:
            start_report(loop, app.running, coro)
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
