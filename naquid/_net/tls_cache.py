"""TLS contexts of clients, kept: making one parses certificates and takes longer than a handshake. A context itself
reads files anew that have changed; that it is another one then tells who calls what is wrong with them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Any

from .. import _naquid
from ..config import Blob, TlsConfig

__all__ = ["client_context"]

KEPT = 64

_contexts: OrderedDict[tuple[Any, ...], _naquid.Tls] = OrderedDict()
_lock = threading.Lock()


def client_context(settings: TlsConfig, ca: Blob | None, insecure: bool) -> _naquid.Tls:
    """The context for these settings; `ca` goes before theirs. A file that was changed, or replaced by another, is read
    again. Raises ConfigError."""
    if ca is None:
        ca = settings.ca
    key = (
        _identity(settings.cert),
        _identity(settings.key),
        settings.password,
        _identity(ca),
        insecure,
        settings.alpn,
        settings.groups,
        settings.ciphersuites,
        settings.keylog,
        os.environ.get("SSLKEYLOGFILE") if settings.keylog is None else None,
        (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")) if ca is None else None,
    )
    with _lock:
        found = _contexts.get(key)
        if found is not None:
            _contexts.move_to_end(key)
            return found
    made = _naquid.Tls(
        server=False,
        cert=settings.cert,
        key=settings.key,
        ca=ca,
        insecure=insecure,
        alpn=settings.alpn,
        groups=settings.groups,
        ciphersuites=settings.ciphersuites,
        keylog=settings.keylog,
        password=settings.password,
    )
    with _lock:
        _contexts[key] = made
        while len(_contexts) > KEPT:
            _contexts.popitem(last=False)
    return made


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
