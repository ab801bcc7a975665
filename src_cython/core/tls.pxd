# tls.pxd: TLS contexts.
cdef class Tls:
    cdef nq_tls *t
