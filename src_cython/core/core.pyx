# core.pyx: the root of what the engine points at.
# needs: core/loop core/stream

@cython.no_gc_clear
cdef class Core:
    def __cinit__(self):
        self.loop = no_loop

    cdef int ev_open(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_close(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_freed(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_datagram(self, const en.nq_event *e) except -1:
        if self.loop.l != NULL:
            en.nq_loop_drop(self.loop.l, en.NQ_DROP_UNHANDLED)
        return 0

    cdef int ev_pong(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_handshake_failed(self, const en.nq_event *e) except -1:
        return 0

    cdef int ev_alarm(self, const en.nq_event *e) except -1:
        return 0

    cdef StreamCore accept_stream(self, const en.nq_event *e):
        return None

    cdef int handler_failed(self, object exc, object where, object type) except -1:
        return self.loop.failed(exc, where)

    cdef int detached(self) except -1:
        return 0


cdef class Attached:
    pass


cdef class Posted:
    cdef int run(self, Loop loop, const en.nq_event *e) except -1:
        self.fn(*self.args)
        return 0

    cdef int gone(self) except -1:
        return 0
