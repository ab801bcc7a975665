# hdmap.pxd: naquid.capi: handler maps.
cdef class CapiLoop

# The handler of one stream name, or of raw mode. The engine's handler map points at it.
cdef class CapiEntry:
    cdef int kind                    # The engine's nq_stream_kind.
    cdef bint framed                 # A reader and a writer give the stream its form, and not the engine's records.
    cdef bytes name                  # The name of the streams. None: raw mode.
    cdef uint64_t timeout            # The timeout of calls in ns. 0: the engine's default.
    cdef uint32_t max_msgid          # The largest message ID of a call, after which 1 comes again.
    cdef object on_open              # What the application's handler has, each of which may be None.
    cdef object on_close
    cdef object on_record
    cdef object reader
    cdef object writer
    cdef object on_request
    cdef object on_batch
    cdef object on_notify
    cdef object factory

cdef class nq_hdmap_t:
    cdef HandlerMap map              # The names and kinds for the engine.
    cdef dict entries                # The handlers by name: bytes -> CapiEntry.
    cdef CapiEntry raw               # The handler of raw mode, or None.
    # The loop of the client whose map it is, as only its thread may fill it. None: any thread may.
    cdef CapiLoop loop
    cdef bint frozen                 # Other threads use it, so that it may not be filled any more.
    cdef object where                # The (host, port) it is served on, or None.
    cdef int ready(self, str what) except -1  # Whether it may be filled now, by this thread.
