# stream.pxd: naquid.capi: streams of every kind, RPC included.
cdef class CapiMark

cdef class CapiStream(RpcCore):
    cdef CapiStreamHandle stream  # its handle: nq_rpc_t for RPC
    cdef CapiEntry entry
    cdef object first_ctx         # the ctx it was opened with
    cdef bint refused             # on_open said no: on_close follows, nothing else
    cdef bint shown               # on_open was called
    cdef bint told                # on_close was called
    cdef bint stopped             # the peer reads no more
    cdef list late                # on_reply of calls that could not be sent any more
    cdef bytearray partial        # of a record that is read here (factory streams)
    cdef int prepare(self, CapiEntry entry, object ctx) except -1
    cdef int made_by(self, CapiEntry entry) except -1
    cdef uint64_t max_message(self) noexcept
    cdef int end(self) except -1
    cdef int refuse(self, uint64_t code) except -1
    cdef int close_now(self) except -1
    cdef int record(self, object data) except -1
    cdef int read_records(self, bytes chunk) except -1

# A write whose acknowledgement is to be told.
cdef class CapiMark:
    cdef object on_ack
    cdef object on_retransmit
