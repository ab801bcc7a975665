# hdmap.pxd: handler maps: stream name to kind and handler.
cdef class HandlerMap:
    cdef en.nq_hdmap *m
    cdef dict entries   # (kind, name) -> the object whose pointer the engine has
    cdef list natives   # capsules whose tables the engine has
    cdef list replaced  # objects that were overwritten; streams may still start with them
    cdef int keep(self, object key, object user) except -1
    # user is kept alive as long as the map is. STREAM_OPEN carries its pointer as e.user.
    cdef int add(self, bytes name, en.nq_stream_kind kind, uint64_t call_timeout, object user) except -1
    cdef int set_raw(self, en.nq_stream_kind kind, object user) except -1
    cdef int set_uni(self, object user) except -1
