# core.pxd: naquid.capi: handles, the loop of a client or a worker, and what waits in a loop's queue.
cdef class CapiConn
cdef class CapiStream
cdef class CapiAlarm
cdef class CapiEntry
cdef class CapiBatch

# A value that names a connection, stream or alarm. One object for each of them; empty when made by hand.
# Other threads read it: `live`, `fd` and `reconnect_at` through load_ (common.pyx), `ctx` through ctx_of, `core` not at
# all, the rest never changes once a callback was given the handle.
cdef class CapiHandle:
    cdef Loop loop
    cdef nq_handle h
    cdef uint64_t serial   # never the same twice in a process; 0: empty
    cdef int live          # what it names is there; in its loop's thread this implies that the loop is open
    cdef int why           # of an empty handle: CAPI_WHY_*
    cdef object ctx        # *ppctx of the open callback
    cdef int begin(self, Loop loop, nq_handle h) except -1

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

cdef class CapiAlarm(AlarmCore):
    cdef nq_alarm_t alarm
    cdef object proc
    cdef uint64_t due      # the time it was set for, ns since 1970
    cdef int arm(self, uint64_t due) except -1

# Work for the loop's own thread: a function with its handle and arguments.
cdef class CapiPost(Posted):
    cdef int op            # CAPI_OP_*
    cdef CapiHandle handle
    cdef object data       # bytes, or what the op needs
    cdef object cb
    cdef int type
    cdef uint32_t msgid
    cdef uint64_t timeout
    cdef int refuse(self, Loop loop, object exc, object where) except -1

cdef class CapiLoop(Loop):
    cdef bint worker       # runs in a thread of its own: nothing may end it but stop()
    cdef int index         # of the worker
    cdef int live_conns    # connection objects
    cdef bint draining     # the server is shutting down: stop when the last connection is gone
    cdef set marks         # CapiMark objects the engine points at
    cdef dict gathered     # CapiEntry -> CapiBatch with requests of this dispatch
    cdef CapiBatch batch   # the one that had the last request, or None
    cdef uint64_t clock(self) noexcept
    cdef CapiBatch batch_of(self, CapiEntry entry)
    cdef int conn_gone(self) except -1
    cdef int ev_mark(self, const nq_event *e) except -1
    cdef bint post_op(self, int op, CapiHandle handle, object data, object cb, int type, uint32_t msgid,
                      uint64_t timeout) except -1
