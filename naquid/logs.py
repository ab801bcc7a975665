"""What handlers raise, and how connections begin and end, in the logger `naquid` and its children.

A flood of failures must not become a flood of records: of those that are alike the first is logged when it comes, and
how many followed when the second is over, which begins the next. The table of those that came lately is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection import Connection
    from .errors import HandshakeFailed
    from .raw_stream import RawStream
    from .rpc import Rpc
    from .stream import Stream

__all__ = ["ErrorInfo", "Failures", "name_of"]

logger = logging.getLogger("naquid")
life = logging.getLogger("naquid.connection")
"""Connections that begin, end or do not come about: of level INFO."""

WINDOW = 1.0
"""Seconds in which those that are alike are one record."""
MOST = 256
"""Kinds of failures that are told apart in that time; all others count as one."""

OUTER = 8
"""The lines of a traceback that tell two failures apart, before the one in which it was raised."""

ErrorHandler = Callable[[Exception, "ErrorInfo"], Any]
HandshakeHandler = Callable[[tuple[str, int], "HandshakeFailed"], Any]


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Where a handler raised: the second argument of `Handlers.on_error`."""

    conn: Connection
    """The connection that the handler was called for."""
    stream: Rpc | Stream | RawStream | None
    """Its stream; None: it was a handler of datagrams or of the connection itself."""
    type: int | None
    """The type of the request or notification; None: it was another kind of handler, or one of a batch."""
    handler: object
    """The handler that raised."""

    def __str__(self) -> str:
        parts = [f"peer {_address(self.conn)}"]
        if self.stream is not None:
            name = "without a name" if self.stream.name is None else repr(self.stream.name)
            number = self.stream.stream_id
            parts.append(f"stream {name}" + (f" (ID {number})" if number >= 0 else ""))
        if self.type is not None:
            parts.append(f"type {self.type}")
        return ", ".join(parts)


def _address(conn: Connection) -> str:
    address = conn.remote_address
    return "unknown" if address is None else where(address)


def where(address: tuple[str, int]) -> str:
    """An address as it is written: "192.0.2.1:443", "[2001:db8::1]:443"."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def name_of(handler: object) -> str:
    """How a message names a handler: "chat.join", and of a coroutine the function that it is of."""
    name = getattr(handler, "__qualname__", None)
    if name is None:
        return repr(handler)
    module = getattr(handler, "__module__", None)
    return name if module is None else f"{module}.{name}"


class _Seen:
    """Those that are alike, in this second."""

    __slots__ = ("level", "logger", "more", "text", "timer")

    def __init__(self, text: str, level: int, logger: logging.Logger, timer: asyncio.TimerHandle | None) -> None:
        self.text = text
        self.level = level
        self.logger = logger
        self.timer = timer
        self.more = 0


class Failures:
    """What failed lately in one event loop, by whose clock the seconds pass."""

    __slots__ = ("_loop", "_seen")

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._seen: dict[Hashable, _Seen] = {}

    def is_first(self, key: Hashable, text: str, level: int = logging.ERROR, where: logging.Logger = logger) -> bool:
        """Whether this one is to be logged. Else it is counted, and `text` says of how many more it was."""
        if key not in self._seen and len(self._seen) >= MOST:
            key, text, level, where = None, "failures of other kinds", logging.ERROR, logger
        seen = self._seen.get(key)
        if seen is not None:
            seen.more += 1
            return False
        self._seen[key] = _Seen(text, level, where, self._later(key))
        return True

    def _later(self, key: Hashable) -> asyncio.TimerHandle | None:
        if self._loop is None or self._loop.is_closed():
            return None  # what is counted is told by close()
        return self._loop.call_later(WINDOW, self._over, key)

    def _over(self, key: Hashable) -> None:
        seen = self._seen.pop(key)
        if seen.more:
            self._tell(seen)
            self._seen[key] = _Seen(seen.text, seen.level, seen.logger, self._later(key))

    def _tell(self, seen: _Seen) -> None:
        extra = {"naquid_count": seen.more}
        seen.logger.log(seen.level, "%d more within %g s: %s", seen.more, WINDOW, seen.text, extra=extra)

    def close(self) -> None:
        """The event loop needs naquid no more: what was counted is told now."""
        seen, self._seen = self._seen, {}
        for each in seen.values():
            if each.timer is not None:
                each.timer.cancel()
            if each.more:
                self._tell(each)

    def handler_failed(self, error: BaseException, handler: object, place: str, info: ErrorInfo | None) -> None:
        """Logs what a handler raised. place: for whom it was called."""
        kind, path = type(error), _path(error.__traceback__)
        name = name_of(handler)
        line = "{}, line {}".format(*path[-1]) if path else "no traceback"
        if self.is_first((kind, name, path), f"{kind.__qualname__} in handler {name} ({line})"):
            stream = None if info is None else info.stream
            logger.error(
                "handler %s failed: %s: %s; %s",
                name,
                kind.__qualname__,
                error,
                place,
                exc_info=(kind, error, error.__traceback__),
                extra={
                    "naquid_peer": None if info is None else info.conn.remote_address,
                    "naquid_stream": None if stream is None else stream.name,
                    "naquid_stream_id": None if stream is None else stream.stream_id,
                    "naquid_type": None if info is None else info.type,
                },
            )


def _path(trace: TracebackType | None) -> tuple[tuple[str, int], ...]:
    """The files and lines of the way to where it was raised: the first ones, and the last."""
    path: list[tuple[str, int]] = []
    while trace is not None:
        if len(path) < OUTER or trace.tb_next is None:
            path.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return tuple(path)


def handler_failed(
    failures: Failures,
    on_error: ErrorHandler | None,
    error: Exception,
    conn: Connection,
    stream: Rpc | Stream | RawStream | None,
    type: int | None,
    handler: object,
) -> Coroutine[Any, Any, None] | None:
    """A handler raised: it is logged, and told to `Handlers.on_error`. Returns what is to run as a task."""
    info = ErrorInfo(conn, stream, type, handler)
    failures.handler_failed(error, handler, str(info), info)
    return None if on_error is None else _call(failures, on_error, (error, info), str(info), info)


def handshake_failed(
    failures: Failures,
    on_handshake_failed: HandshakeHandler | None,
    address: tuple[str, int],
    error: HandshakeFailed,
) -> Coroutine[Any, Any, None] | None:
    """A client began to connect, and no connection came about: it is logged, and told to
    `Handlers.on_handshake_failed`. Returns what is to run as a task."""
    if life.isEnabledFor(logging.INFO):
        text = f"handshakes failed: {error}"
        if failures.is_first(("handshake", error.code, str(error)), text, logging.INFO, life):
            life.info("handshake with %s failed: %s", where(address), error)
    if on_handshake_failed is None:
        return None
    return _call(failures, on_handshake_failed, (address, error), f"peer {where(address)}", None)


def _call(
    failures: Failures, handler: Callable[..., Any], arguments: tuple[Any, ...], place: str, info: ErrorInfo | None
) -> Coroutine[Any, Any, None] | None:
    """Calls a handler whose own failure is logged and no more. Returns what is to run as a task."""
    try:
        result = handler(*arguments)
    except Exception as another:
        failures.handler_failed(another, handler, place, info)
        return None
    return _finish(failures, result, handler, place, info) if asyncio.iscoroutine(result) else None


async def _finish(
    failures: Failures, result: Coroutine[Any, Any, Any], handler: object, place: str, info: ErrorInfo | None
) -> None:
    try:
        await result
    except Exception as another:
        failures.handler_failed(another, handler, place, info)


def connection_opened(conn: Connection) -> None:
    """A handshake was completed."""
    life.info("connection %s opened: %s, %s", _whose(conn), conn.alpn, conn._fact("cipher"))


def connection_lost(conn: Connection, error: Exception | None) -> None:
    """A connection that is to come back was lost."""
    life.info("connection %s lost: %s; it is to come back", _whose(conn), error)


def connection_closed(conn: Connection, error: Exception | None) -> None:
    """A connection has ended for good."""
    life.info("connection %s closed: %s", _whose(conn), "in order" if error is None else error)


def _whose(conn: Connection) -> str:
    return f"{'to' if conn.is_client else 'from'} {_address(conn)}"
