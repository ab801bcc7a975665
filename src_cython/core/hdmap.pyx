# hdmap.pyx: handler maps.
# needs: core/arguments core/errors core/loop

cdef class HandlerMap:
    """Stream names and what they are for. Fill it before the first connection uses it: it is read without locks."""

    def __cinit__(self):
        self.entries = {}
        self.replaced = []
        self.natives = []
        self.m = en.nq_hdmap_new()
        if self.m == NULL:
            raise MemoryError()

    def __dealloc__(self):
        en.nq_hdmap_unref(self.m)

    cdef int keep(self, object key, object user) except -1:
        old = self.entries.get(key)
        if old is not None:
            self.replaced.append(old)
        self.entries[key] = user
        return 0

    cdef int add(self, bytes name, en.nq_stream_kind kind, uint64_t call_timeout, object user) except -1:
        if not 1 <= len(name) <= 255 or b"\0" in name:
            raise errors.ConfigError(bad_name(name))
        self.keep(name, user)
        cdef int rc
        with cython.critical_section(self):
            rc = en.nq_hdmap_add(self.m, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), kind, call_timeout,
                                 <void *>user)
        if rc < 0:
            engine_error(no_loop, rc, "adding a stream handler")
        return 0

    cdef int set_raw(self, en.nq_stream_kind kind, object user) except -1:
        self.keep(1, user)
        cdef int rc = en.nq_hdmap_raw(self.m, kind, <void *>user)
        if rc < 0:
            engine_error(no_loop, rc, "setting the raw stream handler")
        return 0

    cdef int set_uni(self, object user) except -1:
        self.keep(2, user)
        cdef int rc = en.nq_hdmap_uni(self.m, <void *>user)
        if rc < 0:
            engine_error(no_loop, rc, "setting the handler of unidirectional streams")
        return 0
