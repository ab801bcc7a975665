# raw_stream.pxd: raw streams of the asyncio facade.

# Received bytes in a block that grows, which is a bytes object that nobody else sees.
cdef struct ByteBuf:
    uint8_t *p                       # The memory of the block.
    size_t cap                       # The size of the block.
    size_t head                      # Where the bytes begin that were not read.
    size_t len                       # The number of those bytes.

cdef class BaseRawStream(AioStream):
    cdef ByteBuf buf                 # The bytes that were not read.
    cdef object block                # The bytes object whose memory that is.
    # The number of bytes that the last block held. The next block has room for as many at once.
    cdef size_t usual
    cdef bint shared                 # Views of the block were given away, so that what was read is not written over.
    cdef size_t want                 # The number of bytes that a reader needs at once. Receiving goes on up to it.
    cdef int room(self, size_t n) except -1  # Makes room for n bytes more.
    cdef int read_done(self, size_t n) except -1  # The first n bytes were read.
    cdef bytes take(self, size_t n)
