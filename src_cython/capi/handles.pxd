# handles.pxd: naquid.capi: what names a connection, stream or alarm, for any thread.
cdef class CapiConn
cdef class CapiStream
cdef class CapiAlarm

# A value that names a connection, stream or alarm. One object for each of them; empty when made by hand.
# Other threads read it: `live`, `fd` and `reconnect_at` through load_ (threads.pyx), `ctx` through ctx_of, `core` not
# at all, the rest never changes once a callback was given the handle.
cdef class CapiHandle:
    cdef Loop loop
    cdef en.nq_handle h
    cdef uint64_t serial   # never the same twice in a process; 0: empty
    cdef int live          # what it names is there; in its loop's thread this implies that the loop is open
    cdef int why           # of an empty handle: CAPI_WHY_*
    cdef object ctx        # *ppctx of the open callback
    cdef int begin(self, Loop loop, en.nq_handle h) except -1

cdef class nq_conn_t(CapiHandle):
    cdef CapiConn core     # None once it is gone
    cdef bint client
    cdef int fd
    cdef uint64_t reconnect_at  # monotonic ns, 0: no reconnect is scheduled

# nq_stream_t and nq_rpc_t.
cdef class CapiStreamHandle(CapiHandle):
    cdef CapiStream core   # None once it is gone
    cdef nq_conn_t conn
    cdef uint64_t sid
    cdef bint outgoing
    cdef bint framed       # its entry's: a stream_writer gives records their form
    cdef bint headed       # records get their head in the binding: the engine's stream is raw

cdef class nq_stream_t(CapiStreamHandle):
    pass

cdef class nq_rpc_t(CapiStreamHandle):
    pass

cdef class nq_alarm_t(CapiHandle):
    cdef CapiAlarm core    # None before it is set for the first time, and once it is freed
