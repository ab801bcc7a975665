# stream.pxd: the core of every stream.
cdef class StreamCore(Core):
    cdef ConnCore conn
    cdef bint outgoing
    cdef bint uni
    cdef bint opened     # STREAM_OPEN was seen
    cdef bint closed     # STREAM_CLOSE was seen, or the loop is gone
    cdef CallNode *calling  # of calls that wait, all with one callback: so may the next one; Calls.again
    # Links self and opens it on conn.
    cdef int open_on(self, ConnCore conn, nq_stream_kind kind, bytes name, bint uni, uint64_t call_timeout) except -1
    cdef int ev_data(self, const nq_event *e) except -1
    cdef int ev_record(self, const nq_event *e) except -1
    cdef int ev_request(self, const nq_event *e) except -1
    cdef int ev_notify(self, const nq_event *e) except -1
    # cb and kind as given to Calls.node or again. May come after ev_close.
    cdef int ev_reply(self, object cb, int kind, const nq_event *e) except -1
    cdef int ev_fin(self, const nq_event *e) except -1
    cdef int ev_reset(self, const nq_event *e) except -1
    cdef int ev_stop(self, const nq_event *e) except -1
    cdef int ev_writable(self, const nq_event *e) except -1
    cdef int ev_acked(self, const nq_event *e) except -1
    # ev_open, ev_close, detached are Core's.
