# stream.pyx: the core of every stream, and bytes that are sent without a copy.
# needs: core/arguments core/buffers core/conn core/core core/errors core/loop core/threads

cdef enum:
    LEND_MIN = 64 << 10  # bytes: below it a copy costs no more than keeping them
    LEND_MAX = 1 << 30   # of nq_stream_lend


cdef PyObject *lender_of(object data, const View *v) noexcept:
    """What keeps these bytes unchanged for as long as it lives: a bytes object, or what a stream received, as itself or
    under a memoryview. NULL: nothing does."""
    cdef PyObject *base
    if not v.held:
        return <PyObject *>data
    if not PyMemoryView_Check(data):
        return NULL
    base = <PyObject *>PyMemoryView_GET_BUFFER(data).obj
    if base == NULL or not (PyBytes_CheckExact(<object>base) or type(<object>base) is ReceivedBytes):
        return NULL
    return base


cdef inline int send_view(en.nq_loop *l, en.nq_handle h, object data, const View *v) noexcept:
    """nq_stream_send of data, which v shows. Large bytes that cannot change are lent to the engine, with a reference to
    whose they are."""
    cdef int rc
    cdef PyObject *lender = NULL
    if LEND_MIN <= v.n <= <size_t>LEND_MAX:
        lender = lender_of(data, v)
    if lender == NULL:
        return en.nq_stream_send(l, h, v.p, v.n)
    Py_INCREF(<object>lender)
    rc = en.nq_stream_lend(l, h, v.p, v.n, lender)
    if rc < 0:
        Py_DECREF(<object>lender)  # never the last one
    return rc


cdef int take_returned(en.nq_loop *l) except -1:
    """Drops the references to what was lent and is not needed any more. In the loop's thread."""
    cdef PyObject *lender = <PyObject *>en.nq_loop_returned(l)
    while lender != NULL:
        Py_DECREF(<object>lender)
        lender = <PyObject *>en.nq_loop_returned(l)
    return 0


cdef void all_returned(en.nq_loop *l) noexcept with gil:
    """In nq_loop_free, which runs without the interpreter lock."""
    take_returned(l)


@cython.no_gc_clear
cdef class StreamCore(Core):
    cdef int open_on(self, ConnCore conn, en.nq_stream_kind kind, bytes name, bint uni,
                     uint64_t call_timeout) except -1:
        cdef en.nq_stream_options o
        cdef Loop loop = conn.loop
        cdef en.nq_loop *l
        cdef int rc
        cdef set opening = set() if conn.opening is None else conn.opening
        memset(&o, 0, sizeof(o))
        if name is not None and (not 1 <= len(name) <= 255 or b"\0" in name):
            raise ValueError(bad_name(name))
        o.kind = kind
        o.uni = uni
        if name is not None:
            o.name = PyBytes_AS_STRING(name)
            o.name_len = PyBytes_GET_SIZE(name)
        o.call_timeout = call_timeout
        o.user = <void *>self
        self.conn = conn
        self.outgoing = True
        self.uni = uni
        l = own(loop)
        loop.link(self)
        rc = en.nq_stream_open(l, conn.handle, &o, &self.handle)
        if rc < 0:
            self.closed = True
            loop.unlink(self)
            engine_error(loop, rc, "opening a stream")
        if conn.opening is None:
            conn.opening = opening
        conn.opening.add(self)
        return 0

    cdef int ev_data(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_record(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_fin(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_reset(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_stop(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_writable(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_acked(self, const en.nq_event *e) except -1:
        return 0

    cdef bint ev_undelivered(self, const en.nq_event *e) except -1:
        return False
