# tls.pxd: TLS contexts and limits.
cdef class Tls:
    cdef nq_tls *t

cdef class EngineLimits:
    cdef nq_limits values
