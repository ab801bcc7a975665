# limits.pxd: the engine's limits.
cdef class EngineLimits:
    cdef nq_limits values
