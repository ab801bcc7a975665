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
    raw = path_bytes(source, "a certificate, key or ca must be a path, PEM or DER bytes")
    keep.append(raw)
    b.path = PyBytes_AS_STRING(raw)
    return 0


cdef bytes path_bytes(object source, str what):
    """A path as the system takes it, from the root: it is opened again when the file has changed, and the program may
    have another working directory then."""
    cdef bytes raw
    try:
        raw = os.fsencode(source)
    except TypeError:
        raise errors.ConfigError(f"{what}, not {type(source).__name__}") from None
    except UnicodeEncodeError:
        raise errors.ConfigError(f"{what}; {source!r:.200} cannot be the name of a file") from None
    if b"\0" in raw:
        raise errors.ConfigError(f"{what}; there is a NUL in {source!r:.200}")
    if raw and not raw.startswith(b"/"):
        try:
            raw = os.path.join(os.getcwdb(), raw)
        except OSError:  # the working directory is gone: what is relative to it is not found
            pass
    return raw


cdef bytes text_bytes(object text, str what):
    """A str for the engine, which ends strings by a NUL."""
    cdef bytes raw
    if not isinstance(text, str):
        raise errors.ConfigError(f"{what} is {text!r:.80}: it must be a str, not {type(text).__name__}")
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise errors.ConfigError(f"{what} is {text!r:.80}: it has characters that are none") from None
    if b"\0" in raw:
        raise errors.ConfigError(f"{what} is {text!r:.80}: there is a NUL in it")
    return raw


cdef bytes password_bytes(object password):
    """password: str, bytes, or a callable without arguments that returns one of these."""
    if callable(password):
        password = password()
    if isinstance(password, str):
        try:
            return password.encode()
        except UnicodeEncodeError:
            raise errors.ConfigError("the password has characters that are none; give it as bytes") from None
    if isinstance(password, (bytes, bytearray, memoryview)):
        return bytes(password)
    raise errors.ConfigError("password must be a str, bytes or a callable that returns one of these, not "
                             f"{type(password).__name__}")


cdef class Tls:
    """A TLS 1.3 context. cert, key, ca: path, PEM bytes, DER bytes or PKCS#12; ca may be a directory, too. password: of
    an encrypted key or PKCS#12, a str, bytes, or a callable that returns one of these and is called once. alpn: names
    in order of preference.

    Files are read here, and again before a handshake when they have changed; see `trouble`. Without `ca` a client
    trusts the system's roots. insecure: a client accepts any certificate. Raises
    errors.ConfigError with what is wrong and with which file; MemoryError, or OSError when no descriptor is left.
    """

    def __init__(self, *, bint server, cert=None, key=None, ca=None, bint insecure=False, bint verify_client=False,
                 alpn=(b"nq/1",), groups=None, ciphersuites=None, keylog=None, password=None):
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
        if password is not None:
            text = password_bytes(password)
            keep.append(text)
            o.password = PyBytes_AS_STRING(text)
            o.password_len = PyBytes_GET_SIZE(text)
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
            text = text_bytes(groups, "groups")
            keep.append(text)
            o.groups = text
        if ciphersuites is not None:
            text = text_bytes(ciphersuites, "ciphersuites")
            keep.append(text)
            o.ciphersuites = text
        if keylog is not None:
            text = path_bytes(keylog, "keylog must be a path")
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
        self.insecure = insecure

    def __dealloc__(self):
        en.nq_tls_unref(self.t)

    @property
    def server(self):
        """True for a server's context."""
        return self.t != NULL and en.nq_tls_is_server(self.t) != 0

    @property
    def trouble(self):
        """Why files that have changed could not be used when a handshake began last, a sentence; "" when they are."""
        cdef char said[512]
        if self.t == NULL:
            return ""
        en.nq_tls_trouble(self.t, said, sizeof(said))
        return (<bytes>said).decode("utf-8", "replace")


cdef str trouble_news(Tls tls):
    """As Tls.trouble, and once for each; None when there is nothing to tell."""
    cdef char said[512]
    if tls is None or tls.t == NULL or not en.nq_tls_trouble_news(tls.t, said, sizeof(said)):
        return None
    return (<bytes>said).decode("utf-8", "replace")


cdef int on_name(void *u, int kind, const uint8_t *name, size_t n) noexcept with gil:
    try:
        (<list>u).append((kind, PyBytes_FromStringAndSize(<const char *>name, <Py_ssize_t>n)))
    except MemoryError:
        return -1
    return 0


def certificate_names(bytes der):
    """The names that a certificate (DER) is for, as pairs: the kind ("common", "dns", "ip", "email", "uri") and the
    bytes of the name, of an address 4 or 16. Common names first. Raises ValueError when it is none."""
    cdef list found = []
    cdef dict kinds = {en.NQ_TLS_NAME_COMMON: "common", en.NQ_TLS_NAME_DNS: "dns", en.NQ_TLS_NAME_IP: "ip",
                       en.NQ_TLS_NAME_EMAIL: "email", en.NQ_TLS_NAME_URI: "uri"}
    if en.nq_tls_names(<const uint8_t *>PyBytes_AS_STRING(der), len(der), on_name, <void *>found) != 0:
        raise ValueError("this is no certificate in DER, or its names cannot be read")
    return [(kinds[kind], name) for kind, name in found]
