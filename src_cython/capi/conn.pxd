# conn.pxd: naquid.capi: connections.
cdef class CapiConn(ConnCore):
    cdef nq_conn_t conn        # its handle
    cdef nq_hdmap_t streams    # the map in force
    cdef object on_open
    cdef object on_close
    cdef object on_finalize
    cdef bint announced        # on_open was called: the application knows the handle
    cdef bint finalizing       # nq_conn_close: nothing follows but the end
    cdef bint resetting        # nq_conn_reset: connect again whatever on_close says
    cdef bint disconnected     # between on_close and the next attempt
    cdef bint waiting          # a reconnect is scheduled or under way
    cdef object race           # the attempt it belongs to, until one of its connections is open
    cdef uint64_t max_message  # largest record or payload
    cdef int make_handle(self, CapiLoop loop, nq_conn_t h) except -1
    cdef int end(self, object how) except -1
    cdef int close_now(self) except -1
    cdef int destroy_now(self) except -1
    cdef int reset_now(self) except -1
    cdef int reachability_now(self, int status) except -1
    cdef int call_close(self) except -1
    cdef int reconnect_after(self, uint64_t delay) except -1
    cdef int end_handle(self) except -1
