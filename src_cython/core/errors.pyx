# errors.pyx: results of calls, exceptions for what the engine says no to, names of TLS alerts.
# needs: core/loop core/threads

# Results of RPC calls that no peer sent, and of handlers that failed: the original's error numbers. core/codes has one
# that is ours.
OK = 0
ETIMEOUT = -2
EALLOC = -3
ENOTSUPPORT = -4
EGOAWAY = -5
EUSER = -7

cdef enum:
    R_TIMEOUT = -2
    R_ALLOC = -3
    R_NOTSUPPORT = -4
    R_GOAWAY = -5
    R_USER = -7
    R_TOOBIG = en.NQ_RPC_TOOBIG


cdef object no_descriptor(int number, str what):
    """The error of EMFILE or ENFILE: `what` was tried."""
    whose, limit = ("this process", "ulimit -n") if number == EMFILE else ("the system", "fs.file-max")
    return OSError(number, f"{what}: {os.strerror(number)}: {whose} has as many descriptors open as it may; close what "
                           f"is not needed, or raise the limit ({limit})")


cdef int engine_error(Loop loop, int rc, str what) except -1:
    """Raises what the engine's negative result means; `what` says what was tried ("sending")."""
    if rc == en.NQ_ERR_NOMEM:
        raise MemoryError(what)
    if rc == en.NQ_ERR_STALE:
        raise errors.StreamClosed(f"{what}: it is closed already")
    if rc == en.NQ_ERR_STATE:
        raise errors.StreamClosed(f"{what}: not possible in this state (closed for sending, not connected, or "
                                  "another kind of stream)")
    if rc == en.NQ_ERR_ARG:
        raise ValueError(f"{what}: an argument is out of range")
    if rc == en.NQ_ERR_TOOBIG:
        raise errors.MessageTooBig(f"{what}: it is larger than Limits.max_message_size; send it in parts, or raise the "
                                   "limit on both sides")
    if rc == en.NQ_ERR_FULL:
        raise errors.QueueFull(f"{what}: a bound is reached (Limits.max_send_queue, max_pending_calls or "
                               "max_pending_opens; 2**20 requests of other threads); wait with drain(), or for "
                               "the loop's next tick, before asking for more")
    # Without a loop it is what the last one of this thread could not be made for.
    if rc == en.NQ_ERR_SYS and (load_loop(&loop.l) == NULL or mine(loop)) and en.nq_loop_errno(loop.l) != 0:
        number = en.nq_loop_errno(loop.l)
        if number == EMFILE or number == ENFILE:
            raise no_descriptor(number, what)
        raise OSError(number, f"{what}: {os.strerror(number)}")
    if rc == en.NQ_ERR_FORKED:
        raise errors.Error(f"{what}: this is a forked process, and the connections and servers are its parent's; make "
                           "new ones, in a new event loop")
    raise errors.Error(f"{what}: {en.nq_strerror(rc).decode()}")


def tls_alert_name(unsigned int alert):
    """The name of a TLS alert (RFC 8446 6): "unknown_ca" for 48."""
    cdef char buf[32]
    return en.nq_tls_alert_name(alert, buf, sizeof(buf)).decode()
