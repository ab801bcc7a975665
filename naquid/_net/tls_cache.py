"""TLS contexts of clients, kept: making one parses certificates and takes longer than a handshake. A context itself
reads files anew that have changed; that it is another one then tells who calls what is wrong with them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .. import _naquid

__all__ = ["client_context"]

Blob = str | os.PathLike[str] | bytes
Password = str | bytes | Callable[[], str | bytes]

KEPT = 64
ALPN = ("nq/1",)

_contexts: OrderedDict[tuple[Any, ...], _naquid.Tls] = OrderedDict()
_lock = threading.RLock()  # a finalizer that the garbage collector runs may connect, too


def client_context(
    *,
    ca: Blob | None = None,
    insecure: bool = False,
    cert: Blob | None = None,
    key: Blob | None = None,
    password: Password | None = None,
    alpn: tuple[str, ...] = ALPN,
    groups: str | None = None,
    ciphersuites: str | None = None,
    keylog: str | os.PathLike[str] | None = None,
) -> _naquid.Tls:
    """A client's context with these settings, which are those of `naquid.TlsConfig`. A file that was changed, or
    replaced by another, is read again. Raises ConfigError; MemoryError, or OSError when no descriptor is left."""
    known = (
        _identity(cert),
        _identity(key),
        bytes(password) if isinstance(password, (bytearray, memoryview)) else password,
        _identity(ca),
        insecure,
        alpn,
        groups,
        ciphersuites,
        _log(keylog),
        (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")) if ca is None else None,
    )
    with _lock:
        found = _contexts.get(known)
        if found is not None:
            _contexts.move_to_end(known)
            return found
    made = _naquid.Tls(
        server=False,
        cert=cert,
        key=key,
        ca=ca,
        insecure=insecure,
        alpn=alpn,
        groups=groups,
        ciphersuites=ciphersuites,
        keylog=keylog,
        password=password,
    )
    with _lock:
        _contexts[known] = made
        while len(_contexts) > KEPT:
            _contexts.popitem(last=False)
    return made


def _log(keylog: str | os.PathLike[str] | None) -> str | None:
    """The file's whole path: a relative name means the folder of now. None: there is no key log."""
    name = os.environ.get("SSLKEYLOGFILE") if keylog is None else os.fspath(keylog)
    return os.path.abspath(name) if name else None


def _identity(blob: Blob | None) -> object:
    """What tells a certificate or key from another one: its text, or its file and that file's state."""
    if blob is None or isinstance(blob, bytes):
        return blob
    if isinstance(blob, (bytearray, memoryview)):
        return bytes(blob)
    if isinstance(blob, str) and "-----BEGIN " in blob:
        return blob
    try:
        state = os.stat(blob)
    except (OSError, ValueError, TypeError):
        return object()  # not kept under any name; reading it says what is wrong
    return os.fspath(blob), state.st_mtime_ns, state.st_size, state.st_ino, state.st_dev
