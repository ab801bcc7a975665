"""Peers that break the rules on purpose: every input has one decided outcome, and the server goes on serving others."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from harness import HOST, Bench, Variant, engine, noise, rss_kb, until
from quic import Peer, client, frame, length, record

import naquid

MIB = 1 << 20
UNKNOWN, FRAME_ERROR, TOO_BIG = 0x02, 0x03, 0x04


def app() -> naquid.Handlers:
    handlers = naquid.Handlers()
    handlers.rpc("rpc")(lambda rpc, type, payload: payload)
    handlers.rpc_notify("rpc")(lambda rpc, type, payload: None)
    handlers.datagram(lambda conn, data: None)

    @handlers.stream("records")
    async def records(stream: naquid.Stream) -> None:
        async for one in stream:
            await stream.send(one)

    return handlers


@contextlib.asynccontextmanager
async def siege(bench: Bench, **config: Any) -> AsyncIterator[tuple[naquid.Server, Peer, naquid.Connection]]:
    """A server, a hostile aioquic client of it, and a naquid client that must be served before and after."""
    async with (
        bench.serve(app(), **config) as server,
        bench.connect(server.port) as witness,
        client(server.port, bench.ca.ca) as peer,
    ):
        rpc = await witness.open_rpc("rpc")
        assert await rpc.call(1, b"before") == b"before"
        yield server, peer, witness
        assert await rpc.call(1, b"after") == b"after"
        async with bench.connect(server.port) as fresh:
            assert await (await fresh.open_rpc("rpc")).call(1, b"new") == b"new"


async def refused(peer: Peer, data: bytes, code: int, end: bool = False) -> None:
    """These first bytes of a stream end it with this code in both directions; the connection goes on."""
    stream = peer.open(data, end)
    await peer.until(lambda: stream in peer.resets and (end or stream in peer.stops))
    assert peer.resets[stream] == code, data[:40]
    assert end or peer.stops[stream] == code, data[:40]
    assert peer.end is None


async def served(peer: Peer) -> None:
    """The connection still answers."""
    stream = peer.open(b"rpc\0" + frame(1, 1, b"alive"))
    await peer.until(lambda: bytes(peer.received[stream]) == frame(0, 1, b"alive"))


NAMES = {
    "unknown": b"chess\0",
    "empty": b"\0",
    "prefix of a name": b"rp\0",
    "longer than a name": b"rpcs\0",
    "of 255 bytes": b"x" * 255 + b"\0",
    "of 256 bytes": b"x" * 256 + b"\0",
    "without an end": b"x" * 70000,
    "no text": b"\xff\xfe\xfd\0",
    "of another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
}


@pytest.mark.parametrize("name", NAMES)
def test_protocol_names(run: Variant, bench: Bench, name: str) -> None:
    async def main() -> None:
        async with siege(bench) as (_, peer, _):
            await refused(peer, NAMES[name], UNKNOWN)
            await served(peer)

    run(main)


@pytest.mark.parametrize("start", [b"", b"r", b"rpc"])
def test_streams_that_end_before_their_name(run: Variant, bench: Bench, start: bytes) -> None:
    async def main() -> None:
        async with siege(bench) as (_, peer, _):
            await refused(peer, start, UNKNOWN, end=True)
            await served(peer)

    run(main)


FRAMES = {
    "both ID flags": bytes.fromhex("07 01 00 01 00 01 80"),
    "both ID flags, wide type": bytes.fromhex("03 00 01 00 01 00 01 80"),
    "reserved bit 08": bytes.fromhex("0d 01 00 01 80"),
    "reserved bit 10": bytes.fromhex("15 01 00 01 80"),
    "reserved bit 80": bytes.fromhex("85 01 00 01 80"),
    "every bit": b"\xff" * 40,
    "ID 0 of two bytes": bytes.fromhex("05 01 00 00 80"),
    "ID 0 of four bytes": bytes.fromhex("06 01 00 00 00 00 80"),
    "reply without an ID": bytes.fromhex("04 00 80"),
    "error reply without an ID": bytes.fromhex("00 ff f9 80"),
    "length of six bytes": bytes.fromhex("05 01 00 01 7f 7f 7f 7f 7f 81"),
    "length above 32 bits": bytes.fromhex("05 01 00 01 7f 7f 7f 7f 90"),
    "overlong 0": bytes.fromhex("05 01 00 01 00 80"),
    "overlong 1": bytes.fromhex("05 01 00 01 01 80"),
    "overlong 127": bytes.fromhex("05 01 00 01 7f 00 80"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_malformed_frames(run: Variant, bench: Bench, name: str) -> None:
    """First on a stream, after a good frame, and byte by byte."""
    bad = FRAMES[name]

    async def main() -> None:
        async with siege(bench) as (_, peer, _):
            await refused(peer, b"rpc\0" + bad, FRAME_ERROR)
            stream = peer.open(b"rpc\0" + frame(1, 9, b"good"))
            await peer.until(lambda: bytes(peer.received[stream]) == frame(0, 9, b"good"))
            for byte in bad:
                peer.send(stream, bytes([byte]))
                await asyncio.sleep(0.001)
                if stream in peer.stops:
                    break
            await peer.until(lambda: stream in peer.resets)
            assert peer.resets[stream] == FRAME_ERROR
            await served(peer)

    run(main)


@pytest.mark.parametrize(
    "bad", [bytes.fromhex(text) for text in ("7f7f7f7f7f81", "7f7f7f7f90", "0080", "0180", "7f0080")], ids=bytes.hex
)
def test_malformed_record_lengths(run: Variant, bench: Bench, bad: bytes) -> None:
    async def main() -> None:
        async with siege(bench) as (_, peer, _):
            await refused(peer, b"records\0" + bad, FRAME_ERROR)
            await refused(peer, b"records\0" + record(b"good") + bad + bytes(100), FRAME_ERROR)
            await served(peer)

    run(main)


def test_replies_to_nothing(run: Variant, bench: Bench) -> None:
    """Dropped: a reply may always come too late."""

    async def main() -> None:
        async with siege(bench) as (_, peer, _):
            stream = peer.open(b"rpc\0")
            for msgid in (1, 2, 65535, 65536, 0xFFFFFFFF):
                for result in (0, -1, -128, -32768):
                    peer.send(stream, frame(result, msgid, b"to nothing"))
            peer.send(stream, frame(1, 5, b"still fine"))
            await peer.until(lambda: bytes(peer.received[stream]) == frame(0, 5, b"still fine"))

    run(main)


@pytest.mark.parametrize("kind", ["rpc", "records"])
def test_announced_lengths(run: Variant, bench: Bench, kind: str) -> None:
    """A length above the limit ends a stream of records at once, and costs nothing where a reply says so; one within it
    that never comes costs nothing up front."""

    async def main() -> None:
        async with siege(bench) as (_, peer, _):
            head = b"rpc\0" + bytes.fromhex("05 01 00 01") if kind == "rpc" else b"records\0"
            await served(peer)
            before = rss_kb()
            for size in (16 * MIB + 1, 0x7FFFFFFF, 0xFFFFFFFF):
                if kind == "records":
                    await refused(peer, head + length(size) + b"begin", TOO_BIG)
                    continue
                stream = peer.open(head + length(size) + b"begin")
                answer = frame(naquid.ETOOBIG, 1, b"")
                await peer.until(lambda s=stream, a=answer: bytes(peer.received[s]) == a)
            for _ in range(500):
                peer.open(head + length(16 * MIB) + b"begin")
            await served(peer)
            assert engine().stats()["streams"] >= 500
            # 500 x 16 MiB were announced
            assert rss_kb() - before < 32 * 1024

    run(main)


def test_incomplete_messages_are_bounded(run: Variant, bench: Bench) -> None:
    """What incomplete messages may hold of memory is one bound for the connection, however many streams have one.
    Beyond it they get no more credit, and at twice as much a stream is closed."""

    async def main() -> None:
        limits = naquid.Limits(max_assembly=4 * MIB, connection_window=64 * MIB)
        async with siege(bench, limits=limits) as (_, peer, _):
            before = rss_kb()
            streams = [peer.open(b"records\0" + length(2 * MIB) + bytes(MIB)) for _ in range(48)]
            await peer.until(lambda: len(peer.resets.keys() & set(streams)) >= 10)
            assert {peer.resets[stream] for stream in peer.resets} == {0x05}  # NQ_CODE_OVERLOAD
            assert rss_kb() - before < 96 * 1024  # this process is also the one that sends
            await served(peer)

    run(main)


def test_truncated_messages(run: Variant, bench: Bench) -> None:
    """A stream that ends within a message is no stream that ended."""

    async def main() -> None:
        async with siege(bench) as (_, peer, _):
            whole = frame(1000, 70000, noise(200))
            for size in (1, 2, 5, 7, 8, 9, 100, len(whole) - 1):
                await refused(peer, b"rpc\0" + whole[:size], FRAME_ERROR, end=True)
            whole = record(noise(200))
            for size in (1, 2, 3, len(whole) - 1):
                await refused(peer, b"records\0" + whole[:size], FRAME_ERROR, end=True)
            await served(peer)

    run(main)


def test_streams_cut_off(run: Variant, bench: Bench) -> None:
    """Reset at every place of a conversation."""

    async def main() -> None:
        async with siege(bench) as (_, peer, _):
            whole = b"rpc\0" + frame(1, 1, b"payload") + frame(200, 2, b"more")
            streams = []
            for size in range(len(whole) + 1):
                stream = peer.open(whole[:size])
                streams.append(stream)
                if size % 2:
                    await asyncio.sleep(0.001)
                peer.reset(stream, size)
                if size % 3:
                    peer.stop(stream, size)
            await served(peer)
            await until(lambda: engine().stats()["streams"] <= 6)

    run(main)


def test_stopped_streams_pin_nothing(run: Variant, bench: Bench) -> None:
    """A client stops streams whose handler sends, and keeps its own half of each open: what nobody wants is freed."""
    streams = 60

    async def main() -> None:
        handlers = app()

        @handlers.raw_stream("flood")
        async def flood(stream: naquid.RawStream) -> None:
            stream.write(bytes(MIB))
            await stream.wait_closed()

        async with (
            bench.serve(handlers) as server,
            client(server.port, bench.ca.ca, max_data=MIB, max_stream_data=1024) as peer,
        ):
            flooded = [peer.open(b"flood\0") for _ in range(streams)]
            await peer.until(lambda: all(peer.received[stream] for stream in flooded))
            assert engine().stats()["send_buffer_bytes"] > streams * MIB // 2
            for stream in flooded:
                peer.stop(stream, 0)
            await peer.until(lambda: all(stream in peer.resets for stream in flooded))
            assert engine().stats()["send_buffer_bytes"] == 0
            assert engine().stats()["streams"] == streams, "they are the client's to end"
            (conn,) = server.connections
            assert conn.stats().queued == 0

    run(main)


def test_more_streams_than_allowed(run: Variant, bench: Bench) -> None:
    """A peer that ignores the stream limit is closed with the transport's code for that."""

    async def main() -> None:
        async with siege(bench, limits=naquid.Limits(max_streams_bidi=8)) as (_, peer, _):
            peer._quic._remote_max_streams_bidi = 1 << 20
            for _ in range(9):
                peer.open(b"rpc\0")
            await peer.until(lambda: peer.end)
            assert peer.end is not None
            assert peer.end.error_code == 0x04  # STREAM_LIMIT_ERROR

    run(main)


def test_more_data_than_allowed(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with siege(bench) as (_, peer, _):
            stream = peer.open(b"records\0")
            sender = peer._quic._streams[stream]
            sender.max_stream_data_remote = 1 << 40
            peer._quic._remote_max_data = 1 << 40
            sender.sender._buffer_start = sender.sender._buffer_stop = 3 * MIB  # a gap, then data past the window
            peer._quic._streams[stream].sender._pending.add(3 * MIB, 3 * MIB + 4)
            sender.sender._buffer = bytearray(b"gone")
            sender.sender._buffer_stop = 3 * MIB + 4
            sender.sender.buffer_is_empty = False
            peer.transmit()
            await peer.until(lambda: peer.end)
            assert peer.end is not None
            assert peer.end.error_code == 0x03  # FLOW_CONTROL_ERROR

    run(main)


# ---- without a connection ----


def shots(port: int) -> list[bytes]:
    """Datagrams of every kind that belong to no connection."""
    source = random.Random(port)
    found = [b"", b"\0", b"\xff", bytes(1), bytes(1200), b"\xff" * 1500, bytes(65507)]
    for size in (5, 21, 22, 43, 100, 1199, 1200, 1452, 9000):
        for first in (0x40, 0xC0, 0xD0, 0xE0, 0xF0, 0x80, 0x00):
            found.append(bytes([first | source.getrandbits(6) & 0x0F]) + source.randbytes(size - 1))
        for version in (0, 1, 0x6B3343CF, 0x1A2A3A4A, 0xFFFFFFFF):
            for ids in (b"\x08" + bytes(8) + b"\x08" + bytes(8), b"\x00\x00", b"\x14" + bytes(20) * 2, b"\xff" * 9):
                head = b"\xc3" + version.to_bytes(4, "big") + ids
                found.append((head + source.randbytes(size))[: max(size, len(head))])
    return found


def test_garbage_datagrams(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(app()) as server, bench.connect(server.port) as witness:
            rpc = await witness.open_rpc("rpc")
            garbage = shots(server.port)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
                for turn in range(5):
                    for at, shot in enumerate(garbage):
                        raw.sendto(shot, (HOST, server.port))
                        if at % 50 == 0:
                            assert await rpc.call(1, b"%d" % at) == b"%d" % at
                    if turn == 0:
                        before = rss_kb()
                assert rss_kb() - before < 8 * 1024
            async with bench.connect(server.port) as fresh:
                assert await (await fresh.open_rpc("rpc")).call(1, b"new") == b"new"
            assert engine().stats()["accepted"] <= 2 + 5 * len(garbage)

    run(main)


def test_garbage_to_a_client(run: Variant, bench: Bench) -> None:
    """From the server's own address and from others, onto the socket of a client."""

    async def main() -> None:
        async with bench.pair(app()) as (server, conn):
            rpc = await conn.open_rpc("rpc")
            assert conn.local_address is not None
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
                for at, shot in enumerate(shots(server.port)):
                    raw.sendto(shot, (HOST, conn.local_address[1]))
                    if at % 20 == 0:
                        assert await rpc.call(1, b"%d" % at) == b"%d" % at

    run(main)


def test_replayed_and_damaged_packets(run: Variant, bench: Bench) -> None:
    """A middle box that sends every packet twice, and a damaged copy before it."""

    async def main() -> None:
        async with bench.serve(app()) as server:
            loop = asyncio.get_running_loop()
            source = random.Random(1)

            class Relay(asyncio.DatagramProtocol):
                def __init__(self) -> None:
                    self.front: tuple[str, int] | None = None

                def connection_made(self, transport: asyncio.BaseTransport) -> None:
                    self.transport = transport

                def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
                    if address[1] != server.port:
                        self.front = address
                    to = (HOST, server.port) if address[1] != server.port else self.front
                    damaged = bytearray(data)
                    damaged[source.randrange(len(data))] ^= 1 << source.randrange(8)
                    for packet in (bytes(damaged), data, data):
                        self.transport.sendto(packet, to)  # type: ignore[attr-defined]

            transport, _ = await loop.create_datagram_endpoint(Relay, (HOST, 0))
            port = transport.get_extra_info("sockname")[1]
            async with bench.connect(port) as conn:
                rpc = await conn.open_rpc("rpc")
                for number in range(50):
                    assert await rpc.call(1, noise(1000, number)) == noise(1000, number)
            transport.close()

    run(main)


def test_half_open_handshakes_are_bounded(run: Variant, bench: Bench) -> None:
    """Above max_half_open a client has to prove its address; those that do are served."""
    first_flights: list[bytes] = []

    async def main() -> None:
        limits = naquid.Limits(max_half_open=20)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
            hole.bind((HOST, 0))
            hole.setblocking(False)
            attempts = [asyncio.ensure_future(bench.connect(hole.getsockname()[1])._connect()) for _ in range(60)]
            loop = asyncio.get_running_loop()
            while len(first_flights) < 60:
                first_flights.append(await loop.sock_recv(hole, 2048))
            for attempt in attempts:
                attempt.cancel()
            await asyncio.wait(attempts)
            async with bench.serve(app(), limits=limits) as server:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
                    for flight in first_flights:
                        raw.sendto(flight, (HOST, server.port))
                    async with bench.connect(server.port) as conn:
                        assert await (await conn.open_rpc("rpc")).call(1, b"x") == b"x"
                    assert engine().stats()["retries_sent"] > 0
                    assert len(server.connections) <= 1

    run(main)


def test_max_connections(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(app(), limits=naquid.Limits(max_connections=3)) as server:
            conns = [await bench.connect(server.port) for _ in range(3)]
            with pytest.raises(naquid.HandshakeFailed) as caught:
                await bench.connect(server.port)
            assert caught.value.code == 0x02  # CONNECTION_REFUSED
            await conns[0].close()
            await until(lambda: len(server.connections) == 2)
            async with bench.connect(server.port) as conn:
                assert await (await conn.open_rpc("rpc")).call(1, b"x") == b"x"
            for conn in conns[1:]:
                await conn.close()

    run(main)
