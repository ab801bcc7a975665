# conn.pxd: naquid.capi: connections.
cdef class CapiConn(ConnCore):
    cdef nq_conn_t conn              # Its handle.
    cdef nq_hdmap_t streams          # The handler map in force.
    cdef object on_open              # The callbacks of the application, each of which may be None.
    cdef object on_close
    cdef object on_finalize
    cdef bint announced              # on_open was called, so that the application knows the handle.
    cdef bint finalizing             # nq_conn_close was called, so that nothing follows but the end.
    cdef bint resetting              # nq_conn_reset was called, so that it connects again whatever on_close returns.
    cdef bint disconnected           # It is between on_close and the next attempt.
    cdef bint waiting                # A reconnect is scheduled or under way.
    # The race of addresses that it takes part in, until one of them has a connection. None: it is alone.
    cdef object race
    cdef uint64_t max_message        # The size of the largest record or payload, in bytes.
    cdef int make_handle(self, CapiLoop loop, nq_conn_t h) except -1
    cdef int end(self, object how) except -1
    cdef int close_now(self) except -1
    cdef int destroy_now(self) except -1
    cdef int reset_now(self) except -1
    cdef int reachability_now(self, int status) except -1
    cdef int call_close(self) except -1
    cdef int reconnect_after(self, uint64_t delay) except -1
    cdef int end_handle(self) except -1
