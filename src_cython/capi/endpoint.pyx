# endpoint.pyx: naquid.capi: listening ports.
# needs: core/address core/conn core/errors core/limits core/loop core/threads core/tls
# needs: capi/conn capi/handles capi/hdmap capi/log capi/loop

@cython.no_gc_clear
cdef class CapiEndpoint(EndpointCore):
    def _listen(self, CapiLoop loop, str host, int port, Tls tls, nq_hdmap_t streams, EngineLimits limits,
                bytes secret, bint reuseport, on_open, on_close):
        cdef en.nq_addr a
        to_addr(&a, host, port)
        self.streams = streams
        self.on_open = on_open
        self.on_close = on_close
        self.max_message = limits.values.max_message_size
        self.open_at(loop, &a, tls, streams.map, &limits.values, reuseport, secret, False)

    cdef ConnCore accept_conn(self, const en.nq_event *e):
        cdef CapiConn c
        if (<CapiLoop>self.loop).draining:
            return None
        trouble = trouble_news(self.tls)
        if trouble is not None:
            capi_log(3, "the certificate files have changed and cannot be used", {"error": trouble})
        c = CapiConn.__new__(CapiConn)
        c.handle = e.handle
        c.streams = self.streams
        c.on_open = self.on_open
        c.on_close = self.on_close
        c.max_message = self.max_message
        c.make_handle(<CapiLoop>self.loop, nq_conn_t.__new__(nq_conn_t))
        return c

    def _end(self):
        if self.loop.l != NULL:
            en.nq_endpoint_close(self.loop.l, self.id)

    @property
    def address(self):
        """(host, port) it is bound to."""
        cdef en.nq_addr a
        if self.loop.l == NULL or en.nq_endpoint_address(self.loop.l, self.id, &a) != 0:
            return None
        return from_addr(&a)


cdef class CapiGroup:
    """Loops that serve the same addresses."""
    cdef en.nq_group *g

    def __init__(self, list loops):
        cdef int i = 0
        cdef CapiLoop loop
        self.g = en.nq_group_new(<uint32_t>len(loops))
        if self.g == NULL:
            raise ValueError(f"a server has 1 to 128 workers, not {len(loops)}")
        for loop in loops:
            engine_check(loop, en.nq_group_join(self.g, peek(loop), <uint32_t>i), "joining the workers")
            i += 1

    def _refuse(self):
        """Any thread: no worker takes new clients from now on, whatever it is busy with."""
        en.nq_group_refuse(self.g)

    def __dealloc__(self):
        en.nq_group_unref(self.g)


cdef int engine_check(Loop loop, int rc, str what) except -1:
    if rc < 0:
        engine_error(loop, rc, what)
    return 0
