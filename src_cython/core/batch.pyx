# batch.pyx: what is done once for many events.
# needs: core/loop

cdef class Batch:
    cdef int run(self, Loop loop) except -1:
        return 0
