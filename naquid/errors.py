"""The one tree of exceptions. `Error` is the root of all; messages say what happened and what to do."""

from __future__ import annotations

import builtins
import errno

from ._naquid import (
    CODE_FRAME_ERROR,
    CODE_OVERLOAD,
    CODE_TOO_BIG,
    CODE_UNKNOWN_PROTOCOL,
    ETOOBIG,
    WHY_APP,
    WHY_HANDSHAKE_TIMEOUT,
    WHY_IDLE,
    WHY_RESET,
    WHY_TLS,
    WHY_TRANSPORT,
    WHY_VERSION,
)

__all__ = [
    "CallTimeout",
    "ConfigError",
    "ConnectionError",
    "ConnectionLost",
    "ConnectionReset",
    "Error",
    "HandshakeFailed",
    "IdleTimeout",
    "MessageTooBig",
    "QueueFull",
    "ResolveError",
    "RpcError",
    "StreamClosed",
    "StreamError",
    "StreamRefused",
    "StreamReset",
]


class Error(Exception):
    """Root of every exception of naquid."""


class ConfigError(Error, ValueError):
    """A configuration, certificate or argument at construction is wrong; the message names it."""


class ResolveError(Error, OSError):
    """A host name could not be resolved."""


class MessageTooBig(Error, ValueError):
    """A message is above `Limits.max_message_size`, or a datagram above `Connection.max_datagram_size`."""


class QueueFull(Error, BufferError):
    """Too much waits to be sent: `Limits.max_send_queue`, `max_pending_calls` or `max_pending_opens`."""


class ConnectionError(Error, builtins.ConnectionError):
    """A connection could not be made, or is gone.

    Attributes:
        code: the error code (RFC 9000 20), or None when there was none.
        errno: what the system said, as `errno.ECONNREFUSED`, or None when it was not the system.
        reason: the reason text that came with it, "" when none did.
        remote: True when the peer ended the connection.
    """

    code: int | None
    reason: str
    remote: bool

    def __init__(self, message: str, *, code: int | None = None, reason: str = "", remote: bool = False) -> None:
        super().__init__(message)
        self.code = None if code is None else _number(code)
        self.reason = reason
        self.remote = remote


class HandshakeFailed(ConnectionError):
    """No connection came about: refused certificate, no common version or ALPN, no answer in time.

    Attributes:
        alert: the TLS alert's number (RFC 8446 6), or None when TLS was not the cause.
    """

    alert: int | None

    def __init__(
        self, message: str, *, alert: int | None = None, code: int | None = None, reason: str = "", remote: bool = False
    ) -> None:
        super().__init__(message, code=code, reason=reason, remote=remote)
        self.alert = alert


class ConnectionLost(ConnectionError):
    """An established connection ended, or the stream of a call did."""


class ConnectionReset(ConnectionLost, builtins.ConnectionResetError):
    """What `StreamReader` and `StreamWriter` raise where a raw stream raises StreamReset (then `code` is its code) or
    StreamClosed: the error that asyncio's users know from TCP. Only the stream has ended for certain."""


class IdleTimeout(ConnectionLost):
    """Nothing came from the peer for the idle timeout (RFC 9000 10.1)."""


class StreamError(Error):
    """A stream does not take or give any more."""


class StreamReset(StreamError):
    """The peer ended its sending side (RESET_STREAM) or asked this side to stop (STOP_SENDING).

    Or this side could not go on with what the peer had sent, and ended the stream: the message says so.

    Attributes:
        code: the application's error code.
    """

    code: int

    def __init__(self, code: int, message: str = "the peer reset this stream") -> None:
        self.code = _number(code)
        super().__init__(f"{message} (code {self.code:#x})")
        self._message = message

    def __reduce__(self) -> tuple[type[StreamReset], tuple[int, str]]:
        return type(self), (self.code, self._message)


class StreamRefused(StreamReset):
    """The peer has no handler for a stream that this side opened: none of its name, or none for streams without one.

    It comes with the first answer of the peer, so not from opening the stream but from what is done with it next. What
    was sent was not handled.

    Attributes:
        name: the name of the stream, None when it has none.
        code: 2, `Code.UNKNOWN_PROTOCOL`.
    """

    name: str | None

    def __init__(self, name: str | None) -> None:
        if name is None:
            what = (
                "the peer takes no streams of bare bytes without a name; give it a raw_stream handler (uni_stream for "
                "unidirectional ones), or open a stream of a name that it has"
            )
        else:
            what = (
                f"the peer has no handler of the name {name!r}, or one of another kind or ALPN name; compare it with "
                "the names that the handlers of the other side have"
            )
        super().__init__(CODE_UNKNOWN_PROTOCOL, what)
        self.name = name

    def __reduce__(self) -> tuple[type[StreamRefused], tuple[str | None]]:  # type: ignore[override]
        return type(self), (self.name,)


class StreamClosed(StreamError):
    """This side has closed the stream, so it cannot be used any more."""


class RpcError(Error):
    """An error reply. Raise it in a request handler to send one; `Rpc.call` raises it when one comes.

    Attributes:
        payload: bytes of the reply.
        code: negative result; -7 (naquid.EUSER) unless the handler chose another. naquid.ETOOBIG: the request, or the
            reply that the handler gave, is above the peer's `Limits.max_message_size`.
    """

    payload: bytes
    code: int

    def __init__(self, payload: bytes = b"", code: int = -7) -> None:
        if isinstance(code, bool) or not isinstance(code, int):
            raise TypeError(f"the code of an RpcError is an int, not {type(code).__name__}")
        code = int(code)  # of an enum the number
        if not -32768 <= code < 0:
            raise ValueError(f"the code of an RpcError is -32768 to -1, not {code}")
        payload = bytes(memoryview(payload))  # no int, no list
        said = "a message above the peer's Limits.max_message_size" if code == ETOOBIG and not payload else None
        super().__init__(f"error reply {code}: {said or repr(payload[:64])}")
        self.payload = payload
        self.code = code

    def __reduce__(self) -> tuple[type[RpcError], tuple[bytes, int]]:
        return type(self), (self.payload, self.code)


class CallTimeout(Error, TimeoutError):
    """No reply came in time. The request may have been handled all the same."""


def _number(code: int) -> int:
    """A code as a plain int: of an enum the number. Raises TypeError."""
    if isinstance(code, bool) or not isinstance(code, int):
        raise TypeError(f"an error code is an int, not {type(code).__name__}")
    return int(code)


_TRANSPORT_CODES = (
    *("NO_ERROR", "INTERNAL_ERROR", "CONNECTION_REFUSED", "FLOW_CONTROL_ERROR", "STREAM_LIMIT_ERROR"),
    *("STREAM_STATE_ERROR", "FINAL_SIZE_ERROR", "FRAME_ENCODING_ERROR", "TRANSPORT_PARAMETER_ERROR"),
    *("CONNECTION_ID_LIMIT_ERROR", "PROTOCOL_VIOLATION", "INVALID_TOKEN", "APPLICATION_ERROR"),
    *("CRYPTO_BUFFER_EXCEEDED", "KEY_UPDATE_ERROR", "AEAD_LIMIT_REACHED", "NO_VIABLE_PATH"),
)

APPLICATION_ERROR = _TRANSPORT_CODES.index("APPLICATION_ERROR")

# What to do about a TLS alert (RFC 8446 6.2) that this side raised, and about one that the peer did.
_ADVICE = {
    40: "compare TlsConfig.groups and ciphersuites of both sides",
    45: "renew the certificate, or set this machine's clock",
    48: "give ca= (a command: --ca) the certificate of the authority that signed it",
    120: "both sides need an ALPN name in common: alpn= of connect(), TlsConfig.alpn, the names given to serve()",
}
_ADVICE_REMOTE = {
    40: _ADVICE[40],
    42: "the peer does not accept the certificate of this side",
    45: "the peer says that this side's certificate has expired: renew it",
    48: "the peer does not trust who signed this side's certificate",
    116: "the server wants a certificate: set cert and key of TlsConfig",
    120: _ADVICE[120],
}


def from_close(why: int, code: int, reason: str, remote: bool, established: bool) -> ConnectionError:
    """The exception for the end of a connection, from the engine's CONN_CLOSE event."""
    who = "the peer" if remote else "this side"
    tail = f": {reason}" if reason else ""
    if why == WHY_IDLE and established:
        return IdleTimeout(
            "nothing came from the peer for the idle timeout; set keep_alive if the connection should stay open",
            reason=reason,
        )
    if why == WHY_TLS:
        alert = code - 0x100
        text = f"the TLS handshake failed{tail or f': alert {alert}'}" + (" (reported by the peer)" if remote else "")
        if not remote and "certificate is not for" in reason:
            text += "; connect by a name that is in the certificate, or set ClientConfig.server_name"
        elif advice := (_ADVICE_REMOTE if remote else _ADVICE).get(alert):
            text += f"; {advice}"
        if established:
            return ConnectionLost(text, code=code, reason=reason, remote=remote)
        return HandshakeFailed(text, alert=alert, code=code, reason=reason, remote=remote)
    if why == WHY_APP:
        text = f"{who} closed the connection (application code {code:#x}){tail}"
    elif why == WHY_TRANSPORT:
        name = f"{_TRANSPORT_CODES[code]}, " if code < len(_TRANSPORT_CODES) else ""
        text = f"{who} ended the connection with QUIC error {name}{code:#x} (RFC 9000 20.1){tail}"
        if remote and code == 2:
            text = f"the peer takes no new connections ({name}{code:#x}): it is full or shuts down; try later{tail}"
    elif why in (WHY_HANDSHAKE_TIMEOUT, WHY_IDLE):
        text = "no answer within the handshake timeout: is a QUIC server listening there, and is UDP let through?"
    elif why == WHY_RESET:
        text = "the peer no longer knows this connection (stateless reset); it was restarted"
    elif why == WHY_VERSION:
        text = "no common QUIC version with the peer: it needs 1 or 2 (RFC 9000, RFC 9369)"
    elif code:
        text = ("the connection was lost: " if established else "no connection came about: ") + reason
        return _from_system(ConnectionLost if established else HandshakeFailed, text, code, reason)
    else:
        text = f"the system failed{tail}"
    if established:
        return ConnectionLost(text, code=code, reason=reason, remote=remote)
    return HandshakeFailed(text, code=code, reason=reason, remote=remote)


def _from_system(kind: type[ConnectionError], text: str, number: int, reason: str) -> ConnectionError:
    error = kind(text, reason=reason)
    error.errno = number
    return error


def from_failed_accept(why: int, code: int, reason: str, remote: bool) -> HandshakeFailed:
    """The exception for a client that began to connect to this server, when no connection came about."""
    if why in (WHY_HANDSHAKE_TIMEOUT, WHY_IDLE):
        return HandshakeFailed(
            "the client did not complete the handshake within the handshake timeout: its packets, or those to it, are "
            "lost on the way, or its address is not its own",
            reason=reason,
        )
    if remote and (why == WHY_APP or (why == WHY_TRANSPORT and code in (0, APPLICATION_ERROR))):
        tail = f": {reason}" if reason else ""
        return HandshakeFailed(f"the client gave up during the handshake{tail}", code=code, reason=reason, remote=True)
    error = from_close(why, code, reason, remote, False)
    return error if isinstance(error, HandshakeFailed) else HandshakeFailed(str(error), code=code, reason=reason)


# Why this side gave a stream up, by the codes that it sends then.
_GIVEN_UP = {
    CODE_FRAME_ERROR: "what the peer sent is no message of this kind of stream",
    CODE_TOO_BIG: "the peer sent a message above this side's Limits.max_message_size",
    CODE_OVERLOAD: "this side had no memory for what came, or Limits.max_assembly was reached",
}


def given_up(code: int) -> str:
    """Why this side ended a stream that the peer had not ended."""
    return _GIVEN_UP.get(code, "this side could not go on with what came") + "; this side ended the stream"


def unresolved(host: str, error: OSError, advice: str) -> ResolveError:
    """The exception for a name that could not be resolved, and what to do. A lack of descriptors keeps its number."""
    text = f"the name {host!r} could not be resolved ({error}): "
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return ResolveError(error.errno, text + "close what is not needed, or raise the limit (ulimit -n)")
    return ResolveError(text + advice)


def again(error: BaseException) -> BaseException:
    """A new exception that says the same: one for each place that raises it."""
    if isinstance(error, ConnectionError):
        copy = type(error)(str(error), code=error.code, reason=error.reason, remote=error.remote)
        if isinstance(error, HandshakeFailed) and isinstance(copy, HandshakeFailed):
            copy.alert = error.alert
        copy.errno = error.errno
        copy.__cause__ = error.__cause__
        return copy
    return error
