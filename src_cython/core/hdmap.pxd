# hdmap.pxd: handler maps: stream name to kind and handler.
cdef class HandlerMap:
    cdef en.nq_hdmap *m              # The engine's map.
    cdef dict entries                # What the engine's entries point at: (kind, name) -> object.
    cdef list natives                # The capsules whose tables the engine has.
    cdef list replaced               # Objects that were overwritten. Streams may still start with them.
    cdef int keep(self, object key, object user) except -1
    # user is kept alive as long as the map is. The event of a stream that was opened carries its pointer as e.user.
    cdef int add(self, bytes name, en.nq_stream_kind kind, uint64_t call_timeout, object user) except -1
    cdef int set_raw(self, en.nq_stream_kind kind, object user) except -1
    cdef int set_uni(self, object user) except -1
