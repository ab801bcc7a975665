"""A UDP relay that behaves like a bad network: it loses, repeats, reorders, damages, marks, delays and throttles
datagrams."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import heapq
import ipaddress
import random
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["Conditions", "Counters", "Direction", "HasAddress", "Relay", "Target", "address_of"]

MAX_DATAGRAM = 65535
MAX_HELD = 32 << 20
"""Bytes that wait to be forwarded in one direction for whatever reason; what comes then is dropped."""
MAX_CLIENTS = 1024
"""Client addresses known at once; the one that was silent for the longest time is forgotten."""
BATCH = 64
"""Datagrams taken from one socket before the next one has its turn."""
SOCKET_BUFFER = 4 << 20
ECN = 3
"""The bits of the traffic class that Explicit Congestion Notification has (RFC 3168 5)."""
CONGESTION_EXPERIENCED = 3
PATIENCE = 30.0
"""Seconds after which the relay's thread, which never waits for anything itself, must be taken for dead."""


class HasAddress(Protocol):
    """Something that listens: a `naquid.Server`, another `Relay`."""

    @property
    def address(self) -> tuple[str, int] | None: ...


Target = HasAddress | tuple[str, int] | int
"""Where datagrams go: a server or a relay, (numeric host, port), or a port of 127.0.0.1."""


def address_of(target: Target) -> tuple[str, int]:
    """(host, port) at which a target is reached from this machine. Raises ValueError when it is closed."""
    if isinstance(target, int):
        return "127.0.0.1", target
    address = target if isinstance(target, tuple) else target.address
    if address is None:
        raise ValueError(f"{target!r} has no address: it is closed")
    host, port = address
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """How one direction of a relay treats datagrams. Raises ValueError when a value is out of range."""

    loss: float = 0.0
    """Part of the datagrams that vanish, 0 to 1."""
    duplicate: float = 0.0
    """Part of the datagrams that are forwarded twice, 0 to 1."""
    reorder: float = 0.0
    """Part of the datagrams that are held back for `reorder_delay`, so that later ones overtake them, 0 to 1."""
    reorder_delay: float = 0.01
    """Seconds that a reordered datagram is held back in addition to `delay`."""
    corrupt: float = 0.0
    """Part of the datagrams in which one bit is flipped, 0 to 1."""
    mark: float = 0.0
    """Part of the datagrams of ECN-capable senders that are marked as having experienced congestion (RFC 3168), 0 to
    1."""
    delay: float = 0.0
    """Seconds from arrival to forwarding."""
    jitter: float = 0.0
    """Up to this many seconds more, differently for each datagram; reorders as well."""
    rate: float = 0.0
    """Bytes per second that are forwarded; 0: no bound."""
    queue: int = 128 << 10
    """Bytes that may wait because of `rate`; what comes then is dropped."""
    mtu: int = MAX_DATAGRAM
    """Bytes of the largest datagram that is forwarded; larger ones vanish."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt", "mark"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be from 0 to 1")
        for name in ("reorder_delay", "delay", "jitter", "rate", "queue", "mtu"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must not be negative")


@dataclasses.dataclass(slots=True)
class Counters:
    """What happened to the datagrams of one direction so far. `received` is what came; each one of them was `lost`,
    `cut`, `dropped`, is held, or was forwarded."""

    received: int = 0
    received_bytes: int = 0
    """Their payload."""
    forwarded: int = 0
    """Sent on, duplicates included."""
    forwarded_bytes: int = 0
    """Their payload."""
    lost: int = 0
    """Vanished by `Conditions.loss` and `mtu`."""
    duplicated: int = 0
    """Sent twice, by `Conditions.duplicate`."""
    reordered: int = 0
    """Held back, so that later ones overtook them."""
    corrupted: int = 0
    """Of which one bit was flipped, by `Conditions.corrupt`."""
    marked: int = 0
    """Marked as having experienced congestion, by `Conditions.mark`."""
    dropped: int = 0
    """Too many waited, the system did not take it, or its client was forgotten."""
    cut: int = 0
    """Vanished while the relay was cut."""


class Direction:
    """One direction of a relay: its conditions and counters."""

    def __init__(self, conditions: Conditions) -> None:
        self.conditions: Conditions = conditions
        """In force for what arrives from now on. Replace it, or use `change`."""
        self.counters: Counters = Counters()
        self.held = 0
        """Bytes that wait to be forwarded."""
        self._busy_until = 0.0

    def change(self, **changes: Any) -> None:
        """Changes fields of the conditions, the others stay."""
        self.conditions = dataclasses.replace(self.conditions, **changes)

    def _leave_at(self, now: float, size: int) -> float | None:
        """When a datagram has passed the bottleneck; None when its queue is full."""
        rate = self.conditions.rate
        if not rate:
            return now
        start = max(now, self._busy_until)
        if (start - now) * rate + size > max(self.conditions.queue, size):
            return None
        self._busy_until = start + size / rate
        return self._busy_until


class _Flow:
    """A client address: the socket that stands for it towards the server, and its own dice."""

    __slots__ = ("client", "damage_down", "damage_up", "dice_down", "dice_up", "upstream")

    def __init__(self, client: Any, upstream: socket.socket, seed: str) -> None:
        self.client = client
        self.upstream = upstream
        self.dice_up = random.Random(f"{seed} to server")
        self.dice_down = random.Random(f"{seed} to client")
        self.damage_up = random.Random(f"{seed} damage to server")
        self.damage_down = random.Random(f"{seed} damage to client")


class Relay:
    """A UDP relay between clients and one server, in a thread of its own: clients connect to its address.

    target: where it forwards to. seed: datagram n of the m-th client address and direction always has the same fate
    under the same conditions. host: numeric address to listen on, by default the loopback of the target's family.
    conditions: fields of `Conditions`, for both directions; `to_server` and `to_client` have them apart.

    It is a context manager, for `with` and `async with`; its methods never wait for the network. To the server it has
    one socket for each client address. Marks of ECN are carried over, where the system has them. Raises OSError,
    ValueError.

    Attributes:
        to_server, to_client: the two directions.
        address: (host, port) it listens on.
    """

    def __init__(
        self, target: Target, *, seed: int = 0, host: str | None = None, port: int = 0, **conditions: Any
    ) -> None:
        self._target = address_of(target)
        self._seed = seed
        self._family = _family(self._target[0])
        if host is None:
            host = "127.0.0.1" if self._family == socket.AF_INET else "::1"
        self.to_server: Direction = Direction(Conditions(**conditions))
        self.to_client: Direction = Direction(Conditions(**conditions))
        self._cut = False
        self._flows: collections.OrderedDict[Any, _Flow] = collections.OrderedDict()
        self._made = 0
        self._due: list[tuple[float, int, Direction, _Flow, bytes, int]] = []
        self._order = 0
        self._commands: collections.deque[Callable[[], None]] = collections.deque()
        self._stopping = False
        self._failure: BaseException | None = None
        with contextlib.ExitStack() as made:
            self._listening = made.enter_context(_udp(_family(host)))
            self._listening.bind((host, port))
            name = self._listening.getsockname()
            self.address: tuple[str, int] = (str(name[0]), int(name[1]))
            self._selector = made.enter_context(selectors.DefaultSelector())
            self._selector.register(self._listening, selectors.EVENT_READ)
            self._wake_reader, self._wake_writer = map(made.enter_context, socket.socketpair())
            self._wake_reader.setblocking(False)
            self._wake_writer.setblocking(False)
            self._selector.register(self._wake_reader, selectors.EVENT_READ)
            self._thread = threading.Thread(target=self._run, name=f"naquid relay {self.port}", daemon=True)
            self._thread.start()
            made.pop_all()

    # ---- the caller's side ----

    @property
    def host(self) -> str:
        """The numeric address it listens on."""
        return self.address[0]

    @property
    def port(self) -> int:
        """The UDP port it listens on."""
        return self.address[1]

    @property
    def clients(self) -> int:
        """How many client addresses it knows."""
        return len(self._flows)

    @property
    def is_cut(self) -> bool:
        """True between `cut()` and `restore()`."""
        return self._cut

    def change(self, **changes: Any) -> None:
        """Changes fields of the conditions of both directions, for what arrives from now on; the others stay."""
        self.to_server.change(**changes)
        self.to_client.change(**changes)

    def cut(self) -> None:
        """Nothing passes any more, in either direction; what waits is gone as well."""

        def act() -> None:
            self._cut = True
            for _, _, direction, *_ in self._due:
                direction.counters.cut += 1
            self._due.clear()
            for direction in (self.to_server, self.to_client):
                direction.held = 0
                direction._busy_until = 0.0

        self._do(act)

    def restore(self) -> None:
        """Ends `cut()`."""
        self._cut = False

    def rebind(self) -> None:
        """Gives every client a new source port towards the server, as a NAT does that has forgotten its mapping. What
        the server still sends to the old port is lost."""

        def act() -> None:
            for flow in self._flows.values():
                old = flow.upstream
                flow.upstream = self._open_upstream(flow)
                self._close_upstream(old)

        self._do(act)

    def close(self) -> None:
        """Ends the relay, its thread and its sockets. Closing twice does nothing. Raises what its thread died of."""
        if not self._stopping:
            self._stopping = True
            self._wake()
            self._thread.join(PATIENCE)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<naquid.testing.Relay at {self.address} to {self._target}, {self.clients} clients>"

    def _do(self, act: Callable[[], None]) -> None:
        """Runs act in the relay's thread and waits for its end."""
        done = threading.Event()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                act()
            except BaseException as error:
                failures.append(error)
            finally:
                done.set()

        if self._stopping or not self._thread.is_alive():
            raise RuntimeError("the relay is closed")
        self._commands.append(run)
        self._wake()
        if not done.wait(PATIENCE):
            raise RuntimeError("the relay's thread does not answer")
        if failures:
            raise failures[0]

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is awake already, or gone
            self._wake_writer.send(b"\0")

    # ---- the thread's side ----

    def _run(self) -> None:
        try:
            while not self._stopping:
                timeout = None if not self._due else max(0.0, self._due[0][0] - time.monotonic())
                for key, _ in self._selector.select(timeout):
                    if key.fileobj is self._listening:
                        self._from_clients()
                    elif key.fileobj is self._wake_reader:
                        self._wake_reader.recv(4096)
                    elif key.data.upstream is key.fileobj:  # else it was replaced a moment ago
                        self._from_server(key.data)
                while self._commands:
                    self._commands.popleft()()
                self._forward_due()
        except BaseException as error:
            self._failure = error
        finally:
            while self._commands:
                self._commands.popleft()()
            for flow in self._flows.values():
                flow.upstream.close()
            for left in (self._selector, self._listening, self._wake_reader, self._wake_writer):
                left.close()
            self._due.clear()
            self.to_server.held = self.to_client.held = 0

    def _from_clients(self) -> None:
        for _ in range(BATCH):
            try:
                data, ecn, client = _receive(self._listening)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of something that was sent
            try:
                flow = self._flows.get(client) or self._new_flow(client)
            except OSError:  # too many files are open
                self.to_server.counters.received += 1
                self.to_server.counters.received_bytes += len(data)
                self.to_server.counters.dropped += 1
                continue
            self._flows.move_to_end(client)
            self._pass(self.to_server, flow, flow.dice_up, flow.damage_up, data, ecn)

    def _from_server(self, flow: _Flow) -> None:
        upstream = flow.upstream
        for _ in range(BATCH):
            try:
                data, ecn, _ = _receive(upstream)
            except BlockingIOError:
                return
            except OSError:
                continue
            self._flows.move_to_end(flow.client)
            self._pass(self.to_client, flow, flow.dice_down, flow.damage_down, data, ecn)

    def _pass(
        self,
        direction: Direction,
        flow: _Flow,
        dice: random.Random,
        damage: random.Random,
        data: bytes,
        ecn: int,
    ) -> None:
        """Decides what becomes of a datagram. The dice are cast for all of it, so that conditions which do not apply
        do not change the fate of what follows."""
        conditions, counters, size = direction.conditions, direction.counters, len(data)
        lost, twice, late, extra, extra_twice = [dice.random() for _ in range(5)]
        corrupted, marked, place = damage.random(), damage.random(), damage.random()
        counters.received += 1
        counters.received_bytes += size
        if self._cut:
            counters.cut += 1
            return
        if lost < conditions.loss or size > conditions.mtu:
            counters.lost += 1
            return
        if corrupted < conditions.corrupt and size:
            counters.corrupted += 1
            bit = int(place * size * 8)
            data = data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]
        if marked < conditions.mark and ecn:
            counters.marked += 1
            ecn = CONGESTION_EXPERIENCED
        now = time.monotonic()
        leave = direction._leave_at(now, size)
        if leave is None:
            counters.dropped += 1
            return
        leave += conditions.delay
        first = leave + extra * conditions.jitter
        if late < conditions.reorder:
            counters.reordered += 1
            first += conditions.reorder_delay
        self._hold_or_send(now, first, direction, flow, data, ecn)
        if twice < conditions.duplicate:
            counters.duplicated += 1
            self._hold_or_send(now, leave + extra_twice * conditions.jitter, direction, flow, data, ecn)

    def _hold_or_send(self, now: float, due: float, direction: Direction, flow: _Flow, data: bytes, ecn: int) -> None:
        if due <= now:
            self._send(direction, flow, data, ecn)
        elif direction.held + len(data) > MAX_HELD:
            direction.counters.dropped += 1
        else:
            self._order += 1
            direction.held += len(data)
            heapq.heappush(self._due, (due, self._order, direction, flow, data, ecn))

    def _forward_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, direction, flow, data, ecn = heapq.heappop(self._due)
            direction.held -= len(data)
            self._send(direction, flow, data, ecn)

    def _send(self, direction: Direction, flow: _Flow, data: bytes, ecn: int) -> None:
        counters = direction.counters
        counters.forwarded += 1  # before it leaves, so that whoever gets it finds it counted
        counters.forwarded_bytes += len(data)
        try:
            if direction is self.to_server:
                flow.upstream.sendmsg([data], _marks(flow.upstream, ecn))
            else:
                self._listening.sendmsg([data], _marks(self._listening, ecn), 0, flow.client)
        except OSError:  # a full buffer, an ICMP error of an earlier one, a client that was forgotten
            counters.dropped += 1
            counters.forwarded -= 1
            counters.forwarded_bytes -= len(data)

    def _new_flow(self, client: Any) -> _Flow:
        if len(self._flows) >= MAX_CLIENTS:
            self._close_upstream(self._flows.popitem(last=False)[1].upstream)
        flow = _Flow(client, self._listening, f"{self._seed} client {self._made}")
        flow.upstream = self._open_upstream(flow)
        self._made += 1
        self._flows[client] = flow
        return flow

    def _open_upstream(self, flow: _Flow) -> socket.socket:
        upstream = _udp(self._family)
        try:
            upstream.connect(self._target)
            self._selector.register(upstream, selectors.EVENT_READ, flow)
        except BaseException:
            upstream.close()
            raise
        return upstream

    def _close_upstream(self, upstream: socket.socket) -> None:
        self._selector.unregister(upstream)
        upstream.close()


def _family(host: str) -> socket.AddressFamily:
    try:
        version = ipaddress.ip_address(host.partition("%")[0]).version
    except ValueError as error:
        raise ValueError(f"{host!r}: a relay takes numeric addresses only") from error
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _receive(one: socket.socket) -> tuple[bytes, int, Any]:
    """A datagram, its mark of ECN and where it came from."""
    data, ancillary, _, source = one.recvmsg(MAX_DATAGRAM, 64)
    ecn = 0
    for level, kind, value in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
            ecn = value[0] & ECN if len(value) == 1 else int.from_bytes(value[:4], sys.byteorder) & ECN
    return data, ecn, source


def _marks(one: socket.socket, ecn: int) -> list[tuple[int, int, bytes]]:
    """What sendmsg is told for this mark."""
    if not ecn:
        return []
    number = ecn.to_bytes(4, sys.byteorder)
    if one.family == socket.AF_INET:
        return [(socket.IPPROTO_IP, socket.IP_TOS, number)]
    return [(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, number)]


def _udp(family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
    with contextlib.suppress(OSError, AttributeError):  # a system without it
        if family == socket.AF_INET:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    return made
