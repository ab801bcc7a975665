# stream.pxd: naquid.capi: streams of every kind, RPC included.
cdef class CapiMark

cdef class CapiStream(RpcCore):
    cdef CapiStreamHandle stream     # Its handle, an nq_rpc_t for RPC.
    cdef CapiEntry entry             # The handler of its name.
    cdef object first_ctx            # The ctx it was opened with, until it has its handle.
    cdef bint refused                # The open callback refused it, so that nothing follows but its close callback.
    cdef bint open_reported          # The open callback was called.
    cdef bint close_reported         # The close callback was called.
    cdef bint stopped                # The peer reads no more.
    # The callbacks of calls that could not be sent any more, which are called after the close callback.
    cdef list unsent
    # The part of a record that has come, of a stream whose records are cut in the binding. None: another.
    cdef bytearray partial
    cdef int prepare(self, CapiEntry entry, object ctx) except -1  # Takes the handler of its name.
    cdef int use_factory(self, CapiEntry entry) except -1  # Takes the handler that the factory makes.
    cdef uint64_t max_message(self) noexcept  # The size of the largest record or payload, in bytes.
    cdef int end(self) except -1     # It has ended: calls the close callback, once, and what waits for that.
    cdef int refuse(self, uint64_t code) except -1  # Ends it with an error code, both ways.
    cdef int close_now(self) except -1
    cdef int record(self, object data) except -1  # Gives a record to the handler.
    cdef int read_records(self, bytes chunk) except -1  # Cuts bytes into records.

# A write of which the application wants to know when it is acknowledged or lost. The engine points at it.
cdef class CapiMark:
    cdef object on_ack               # The callbacks of the application, each of which may be None.
    cdef object on_retransmit
