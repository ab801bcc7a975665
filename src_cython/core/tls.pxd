# tls.pxd: TLS contexts.
cdef class Tls:
    cdef en.nq_tls *t
    cdef readonly bint insecure  # a client that accepts any certificate
