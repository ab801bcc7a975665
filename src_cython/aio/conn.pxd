# conn.pxd: connections of the asyncio facade.
cdef class BaseServer

# One life of a connection that may have several. Its streams know by it that they belong to a life that is over.
cdef class Life:
    cdef object error               # why it ended, None while it lasts

cdef class BaseConnection(ConnCore):
    cdef AppCore app
    cdef object close_error         # exception, or None for a close in order
    cdef bint announced             # on_connect was called
    cdef readonly bint used_names   # a stream with a name was opened here
    cdef bint quiet                 # a connection attempt that may lose: no on_connect yet
    cdef BaseServer server
    cdef list open_waiters
    cdef list close_waiters
    cdef list ping_waiters
    cdef bint closing           # close() was called, its end is to come
    cdef bint lasting           # survives the loss of its connection
    cdef bint watched           # _changed() is to be called
    cdef Life life              # of a client's connection
    cdef object attempt         # the future of the attempt to reconnect that is under way
    cdef int announce(self) except -1
    cdef int learn(self, const en.nq_event *e) except -1
    cdef int interrupted(self) except -1
    cdef int changed(self) except -1
    cdef int look_ahead(self) except -1
    cdef int refused(self, int rc) except -1
    cdef int give_up(self) except -1
    cdef int attempted(self, object error) except -1
    cdef int keep_own_close(self, uint64_t code, str reason) except -1
    cdef bint is_up(self) noexcept
    cdef int ended(self) except -1
    cdef int run_handler(self, object fn, tuple args) except -1
    cdef object lost(self)
