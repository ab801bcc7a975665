# stream.pxd: streams of the asyncio facade.

# Received bytes in one growing block, a bytes object that nobody else sees: [head, head + len) of cap.
cdef struct ByteBuf:
    uint8_t *p
    size_t cap
    size_t head
    size_t len

cdef class AppCore
cdef class Life

# What all streams of the facade share: names, waiting, closing.
cdef class AioStream(RpcCore):
    cdef AppCore app
    cdef Life life               # of the connection, when it may have several
    cdef readonly object name    # str, or None for a stream without a name
    cdef object handler          # of an incoming stream
    cdef bint above              # the send queue is above the high watermark
    cdef bint finished           # this side will send no more
    cdef bint ours               # this side closed both directions, before the peer ended any
    cdef bint deaf               # this side asked for no more, before the peer ended its side
    cdef bint given_up           # this side could not go on with what came: reset_code is why
    cdef int64_t reset_code      # of the peer's RESET_STREAM, -1
    cdef int64_t stop_code       # of the peer's STOP_SENDING, -1
    cdef int64_t close_code      # of the end of the stream, 0: in order
    cdef bint paused
    cdef object native           # capsule of the functions that take its events
    cdef list open_waiters
    cdef list read_waiters
    cdef list write_waiters
    cdef list close_waiters
    cdef int stop_reading(self) except -1
    cdef int wake_all(self) except -1
    cdef int look_ahead(self) except -1
    cdef bint is_lost(self) noexcept
    cdef object lost(self)
    cdef int queue(self, object data) except -1
    cdef object send_failure(self, int rc, str what)
    cdef object read_failure(self)
    cdef int pause(self) except -1
    cdef int resume(self) except -1

cdef class BaseStream(AioStream):
    cdef object records          # deque of bytes
    cdef size_t held             # bytes in it
    cdef object take(self)

cdef class BaseRawStream(AioStream):
    cdef ByteBuf buf
    cdef object block            # whose memory buf.p is
    cdef size_t usual            # what the last block held: the next one is as large at once
    cdef bint shared             # views of it were given away: what was read is not written over
    cdef size_t want             # a reader needs this much at once: do not pause below it
    cdef int room(self, size_t n) except -1
    cdef int read_done(self, size_t n) except -1
    cdef bytes take(self, size_t n)
