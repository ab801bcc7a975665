# hdmap.pxd: naquid.capi: handler maps.
cdef class CapiLoop

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
