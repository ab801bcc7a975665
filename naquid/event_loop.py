"""One engine loop for each asyncio event loop: made when first needed, closed when nothing uses it any more."""

from __future__ import annotations

import asyncio
import atexit
import os
import warnings
from collections import Counter
from typing import TypedDict, cast

from . import _naquid
from .errors import Error

__all__ = ["LoopStats", "acquire", "loop_stats", "release"]


class LoopStats(TypedDict):
    """Counters of an event loop's engine, which all its servers and connections share. Since its start, unless said."""

    ticks: int
    """Rounds of receiving, dispatching and sending."""
    events: int
    """Events given to Python code."""
    busy_polls: int
    """Times it looked at its sockets again and again before it slept (`ServerConfig.busy_poll`)."""
    busy_poll_hits: int
    """Of them, how often something came in time."""
    connections: int
    """Alive now; as the next three."""
    streams: int
    """Alive now."""
    alarms: int
    """Alive now."""
    pending_calls: int
    """Calls that wait for their reply now."""
    held_connections: int
    """Connections whose requests and new streams wait, now: as many of their handlers run as may, or their replies are
    above their mark."""
    reply_holds: int
    """How often a connection was held for its replies: its peer asks for more than it takes."""
    rx_calls: int
    """System calls that received."""
    rx_messages: int
    """Messages they gave; with GRO one holds several datagrams."""
    rx_datagrams: int
    """UDP datagrams that came."""
    rx_bytes: int
    """Their payload."""
    rx_dropped: int
    """Datagrams that were thrown away: truncated, not read, for no connection, or above a bound."""
    tx_calls: int
    """System calls that sent."""
    tx_messages: int
    """Messages they took; with GSO one holds several datagrams."""
    tx_datagrams: int
    """UDP datagrams that were sent."""
    tx_bytes: int
    """Their payload."""
    tx_errors: int
    """Datagrams that the system did not take."""
    accepted: int
    """Connections that clients began here."""
    refused: int
    """Connections of clients that were refused."""
    retries_sent: int
    """Clients that were asked to prove their address (RFC 9000 8.1.2)."""
    resets_sent: int
    """Stateless resets (RFC 9000 10.3)."""
    version_negotiations: int
    """Clients that were told which QUIC versions there are (RFC 9000 6)."""
    forwarded: int
    """Datagrams handed to another worker."""
    handshakes: int
    """Completed, in both roles."""
    handshakes_failed_tls: int
    """Begun and not completed, in both roles, by reason: a TLS alert, such as for a certificate that is not trusted."""
    handshakes_failed_timeout: int
    """The other side did not answer in time."""
    handshakes_failed_protocol: int
    """An error of the protocol, or no version in common."""
    handshakes_failed_closed: int
    """The peer gave up. Not counted: what this side gave up, as it does with addresses that it does not need."""
    handshakes_failed_system: int
    """Something of this system was missing: memory, a way to the address."""
    lost_packets: int
    """Of connections that have ended."""
    too_big: int
    """Requests, notifications and replies that came, were above `Limits.max_message_size`, and were dropped."""
    datagrams_dropped: int
    """DATAGRAM frames (RFC 9221) that were not delivered; the sum of the next ones."""
    datagrams_dropped_memory: int
    """They came, and there was no memory for them."""
    datagrams_dropped_unhandled: int
    """They came, and the handlers have none for datagrams."""
    datagrams_dropped_tasks: int
    """They came, and as many coroutine handlers ran as may."""
    datagrams_dropped_queue: int
    """They were to be sent, and were the oldest when `Limits.datagram_queue` were waiting."""
    datagrams_dropped_unsent: int
    """They were to be sent when the connection ended, or when the path carried their size no longer."""
    rx_kernel_dropped: int
    """UDP datagrams that the kernel dropped, as the receive buffer was full (Linux: SO_RXQ_OVFL). Known with the next
    one that is received: raise net.core.rmem_max, or give handlers less to do."""
    unreachable: int
    """Datagrams that the system or a router said could not be delivered."""
    mtu_fallbacks: int
    """Paths that carried large packets no longer, so that smaller ones are sent (RFC 8899 4.3)."""
    send_buffer_bytes: int
    """Memory of what waits to be sent or acknowledged, now."""
    gso: int
    """1 when in use: GSO, as the next ones are GRO, recvmmsg and sendmmsg, and ECN."""
    gro: int
    """1 when in use."""
    mmsg: int
    """1 when in use."""
    ecn: int
    """1 when in use."""


def loop_stats() -> LoopStats:
    """Counters of the running event loop's engine. Raises naquid.Error when nothing of naquid lives in it."""
    shared = _loops.get(_key(asyncio.get_running_loop()))
    if shared is None or shared.engine.closed:
        raise Error("no server and no connection lives in this event loop")
    return cast(LoopStats, shared.engine.stats())


class _Shared:
    __slots__ = ("busy_polls", "engine", "users")

    def __init__(self, engine: _naquid.Loop) -> None:
        self.engine = engine
        self.users = 0
        self.busy_polls: Counter[int] = Counter()  # asked for by the users, µs: the longest one holds

    def __del__(self) -> None:
        if self.users:
            warnings.warn(
                f"an event loop was closed with {self.users} naquid connections, servers or endpoints open in it: "
                "close them before, or use them in `async with`",
                ResourceWarning,
                stacklevel=2,
            )

    def busy_poll(self, microseconds: int, users: int) -> None:
        """So many more, or fewer, users want this."""
        if microseconds and not self.engine.closed:
            self.busy_polls[microseconds] += users
            self.engine.set_busy_poll(max(+self.busy_polls, default=0) / 1e6)


_Key = tuple[asyncio.AbstractEventLoop, _naquid.SimHost | None]

_loops: dict[_Key, _Shared] = {}


def _key(loop: asyncio.AbstractEventLoop) -> _Key:
    """An event loop has one engine; that of a `naquid.testing.SimNetwork` has one for each simulated host."""
    host = getattr(loop, "_naquid_host", None)
    return loop, None if host is None else host()


def acquire(busy_poll: int = 0, engine: _naquid.Loop | None = None) -> _naquid.Loop:
    """The engine loop of the running event loop, or `engine` once more. busy_poll: of the user's configuration.
    `release` follows, once."""
    loop = asyncio.get_running_loop()
    key = _key(loop) if engine is None or engine.sim is None else (loop, engine.sim)
    shared = _loops.get(key)
    if shared is None or shared.engine.closed:
        for other in [key for key in list(_loops) if key[0].is_closed()]:
            stale = _loops.pop(other, None)  # another thread's event loop may be doing the same
            if stale is not None:
                stale.engine.close()
        engine = _naquid.Loop() if key[1] is None else _naquid.Loop(sim=key[1])
        try:
            engine.attach(loop)
        except BaseException:
            engine.close()
            raise
        shared = _loops[key] = _Shared(engine)
    shared.users += 1
    shared.busy_poll(busy_poll, 1)
    return shared.engine


def release(engine: _naquid.Loop, busy_poll: int = 0) -> None:
    """One use less; after the last one the engine loop is closed in a later turn of the event loop."""
    for key, shared in list(_loops.items()):  # other threads' event loops come and go meanwhile
        if shared.engine is engine:
            shared.users -= 1
            shared.busy_poll(busy_poll, -1)
            if shared.users == 0 and not key[0].is_closed():
                key[0].call_soon(_close_unused, key)
            return


def _close_unused(key: _Key) -> None:
    shared = _loops.get(key)
    if shared is not None and shared.users == 0:
        del _loops[key]
        shared.engine.close()


def _forked() -> None:
    """In a forked child: these loops are its parent's. They are neither closed nor missed at its end."""
    while _loops:
        shared = _loops.popitem()[1]
        shared.users = 0
        shared.engine.forked()


os.register_at_fork(after_in_child=_forked)


@atexit.register
def _close_all() -> None:
    while _loops:
        _loops.popitem()[1].engine.close()
