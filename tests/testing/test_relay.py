"""The relay alone, between plain sockets: what passes, in which order, how often, and what is bounded."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from harness import PATIENCE, descriptors, noise

from naquid.testing import Conditions, Relay
from naquid.testing import relay as relay_module


class Peer:
    """A UDP socket of this test."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((host, 0))
        self.socket.settimeout(PATIENCE)

    @property
    def address(self) -> tuple[str, int]:
        host, port, *_ = self.socket.getsockname()
        return host, port

    def send(self, data: bytes, target: Any) -> None:
        self.socket.sendto(data, target)

    def take(self) -> tuple[bytes, Any]:
        return self.socket.recvfrom(65535)

    def take_until(self, last: bytes) -> list[bytes]:
        taken: list[bytes] = []
        while not taken or taken[-1] != last:
            taken.append(self.take()[0])
        return taken

    def is_empty(self) -> bool:
        return not select.select([self.socket], [], [], 0)[0]


@pytest.fixture
def server() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.socket.close()


@pytest.fixture
def client() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.socket.close()


def settled(relay: Relay) -> None:
    """Waits until the relay has taken what was sent to it: a datagram of one socket never overtakes another."""
    relay._do(lambda: None)
    relay._do(lambda: None)


def accounted(relay: Relay) -> None:
    """Every datagram that came is counted once as what became of it."""
    for direction in (relay.to_server, relay.to_client):
        counters = direction.counters
        gone = counters.lost + counters.cut + counters.dropped
        assert counters.received + counters.duplicated == counters.forwarded + gone + (1 if direction.held else 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_forwards_both_ways_unchanged(host: str) -> None:
    server, client = Peer(host), Peer(host)
    try:
        with Relay(server.address) as relay:
            assert relay.address == (host, relay.port)
            for size in (0, 1, 1200, 1452, 9000):
                data = noise(size)
                client.send(data, relay.address)
                got, source = server.take()
                assert got == data
                assert source[1] not in (relay.port, client.address[1])
                server.send(data[::-1], source)
                back, source = client.take()
                assert back == data[::-1]
                assert source[:2] == relay.address
            assert relay.clients == 1
            assert relay.to_server.counters.forwarded == relay.to_client.counters.forwarded == 5
            assert relay.to_server.counters.forwarded_bytes == relay.to_client.counters.received_bytes == 11653
            accounted(relay)
    finally:
        server.socket.close()
        client.socket.close()


def test_each_client_has_a_port_of_its_own(server: Peer) -> None:
    clients = [Peer() for _ in range(5)]
    with Relay(server) as relay:
        sources = []
        for at, client in enumerate(clients):
            client.send(b"%d" % at, relay.address)
            data, source = server.take()
            assert data == b"%d" % at
            sources.append(source)
        assert len(set(sources)) == relay.clients == 5
        for at, source in enumerate(sources):
            server.send(b"to %d" % at, source)
        for at, client in enumerate(clients):
            assert client.take()[0] == b"to %d" % at
            client.socket.close()


def through(server: Peer, client: Peer, count: int, seed: int, **conditions: Any) -> tuple[list[bytes], Relay]:
    """What of `count` numbered datagrams arrives, and the relay."""
    with Relay(server, seed=seed, **conditions) as relay:
        for at in range(count):
            client.send(b"%d" % at, relay.address)
            settled(relay)
        relay.change(**dataclasses.asdict(Conditions(delay=0.1)))  # later than anything that is held
        client.send(b"end", relay.address)
        return server.take_until(b"end")[:-1], relay


def test_the_same_seed_gives_the_same_fate(server: Peer, client: Peer) -> None:
    conditions = {"loss": 0.2, "duplicate": 0.2, "reorder": 0.0}
    first, relay = through(server, client, 300, 7, **conditions)
    again, other = through(server, client, 300, 7, **conditions)
    assert first == again
    assert relay.to_server.counters == other.to_server.counters
    assert through(server, client, 300, 8, **conditions)[0] != first
    # What does not apply does not change the fate of the rest.
    milder, _ = through(server, client, 300, 7, loss=0.2)
    assert milder == list(dict.fromkeys(first))
    counters = relay.to_server.counters
    assert 0 < counters.lost < 150
    assert 0 < counters.duplicated < 150
    assert len(first) == 300 - counters.lost + counters.duplicated
    accounted(relay)


def test_reorders(server: Peer, client: Peer) -> None:
    got, relay = through(server, client, 200, 1, reorder=0.2, reorder_delay=0.02)
    assert sorted(got, key=int) == [b"%d" % at for at in range(200)]
    assert got != sorted(got, key=int)
    assert 0 < relay.to_server.counters.reordered < 100


def test_jitter_loses_nothing(server: Peer, client: Peer) -> None:
    got, _ = through(server, client, 100, 1, delay=0.01, jitter=0.02, duplicate=0.5)
    assert set(got) == {b"%d" % at for at in range(100)}


def test_delay_keeps_order(server: Peer, client: Peer) -> None:
    got, relay = through(server, client, 200, 1, delay=0.02)
    assert got == [b"%d" % at for at in range(200)]
    assert relay.to_server.held == 0


def test_directions_differ(server: Peer, client: Peer) -> None:
    with Relay(server) as relay:
        relay.to_client.change(loss=1.0)
        client.send(b"there", relay.address)
        _, source = server.take()
        server.send(b"lost", source)
        client.send(b"there", relay.address)
        assert server.take()[0] == b"there"
        while relay.to_client.counters.lost == 0:
            settled(relay)
        relay.to_client.conditions = Conditions()
        server.send(b"back", source)
        assert client.take()[0] == b"back"
        assert relay.to_server.counters.lost == 0


def test_rate_has_a_bounded_queue(server: Peer, client: Peer) -> None:
    with Relay(server, rate=100_000, queue=10_000) as relay:
        for _ in range(100):
            client.send(bytes(1000), relay.address)
            settled(relay)
        assert relay.to_server.held <= 10_000
        counters = relay.to_server.counters
        assert counters.dropped >= 50
        while relay.to_server.held:
            server.take()
            settled(relay)
        accounted(relay)
        # A datagram larger than the queue passes when nothing is before it.
        relay.change(queue=10, rate=1e6)
        client.send(b"x" * 1000, relay.address)
        server.take_until(b"x" * 1000)


def test_what_waits_is_bounded(server: Peer, client: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MAX_HELD", 5000)
    with Relay(server, delay=1000) as relay:
        for _ in range(10):
            client.send(bytes(1000), relay.address)
        while relay.to_server.counters.received < 10:
            settled(relay)
        assert relay.to_server.held == 5000
        assert relay.to_server.counters.dropped == 5


def test_mtu(server: Peer, client: Peer) -> None:
    with Relay(server, mtu=1000) as relay:
        client.send(bytes(1001), relay.address)
        client.send(bytes(1000), relay.address)
        assert len(server.take()[0]) == 1000
        assert relay.to_server.counters.lost == 1


def test_cut_and_restore(server: Peer, client: Peer) -> None:
    with Relay(server, delay=1000) as relay:
        client.send(b"held", relay.address)
        while not relay.to_server.held:
            settled(relay)
        relay.cut()
        relay.cut()
        assert relay.is_cut
        assert relay.to_server.held == 0
        relay.change(delay=0)
        client.send(b"into the void", relay.address)
        while relay.to_server.counters.cut < 2:
            settled(relay)
        relay.restore()
        client.send(b"again", relay.address)
        assert server.take()[0] == b"again"
        assert server.is_empty()
        accounted(relay)


def test_rebind(server: Peer, client: Peer) -> None:
    with Relay(server) as relay:
        seen = []
        for _ in range(5):
            client.send(b"x", relay.address)
            seen.append(server.take()[1])
            relay.rebind()
        assert all(before != after for before, after in itertools.pairwise(seen))
        server.send(b"to nobody", seen[-1])
        client.send(b"x", relay.address)
        server.send(b"to the new port", server.take()[1])
        assert client.take()[0] == b"to the new port"
        assert relay.clients == 1


def test_clients_are_bounded(server: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MAX_CLIENTS", 4)
    clients = [Peer() for _ in range(8)]
    before = descriptors()
    with Relay(server) as relay:
        for client in clients:
            client.send(b"x", relay.address)
            server.take()
        assert relay.clients == 4
        clients[0].send(b"forgotten, and known again", relay.address)
        server.send(b"back", server.take()[1])
        assert clients[0].take()[0] == b"back"
    for client in clients:
        client.socket.close()
    assert descriptors() == before - 8


def test_a_server_that_is_gone_ends_nothing(client: Peer) -> None:
    gone = Peer()
    port = gone.address[1]
    gone.socket.close()
    with Relay(("127.0.0.1", port)) as relay:
        for _ in range(20):
            client.send(b"x", relay.address)
            settled(relay)
        assert relay.clients == 1


def test_close_gives_everything_back(server: Peer, client: Peer) -> None:
    threads, files = threading.active_count(), descriptors()
    relay = Relay(server, delay=1000)
    client.send(b"held", relay.address)
    while not relay.to_server.held:
        settled(relay)
    assert threading.active_count() == threads + 1
    relay.close()
    relay.close()
    assert threading.active_count() == threads
    assert descriptors() == files
    assert relay.to_server.held == 0
    for act in (relay.cut, relay.rebind):
        with pytest.raises(RuntimeError, match="closed"):
            act()


def test_in_async_with(server: Peer, client: Peer) -> None:
    async def main() -> None:
        async with Relay(server) as relay:
            client.send(b"x", relay.address)
            assert (await asyncio.to_thread(server.take))[0] == b"x"
        assert not relay._thread.is_alive()

    asyncio.run(main())


def test_relays_chain(server: Peer, client: Peer) -> None:
    with Relay(server) as second, Relay(second) as first:
        client.send(b"there", first.address)
        data, source = server.take()
        assert data == b"there"
        server.send(b"back", source)
        assert client.take()[0] == b"back"


@pytest.mark.parametrize(
    ("field", "value"),
    [("loss", 1.1), ("loss", -0.1), ("duplicate", 2), ("reorder", -1), ("delay", -1), ("rate", -1), ("mtu", -5)],
)
def test_conditions_are_checked(server: Peer, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Conditions(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=field):
        Relay(server, **{field: value})  # type: ignore[arg-type]
    with Relay(server) as relay:
        with pytest.raises(ValueError, match=field):
            relay.change(**{field: value})
        assert relay.to_server.conditions == Conditions()


def test_targets_are_checked() -> None:
    with pytest.raises(ValueError, match="numeric"):
        Relay(("localhost", 1))

    class Closed:
        address = None

    with pytest.raises(ValueError, match="closed"):
        Relay(Closed())
    assert relay_module.address_of(("0.0.0.0", 5)) == ("127.0.0.1", 5)
    assert relay_module.address_of(("::", 5)) == ("::1", 5)
    assert relay_module.address_of(5) == ("127.0.0.1", 5)


def test_a_port_in_use_leaves_nothing_open(server: Peer) -> None:
    files, threads = descriptors(), threading.active_count()
    with pytest.raises(OSError, match="in use"):
        Relay(server, port=server.address[1])
    assert (descriptors(), threading.active_count()) == (files, threads)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_marks_of_ecn_pass_and_are_made(host: str) -> None:
    """ECT(0) and ECT(1) pass as they are, both ways; what experiences congestion is marked only where the sender is
    capable of it."""
    server, client = Peer(host), Peer(host)
    six = ":" in host
    level, kind = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if six else (socket.IPPROTO_IP, socket.IP_TOS)
    try:
        for peer in (server, client):
            peer.socket.setsockopt(level, socket.IPV6_RECVTCLASS if six else socket.IP_RECVTOS, 1)

        def take(peer: Peer) -> tuple[bytes, int, Any]:
            data, ancillary, _, source = peer.socket.recvmsg(100, 64)
            return data, ancillary[0][2][0] if ancillary else 0, source

        with Relay(server.address) as relay:
            for part in (0.0, 1.0):
                relay.change(mark=part)
                for ecn in (0, 1, 2):
                    seen = 3 if part and ecn else ecn
                    client.socket.setsockopt(level, kind, ecn)
                    client.send(b"up", relay.address)
                    data, got, source = take(server)
                    assert (data, got) == (b"up", seen)
                    server.socket.setsockopt(level, kind, ecn)
                    server.send(b"down", source)
                    assert take(client)[:2] == (b"down", seen)
            assert relay.to_server.counters.marked == relay.to_client.counters.marked == 2
    finally:
        server.socket.close()
        client.socket.close()


def test_corrupts_one_bit(server: Peer, client: Peer) -> None:
    data = noise(1200)
    places: set[int] = set()
    damaged = 0
    with Relay(server, corrupt=0.5) as relay:
        for _ in range(100):
            client.send(data, relay.address)
            got = int.from_bytes(server.take()[0], "big") ^ int.from_bytes(data, "big")
            assert got.bit_count() <= 1
            damaged += got.bit_count()
            places.add(got.bit_length())
        assert 25 < damaged < 75
        assert relay.to_server.counters.corrupted == damaged
        assert len(places) > 20  # not always the same bit
        client.send(b"", relay.address)
        assert server.take()[0] == b""
