# handles.pyx: naquid.capi: what names a connection, stream or alarm, for any thread.
# needs: core/loop core/threads
# needs: capi/alarm capi/check capi/conn capi/stream

cdef enum:
    CAPI_WHY_CREATE = 1
    CAPI_WHY_CONN = 2
    CAPI_WHY_NO_CONN = 3
    CAPI_WHY_STREAM = 4


cdef uint64_t capi_serial = 0

cdef dict EMPTY_REASONS = {CAPI_WHY_CREATE: "conn create fail", CAPI_WHY_CONN: "invalid conn",
                           CAPI_WHY_NO_CONN: "conn not found", CAPI_WHY_STREAM: "invalid stream"}


cdef class CapiHandle:
    def __cinit__(self):
        self.loop = no_loop

    cdef int begin(self, Loop loop, en.nq_handle h) except -1:
        self.serial = next_u64(&capi_serial)
        self.loop = loop
        self.h = h
        store_int(&self.live, 1)
        return 0

    def __eq__(self, other):
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return self.serial == 0 and (<CapiHandle>other).serial == 0

    def __hash__(self):
        return self.serial

    def __repr__(self):
        state = "empty" if self.serial == 0 else "live" if alive(self) else "outdated"
        return f"<{type(self).__name__} {self.serial} {state}>"

    def __reduce__(self):
        raise TypeError("a handle has a meaning in its own process only")

    @property
    def s(self):
        """The serial (nq_serial_t): a number that no other object of this process has or had; 0 when empty."""
        return self.serial


cdef inline bint alive(CapiHandle h) noexcept:
    """From any thread."""
    return load_int(&h.live)


cdef inline bint here(CapiHandle h) noexcept:
    """Whether the calling thread may use what the handle names: it is there, its loop is open and this thread's. To be
    asked after all code of the user's has run (buffers.pyx has the rule)."""
    return load_int(&h.live) and mine(h.loop)


cdef object ctx_of(CapiHandle h):
    """From any thread."""
    with cython.critical_section(h):
        ctx = h.ctx
    return ctx


cdef int set_ctx(CapiHandle h, object ctx) except -1:
    with cython.critical_section(h):
        h.ctx, ctx = ctx, h.ctx
    return 0  # what it was before goes here, outside


cdef bint handle_check(CapiHandle h, object cb) except -1:
    """What nq_*_is_valid does."""
    need_callable(cb, "the callback")
    if cb is not None:
        if alive(h):
            cb(h, None)
        elif h.serial == 0:
            cb(h, EMPTY_REASONS.get(h.why, "deallocated handle"))
        else:
            cb(h, "outdated handle")
    return alive(h)


@cython.final
cdef class nq_conn_t(CapiHandle):
    """A connection's handle: immutable, hashable, usable from any thread, safe when stale. nq_conn_t() is empty."""


cdef class CapiStreamHandle(CapiHandle):
    pass


@cython.final
cdef class nq_stream_t(CapiStreamHandle):
    """A stream's handle: immutable, hashable, usable from any thread, safe when stale. nq_stream_t() is empty."""


@cython.final
cdef class nq_rpc_t(CapiStreamHandle):
    """An RPC stream's handle: immutable, hashable, usable from any thread, safe when stale. nq_rpc_t() is empty."""


@cython.final
cdef class nq_alarm_t(CapiHandle):
    """An alarm's handle: immutable, hashable, usable from any thread, safe when stale. nq_alarm_t() is empty."""
