# buffers.pxd: memory of the user's objects, and bytes that were received.

# A buffer of the user's that is looked at: from view_get to view_done.
cdef struct View:
    const uint8_t *p
    size_t n
    bint held      # by the buffer protocol: `buf` is to be released
    Py_buffer buf

# What a view of received bytes shows: some bytes of a block, which stay as they are.
cdef class ReceivedBytes:
    cdef object block
    cdef const uint8_t *p
    cdef Py_ssize_t n
