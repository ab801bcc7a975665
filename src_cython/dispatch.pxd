# dispatch.pxd: what becomes of the events of connections and streams, and alarms.

# Hand an event to the object it is for. The first also makes the object of a stream that the peer opened.
cdef int stream_open(Loop loop, const nq_event *e) except -1
cdef int stream_event(Loop loop, const nq_event *e) except -1
cdef int conn_event(Loop loop, const nq_event *e) except -1

# An alarm: `callback` is called without arguments; or override ev_alarm.
cdef class AlarmCore(Core):
    cdef public object callback
    cdef int create(self, Loop loop) except -1
    cdef int set_deadline(self, uint64_t deadline) except -1  # as nq_loop_now; UINT64_MAX: stop
    cdef int release(self) except -1
    cdef int ev_alarm(self, const nq_event *e) except -1
