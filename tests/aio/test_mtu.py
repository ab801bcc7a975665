"""Packets grow to what a path carries, and shrink with it: over a router between network namespaces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aio_apps import raw_echo
from harness import Bench, Variant, noise
from netns import Namespaces, made

import naquid
import naquid.event_loop

CLIENT, SERVER = "10.78.1.2", "10.78.2.2"
MIB = 1 << 20
IPV4 = 28  # bytes of IP and UDP


class Routed(Namespaces):
    """A client and a server in networks that a router joins, all for packets of 9000 bytes."""

    names = ("client", "router", "server")

    def make(self) -> None:
        super().make()
        for name, net in (("client", 1), ("server", 2)):
            peer = ("peer", "name", name, "netns", self.full("router"))
            self.ip_in(name, "link", "add", "wire", "mtu", "9000", "type", "veth", *peer)
            self.ip_in("router", "link", "set", name, "mtu", "9000")
            for where, device, host in ((name, "wire", 2), ("router", name, 1)):
                self.ip_in(where, "address", "add", f"10.78.{net}.{host}/24", "dev", device)
                self.ip_in(where, "link", "set", device, "up")
            self.ip_in(name, "route", "add", "default", "via", f"10.78.{net}.1")
        with self.inside("router"), open("/proc/sys/net/ipv4/ip_forward", "w") as switch:
            switch.write("1")

    def carry(self, device: str, mtu: int) -> None:
        """Of a cable of the router's: what it sends that is larger is dropped."""
        self.ip_in("router", "link", "set", device, "mtu", str(mtu))


@pytest.fixture
def routed() -> Iterator[Routed]:
    with made(Routed) as namespaces:
        yield namespaces


async def echoed(conn: naquid.Connection, data: bytes, half_way: asyncio.Event) -> bytes:
    stream = await conn.open_raw_stream()

    async def send() -> None:
        for at in range(0, len(data), 65536):
            stream.write(data[at : at + 65536])
            await stream.drain()
        stream.write_eof()

    sending = asyncio.ensure_future(send())
    back = bytearray()
    while part := await stream.read(65536):
        back += part
        if len(back) >= len(data) // 2:
            half_way.set()
    await sending
    return bytes(back)


@pytest.mark.parametrize("portable", [False, True], ids=["native", "portable"])
def test_a_path_that_shrinks(bench: Bench, routed: Routed, portable: bool) -> None:
    """In both directions, in the middle of a transfer, with the router's ICMP messages and what GSO makes of it."""

    async def main() -> None:
        with routed.inside("server"):
            server = await bench.serve(raw_echo(), SERVER)
        with routed.inside("client"):
            conn = await bench.connect(server.port, host=SERVER, server_name="localhost")
        data = noise(4 * MIB)

        def payload() -> int:
            return conn.stats().max_udp_payload

        async with server, conn:
            while payload() != 9000 - 48:  # room for IPv6 is left in any case
                assert await echoed(conn, data, asyncio.Event()) == data
            for mtu, carried in ((1452 + IPV4, 1452), (1200 + IPV4, 1200)):
                fallbacks = naquid.loop_stats()["mtu_fallbacks"]
                half_way = asyncio.Event()
                transfer = asyncio.ensure_future(echoed(conn, data, half_way))
                await half_way.wait()
                for device in ("client", "server"):
                    routed.carry(device, mtu)
                assert await transfer == data
                while payload() != carried:
                    assert await echoed(conn, data, asyncio.Event()) == data
                assert naquid.loop_stats()["mtu_fallbacks"] > fallbacks
            assert await echoed(conn, data, asyncio.Event()) == data

    Variant(io="portable" if portable else "native")(main)


def test_a_path_that_was_never_large(bench: Bench, routed: Routed) -> None:
    """The cables of both ends promise 9000 bytes, the one between does not."""
    routed.carry("server", 1400)
    routed.carry("client", 1400)

    async def main() -> None:
        with routed.inside("server"):
            server = await bench.serve(raw_echo(), SERVER)
        with routed.inside("client"):
            conn = await bench.connect(server.port, host=SERVER, server_name="localhost")
        data = noise(MIB)
        async with server, conn:
            while conn.stats().max_udp_payload != 1342:
                assert await echoed(conn, data, asyncio.Event()) == data
            for _ in range(20):
                assert await echoed(conn, data, asyncio.Event()) == data
            assert conn.stats().max_udp_payload == 1342
            assert naquid.loop_stats()["mtu_fallbacks"] == 0

    Variant()(main)
