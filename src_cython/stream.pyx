# stream.pyx: the core of every stream.

@cython.no_gc_clear
cdef class StreamCore(Core):
    cdef int open_on(self, ConnCore conn, nq_stream_kind kind, bytes name, bint uni, uint64_t call_timeout) except -1:
        cdef nq_stream_options o
        cdef Loop loop = conn.loop
        cdef nq_loop *l = own(loop)
        cdef int rc
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
        loop.link(self)
        rc = nq_stream_open(l, conn.handle, &o, &self.handle)
        if rc < 0:
            self.closed = True
            loop.unlink(self)
            engine_error(loop, rc, "opening a stream")
        if conn.opening is None:
            conn.opening = set()
        conn.opening.add(self)
        return 0

    cdef int ev_data(self, const nq_event *e) except -1:
        return 0

    cdef int ev_record(self, const nq_event *e) except -1:
        return 0

    cdef int ev_request(self, const nq_event *e) except -1:
        return 0

    cdef int ev_notify(self, const nq_event *e) except -1:
        return 0

    cdef int ev_reply(self, object cb, int kind, const nq_event *e) except -1:
        return 0

    cdef int ev_fin(self, const nq_event *e) except -1:
        return 0

    cdef int ev_reset(self, const nq_event *e) except -1:
        return 0

    cdef int ev_stop(self, const nq_event *e) except -1:
        return 0

    cdef int ev_writable(self, const nq_event *e) except -1:
        return 0

    cdef int ev_acked(self, const nq_event *e) except -1:
        return 0
