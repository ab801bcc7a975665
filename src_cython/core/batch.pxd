# batch.pxd: what is done once for many events.

# Put into Loop.batches while events are dispatched; run at the end of that.
cdef class Batch:
    cdef int run(self, Loop loop) except -1
