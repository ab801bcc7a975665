# limits.pxd: the engine's limits.
cdef class EngineLimits:
    cdef en.nq_limits values
