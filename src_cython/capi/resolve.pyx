# resolve.pyx: naquid.capi: lookups by chosen DNS servers, in a thread that is lent to the engine's resolver.
# needs: core/address core/errors

@cython.final
cdef class CapiResolver:
    """Lookups by the servers of nq_dns_conf_t."""
    cdef en.nq_resolver *r

    def __init__(self, list servers, uint64_t timeout, bint rotate):
        cdef en.nq_addr addrs[en.NQ_RESOLVE_SERVERS]
        cdef en.nq_resolver_options o
        cdef int rc
        cdef Py_ssize_t i
        cdef list chosen = list(servers)
        if not 0 < len(chosen) <= en.NQ_RESOLVE_SERVERS:
            raise ValueError(f"dns_hosts has {len(chosen)} servers: at most {en.NQ_RESOLVE_SERVERS} are asked")
        for i in range(len(chosen)):
            host, port = chosen[i]
            to_addr(&addrs[i], host, port)
        if self.r != NULL:
            raise RuntimeError("a resolver is made once")
        memset(&o, 0, sizeof(o))
        o.servers = addrs
        o.nservers = len(chosen)
        o.timeout = timeout
        o.rotate = rotate
        rc = en.nq_resolver_new(&self.r, &o)
        if rc == en.NQ_ERR_NOMEM:
            raise MemoryError("no memory for a resolver")
        if rc < 0:
            number = errno
            if number == EMFILE or number == ENFILE:
                raise no_descriptor(number, "making a resolver")
            raise OSError(number, f"making a resolver: {os.strerror(number)}")

    def __dealloc__(self):
        en.nq_resolver_free(self.r)

    def ask(self, bytes name not None, uint64_t ident):
        """Any thread: looks a name up. True: a thread must now call wait() until that returns None. BlockingIOError:
        too many wait already."""
        cdef int rc = en.nq_resolver_ask(self.r, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), ident)
        if rc == en.NQ_ERR_FULL:
            raise BlockingIOError("too many lookups are waiting")
        if rc == en.NQ_ERR_NOMEM:
            raise MemoryError("no memory for a lookup")
        return rc == 1

    def wait(self):
        """The next answer as (ident, c-ares status, addresses); None when no lookup is left or it is closed."""
        cdef en.nq_answer a
        cdef int rc
        with nogil:
            rc = en.nq_resolver_wait(self.r, &a)
        if rc == 0:
            return None
        return a.id, a.status, [from_addr(&a.addr[i])[0] for i in range(a.n)]

    def close(self):
        """Any thread: no more answers."""
        en.nq_resolver_close(self.r)
