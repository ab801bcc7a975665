# handles.pxd: naquid.capi: what names a connection, stream or alarm, for any thread.
cdef class CapiConn
cdef class CapiStream
cdef class CapiAlarm

# A value that names a connection, stream or alarm. Each of those has one. What an application makes itself is empty.
# Other threads read it: `live`, `fd` and `reconnect_at` through load_ (threads.pyx), `ctx` through ctx_of, `core` not
# at all, the rest never changes once a callback was given the handle.
cdef class CapiHandle:
    cdef Loop loop                   # The loop of what it names.
    cdef en.nq_handle h              # The engine's handle of it. 0: the engine has none.
    # A number that no other handle of the process has or had. 0: the handle is empty.
    cdef uint64_t serial
    # What it names is there. In the loop's thread this implies that the loop is open.
    cdef int live
    cdef int why                     # Why a handle is empty: CAPI_WHY_*.
    cdef object ctx                  # What the open callback put into pctx[0].
    cdef int begin(self, Loop loop, en.nq_handle h) except -1

cdef class nq_conn_t(CapiHandle):
    cdef CapiConn core               # The connection, or None once it is gone.
    cdef bint client                 # It is a client's connection.
    cdef int fd                      # The descriptor of its socket, or -1.
    # When the scheduled reconnect is due, in ns of the monotonic clock. 0: none is scheduled.
    cdef uint64_t reconnect_at

# What nq_stream_t and nq_rpc_t share.
cdef class CapiStreamHandle(CapiHandle):
    cdef CapiStream core             # The stream, or None once it is gone.
    cdef nq_conn_t conn              # The handle of its connection.
    cdef uint64_t sid                # The QUIC stream ID.
    cdef bint outgoing               # This side opened it.
    cdef bint framed                 # A stream_writer of the handler gives records their form.
    cdef bint headed                 # The binding gives records their length, as the engine's stream is raw.

cdef class nq_stream_t(CapiStreamHandle):
    pass

cdef class nq_rpc_t(CapiStreamHandle):
    pass

cdef class nq_alarm_t(CapiHandle):
    cdef CapiAlarm core              # The alarm. None before it is set for the first time, and once it is freed.
