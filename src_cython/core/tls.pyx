# tls.pyx: TLS contexts.
# needs: core/errors

cdef int blob_set(en.nq_tls_blob *b, object source, list keep) except -1:
    """source: None, a path (str or PathLike), PEM text as str, or PEM or DER as bytes. keep holds what b points at."""
    cdef bytes raw
    b.path = NULL
    b.data = NULL
    b.len = 0
    if source is None:
        return 0
    if isinstance(source, str) and "-----BEGIN " in source:
        source = source.encode()
    if isinstance(source, (bytes, bytearray, memoryview)):
        raw = bytes(source)
        if not raw:
            raise errors.ConfigError("a certificate, key or ca is an empty bytes object: give PEM or DER bytes, "
                                     "or a path")
        keep.append(raw)
        b.data = <const uint8_t *>PyBytes_AS_STRING(raw)
        b.len = PyBytes_GET_SIZE(raw)
        return 0
    try:
        raw = os.fsencode(source)
    except TypeError:
        raise errors.ConfigError("a certificate, key or ca must be a path, PEM or DER bytes, not "
                                 f"{type(source).__name__}") from None
    keep.append(raw)
    b.path = PyBytes_AS_STRING(raw)
    return 0


cdef class Tls:
    """A TLS 1.3 context. cert, key, ca: path, PEM bytes or DER bytes. alpn: names in order of preference.

    Without `ca` a client trusts the system's roots. insecure: a client accepts any certificate. Raises
    errors.ConfigError with what is wrong and with which file; MemoryError, or OSError when no descriptor is left.
    """

    def __init__(self, *, bint server, cert=None, key=None, ca=None, bint insecure=False, bint verify_client=False,
                 alpn=(b"nq/1",), groups=None, ciphersuites=None, keylog=None):
        cdef en.nq_tls_options o
        cdef char err[512]
        cdef list keep = []
        cdef bytes wire = b""
        cdef bytes text
        cdef int rc
        memset(&o, 0, sizeof(o))
        memset(err, 0, sizeof(err))
        o.server = server
        blob_set(&o.cert, cert, keep)
        blob_set(&o.key, key, keep)
        blob_set(&o.ca, ca, keep)
        o.insecure = insecure
        o.verify_client = verify_client
        for name in alpn:
            name = name.encode() if isinstance(name, str) else bytes(name)
            if not 1 <= len(name) <= 255:
                raise errors.ConfigError("an ALPN name must be 1 to 255 bytes long")
            wire += bytes([len(name)]) + name
        o.alpn = <const uint8_t *>PyBytes_AS_STRING(wire)
        o.alpn_len = len(wire)
        if groups is not None:
            text = groups.encode()
            keep.append(text)
            o.groups = text
        if ciphersuites is not None:
            text = ciphersuites.encode()
            keep.append(text)
            o.ciphersuites = text
        if keylog is not None:
            text = os.fsencode(keylog)
            keep.append(text)
            o.keylog_path = text
        if self.t != NULL:  # asked after the code of the paths' and names' own classes has run
            raise RuntimeError("a Tls is initialised once")
        rc = en.nq_tls_new(&self.t, &o, err, sizeof(err))
        if rc != 0:
            self.t = NULL
            said = (<bytes>err).decode("utf-8", "replace") or "the TLS context could not be made"
            if rc == ENOMEM:
                raise MemoryError(said)
            if rc > 0:
                raise no_descriptor(rc, said)
            raise errors.ConfigError(said)

    def __dealloc__(self):
        en.nq_tls_unref(self.t)

    @property
    def server(self):
        """True for a server's context."""
        return self.t != NULL and en.nq_tls_is_server(self.t) != 0
