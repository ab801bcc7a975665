"""A QUIC connection, of a client or of a server."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import socket
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from . import _naquid, event_loop
from .config import check_type
from .errors import ConnectionError, ConnectionLost, Error, StreamError
from .raw_stream import RawStream
from .reconnect import Reconnector
from .roaming import Tracker
from .rpc import Rpc
from .stream import Stream

__all__ = ["Connection", "ConnectionState", "ConnectionStats", "PeerName"]

_RAW, _RECORD, _RPC = 0, 1, 2
_S = TypeVar("_S", Rpc, Stream, RawStream)


class ConnectionState(enum.StrEnum):
    """Where a connection is in its life. A member is the string of its value too: `state == "open"`."""

    CONNECTING = "connecting"
    """A handshake is under way."""
    OPEN = "open"
    """The handshake is completed: it can be used."""
    WAITING = "waiting"
    """It was lost, and waits to be brought back (`ClientConfig.reconnect`). `Connection.error` tells why."""
    CLOSING = "closing"
    """This side closes it; what was queued is still sent."""
    CLOSED = "closed"
    """It has ended for good. `Connection.error` tells why."""


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """What a connection knows of itself. Times in seconds, sizes in bytes, since the handshake began."""

    smoothed_rtt: float
    """Round-trip time, smoothed (RFC 9002 5.3)."""
    latest_rtt: float
    """The newest sample of it."""
    min_rtt: float
    """The smallest sample."""
    rttvar: float
    """Its mean variation."""
    cwnd: int
    """The congestion window: bytes that may be under way."""
    bytes_in_flight: int
    """Bytes that were sent and are neither acknowledged nor lost."""
    packets_sent: int
    """QUIC packets; a UDP datagram holds one or, in the handshake, several."""
    packets_received: int
    """QUIC packets that could be decrypted."""
    packets_lost: int
    """QUIC packets taken for lost (RFC 9002 6.1); what they had of streams is sent again."""
    bytes_sent: int
    """UDP payload."""
    bytes_received: int
    """UDP payload."""
    bytes_lost: int
    """UDP payload of packets taken for lost."""
    streams: int
    """Streams that are open now, of both sides."""
    queued: int
    """Bytes in the send queues of its streams."""
    max_udp_payload: int
    """What one UDP datagram to the peer carries now (RFC 9000 14)."""
    version: int
    """The QUIC version: 1, or 0x6b3343cf for version 2 (RFC 9369)."""
    cipher: str
    """The TLS cipher suite, such as "TLS_AES_128_GCM_SHA256"."""
    group: str
    """The group of the key exchange, such as "X25519"."""


@dataclass(frozen=True, slots=True)
class PeerName:
    """Whom a verified certificate is for. Its text is the common name or, without one, the first of the others."""

    common_name: str
    """Of the certificate's subject, the most specific one; "" when it has none."""
    dns_names: tuple[str, ...]
    """Subject alternative names (RFC 5280 4.2.1.6) that are host names, as they stand there: "*.example.com"."""
    ip_addresses: tuple[str, ...]
    """Those that are addresses."""
    email_addresses: tuple[str, ...]
    """Those that are addresses of electronic mail."""
    uris: tuple[str, ...]
    """Those that are URIs, such as "spiffe://example.org/service"."""

    def __str__(self) -> str:
        others = (*self.dns_names, *self.uris, *self.email_addresses, *self.ip_addresses)
        return self.common_name or (others[0] if others else "")


def _names(certificate: bytes) -> PeerName | None:
    try:
        pairs = _naquid.certificate_names(certificate)
    except ValueError:
        return None
    found: dict[str, list[str]] = {kind: [] for kind in ("common", "dns", "ip", "email", "uri")}
    for kind, name in pairs:
        if kind == "ip":
            if len(name) in (4, 16):
                found[kind].append(socket.inet_ntop(socket.AF_INET if len(name) == 4 else socket.AF_INET6, name))
        else:
            found[kind].append(name.decode("utf-8", "backslashreplace"))
    return PeerName(
        found["common"][-1] if found["common"] else "",
        tuple(found["dns"]),
        tuple(found["ip"]),
        tuple(found["email"]),
        tuple(found["uri"]),
    )


class Connection(_naquid.BaseConnection):
    """A connection. `naquid.connect` makes one; a server's handlers get theirs.

    As an async context manager it closes in order at the end of the block.

    With `ClientConfig.reconnect` a client's connection object outlives the loss of its connection. What was under way
    is gone: streams and calls in flight raise ConnectionLost, so do datagrams and PINGs until it is back; opening a
    stream and new calls wait until then. `on_disconnect` and `on_connect` are called at each loss and each return.
    """

    __slots__ = ("_busy_poll", "_engine", "_known", "_peer", "_queues", "_reconnector", "_tracker")

    _engine: _naquid.Loop | None  # held since event_loop.acquire
    _busy_poll: int  # the argument of that call, which release() needs too
    _queues: set[asyncio.Queue[ConnectionState]]  # of the iterators that states() made
    _reconnector: Reconnector
    _tracker: Tracker | None  # what moves it when the network changes
    _known: dict[str, Any] | None  # _info() when last asked
    _peer: PeerName | None  # of a certificate that was looked at

    async def open_rpc(self, name: str, *, call_timeout: float | None = None) -> Rpc:
        """Opens an RPC stream of this name. Waits while the peer's stream limit is reached (RFC 9000 4.6).

        While the connection is being brought back it waits for that too.

        call_timeout: seconds, the default for its calls; None is the configuration's. Requests that the peer sends on
        it go to this side's handlers of the same name. A name the peer has no handler for shows at the first call,
        which raises StreamRefused. Raises ConnectionLost, QueueFull, ValueError for a name that is no name.
        """
        return await self._open(Rpc, _RPC, name, False, self._timeout(call_timeout))

    async def open_stream(self, name: str) -> Stream:
        """Opens a record stream of this name. The peer learns of it with the first record. Waits and raises as
        `open_rpc` does."""
        return await self._open(Stream, _RECORD, name, False, 0.0)

    async def open_raw_stream(self, name: str | None = None) -> RawStream:
        """Opens a bidirectional stream of bytes. Waits and raises as `open_rpc` does.

        With a name, the bytes follow that name on the wire, as the peer's `Handlers.raw_stream(name)` expects.
        Without one, it depends on what this connection is used for. When it has only raw streams (its handlers have no
        names, and no stream with a name was opened here), the stream carries bare bytes, which any QUIC implementation
        understands. When names are in use, it is carried under the reserved name "raw", which is where a naquid peer
        with named handlers has its raw stream handler. "" forces bare bytes.
        """
        if name is None:
            name = "raw" if self._named else ""
        return await self._open(RawStream, _RAW, name or None, False, 0.0)

    async def open_uni_stream(self) -> RawStream:
        """Opens a unidirectional stream: only this side sends, and there is never a name on it. Waits and raises as
        `open_rpc` does."""
        return await self._open(RawStream, _RAW, None, True, 0.0)

    async def ping(self) -> float:
        """Sends a PING (RFC 9000 19.2) and waits for its acknowledgement: the round trip in seconds. Raises
        ConnectionLost."""
        rtt = await self._ping()
        if rtt is None:
            raise self._lost()
        return rtt

    async def migrate(self) -> None:
        """Moves a client's connection to a new local address and port, without an interruption (RFC 9000 9.2): what is
        open stays open. For a program that knows that the network has changed; `ClientConfig.track_network` does it
        unasked. Returns when the peer has answered there.

        Raises ConnectionLost; OSError when no socket can be opened; naquid.Error when the peer forbids it
        (`disable_active_migration`, RFC 9000 18.2); RuntimeError on the side that did not connect, which cannot.
        """
        if not self.is_client:
            raise RuntimeError("only the side that connected can migrate (RFC 9000 9): the peer has to do it")
        if not self._migrate():
            await self.ping()  # the handshake is confirmed by then, unless packets were lost
            if not self._migrate():
                await self.ping()
                if not self._migrate():
                    raise Error("the peer forbids migration (RFC 9000 18.2): connect anew from the other address")
        await self.ping()

    @property
    def state(self) -> ConnectionState:
        """Where the connection is in its life."""
        return ConnectionState(self._state)

    async def states(self) -> AsyncIterator[ConnectionState]:
        """`async for state in conn.states()`: the state it has now, and each that follows, to CLOSED, the last one."""
        if not hasattr(self, "_queues"):
            self._queues = set()
            self._watch()
        queue: asyncio.Queue[ConnectionState] = asyncio.Queue()
        self._queues.add(queue)
        try:
            state = self.state
            yield state
            while state is not ConnectionState.CLOSED:
                last, state = state, await queue.get()
                if state is not last:
                    yield state
        finally:
            self._queues.discard(queue)

    async def wait_open(self) -> None:
        """Waits until the connection is open; one that is brought back may take its time. Raises why it ended."""
        while (waiter := self._open_wait()) is not None:
            await waiter

    async def close(self, code: int = 0, reason: str = "") -> bool:
        """Closes the connection in order and waits for its end. First the peer gets, for at most
        `Limits.shutdown_timeout` seconds, all that it was to get: what streams have queued, their ends, datagrams, and
        the replies that `Rpc.defer()` promised. New streams and calls are refused at once.

        Returns whether the peer has acknowledged all that streams were to send. (Of datagrams nobody knows: RFC 9221.)

        code: application error code of 62 bits; 0 means that nothing went wrong: then the peer's readers see the end of
        their streams, not an error. reason: at most 1024 bytes of UTF-8. Closing twice does nothing.
        """
        self._close(code, reason, False)
        await self.wait_closed()
        return self._delivered

    def abort(self, code: int = 0, reason: str = "") -> None:
        """Closes the connection without sending what is queued, and without waiting."""
        self._close(code, reason, True)

    async def wait_closed(self) -> None:
        """Waits until the connection has ended, for whatever reason; `error` tells which."""
        while (waiter := self._close_wait()) is not None:
            await waiter

    def stats(self) -> ConnectionStats:
        """Round trips, congestion window, packets, bytes. Raises ConnectionLost when the connection is gone."""
        info = self._info()
        if info is None or not self.is_open:
            raise self._lost()
        return ConnectionStats(**{name: info[name] for name in ConnectionStats.__dataclass_fields__})

    @property
    def remote_address(self) -> tuple[str, int] | None:
        """(host, port) of the peer; may change when it migrates (RFC 9000 9). The last one known once closed."""
        address: tuple[str, int] | None = self._fact("remote")
        return address

    @property
    def local_address(self) -> tuple[str, int] | None:
        """(host, port) of this side."""
        address: tuple[str, int] | None = self._fact("local")
        return address

    @property
    def alpn(self) -> str:
        """The application protocol that was agreed on (RFC 7301), "" before the handshake is completed."""
        return self._fact("alpn") or ""

    @property
    def peer_name(self) -> PeerName | None:
        """Whom the peer's certificate is for: on a server with `TlsConfig.verify_client` the client's, on a client the
        server's. None when the peer showed none, or none that was verified (`insecure`). The last one known once
        closed; of a connection that came back (`ClientConfig.reconnect`) that of the peer it has now."""
        chain = self.peer_certificates if self._peer_verified else []
        if chain:
            self._peer = _names(chain[0])
        return getattr(self, "_peer", None)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<naquid.Connection to {self._fact('remote')} {self._state}>"

    # ---- inside ----

    def _fact(self, name: str) -> Any:
        info = self._info()
        if info is not None:
            self._known = info
        else:
            info = getattr(self, "_known", None)
        return info[name] if info is not None else None

    def _timeout(self, given: float | None) -> float:
        if given is None:
            given = self._call_timeout
        if not 0 < given <= 1e9:
            raise ValueError(f"call_timeout is {given} seconds: it must be above 0")
        return given

    async def _open(self, cls: type[_S], kind: int, name: str | None, uni: bool, call_timeout: float) -> _S:
        while True:
            if not self.is_open:
                await self.wait_open()
            try:
                stream = self._open_stream(cls, kind, name, uni, call_timeout)
                try:
                    while (waiter := stream._open_wait()) is not None:
                        await waiter
                except BaseException:
                    stream.reset()
                    stream.close()
                    raise
                return stream
            except ConnectionLost:
                if not self._reconnects or self.is_open or self.is_closed:
                    raise

    async def _serve(self, handler: Coroutine[Any, Any, Any], function: object) -> None:
        """Runs a coroutine handler of the connection itself."""
        try:
            await handler
        except Exception as error:
            if not (self.is_closed and isinstance(error, (ConnectionError, StreamError))):
                self._failed(error, function)

    async def _serve_connect(self, handler: Coroutine[Any, Any, Any], function: object) -> None:
        """Runs a coroutine handler of new connections: one that fails refuses the connection."""
        try:
            await handler
        except Exception as error:
            if not (self.is_closed and isinstance(error, (ConnectionError, StreamError))):
                self._failed(error, function)
            self._refuse_peer()

    def _changed(self) -> None:
        for queue in self._queues:
            if queue.qsize() > 1000:  # nobody reads it
                queue.get_nowait()
            queue.put_nowait(self.state)

    def _keep(self, reconnector: Reconnector) -> None:
        self._reconnector = reconnector
        self._survive()

    def _interrupted(self) -> None:
        self._reconnector.lost(self)

    def _released(self) -> None:
        self._fact("remote")  # so that it is known from now on, too
        if not self.is_client:
            _ = self.peer_name  # so that it is known from now on, too
        if self._reconnects:
            self._reconnector.stop()
        tracker = getattr(self, "_tracker", None)
        if tracker is not None:
            self._tracker = None
            tracker.forget(self)
        engine = getattr(self, "_engine", None)
        if engine is not None:
            self._engine = None
            event_loop.release(engine, self._busy_poll)


def chosen_context(given: contextvars.Context | None) -> contextvars.Context:
    """What the contexts of connections are copies of: the argument of `serve` or `connect`, or the context in which it
    was called, as it is then. Raises ConfigError."""
    if given is None:
        return contextvars.copy_context()
    check_type("context", given, contextvars.Context, "a contextvars.Context or None")
    return given


async def opened(connection: Connection) -> Connection:
    """Waits for the handshake; an attempt that fails or is cancelled leaves nothing behind."""
    try:
        while (waiter := connection._open_wait()) is not None:
            await waiter
    except asyncio.CancelledError:
        connection.abort()
        raise
    except ConnectionLost:  # it opened and ended in one tick: to who connects, no connection came about
        refusal = connection._refusal()
        if refusal is None:
            raise
        raise refusal from None
    return connection
