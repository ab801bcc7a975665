# buffers.pxd: bytes that were received.

# What a view of received bytes shows: some bytes of a block, which stay as they are.
cdef class ReceivedBytes:
    cdef object block
    cdef const uint8_t *p
    cdef Py_ssize_t n
