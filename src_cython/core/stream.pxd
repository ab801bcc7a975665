# stream.pxd: the core of every stream.
cdef class StreamCore(Core):
    cdef ConnCore conn               # Its connection.
    cdef bint outgoing               # This side opened it.
    cdef bint uni                    # Only the side that opened it sends.
    cdef bint opened                 # It has its stream ID: the event of that was dispatched.
    cdef bint closed                 # The event of its end was dispatched, or the loop is gone.
    cdef bint fin                    # The peer will send no more.
    # Links self and opens it on conn.
    cdef int open_on(self, ConnCore conn, en.nq_stream_kind kind, bytes name, bint uni, uint64_t call_timeout) except -1
    cdef int ev_data(self, const en.nq_event *e) except -1
    cdef int ev_record(self, const en.nq_event *e) except -1
    cdef int ev_fin(self, const en.nq_event *e) except -1
    cdef int ev_reset(self, const en.nq_event *e) except -1
    cdef int ev_stop(self, const en.nq_event *e) except -1
    cdef int ev_writable(self, const en.nq_event *e) except -1
    cdef int ev_acked(self, const en.nq_event *e) except -1
    # Bytes, a record, a notification or a request of the peer could not be delivered. True: the peer knows, and the
    # stream may go on. False: it may not, as what comes next would stand behind a gap.
    cdef bint ev_undelivered(self, const en.nq_event *e) except -1
    # ev_open, ev_close, detached are Core's.
