# tls.pxd: TLS contexts.
cdef class Tls:
    cdef en.nq_tls *t
