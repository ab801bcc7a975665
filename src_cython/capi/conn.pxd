# conn.pxd: naquid.capi: handler maps, connections, listening ports.

# What a stream name stands for: what the engine's handler map points at.
cdef class CapiEntry:
    cdef int kind              # nq_stream_kind of the engine
    cdef bint framed           # reader and writer instead of records
    cdef bytes name            # None in raw mode
    cdef uint64_t timeout
    cdef uint32_t max_msgid    # of RPC: the largest message ID of a call
    cdef object on_open
    cdef object on_close
    cdef object on_record
    cdef object reader
    cdef object writer
    cdef object on_request
    cdef object on_batch
    cdef object on_notify
    cdef object factory

cdef class nq_hdmap_t:
    cdef HandlerMap map
    cdef dict entries          # name -> CapiEntry
    cdef CapiEntry raw
    cdef CapiLoop loop         # a client's: only its thread may fill it. None: a server's, or a connection's own
    cdef bint frozen           # in use by other threads
    cdef object where          # (host, port) it listens on, or None
    cdef int ready(self, str what) except -1

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

cdef class CapiEndpoint(EndpointCore):
    cdef nq_hdmap_t streams
    cdef object on_open
    cdef object on_close
    cdef uint64_t max_message
