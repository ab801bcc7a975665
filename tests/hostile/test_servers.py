"""Servers that break the rules, and naquid as their client: it ends with an error that says why, and at once."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import pytest
from aioquic import tls
from aioquic.buffer import Buffer
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion, pull_quic_header
from harness import HOST, Bench, Variant
from quic import Peer, configuration, frame, server

import naquid

PROTOCOL_VIOLATION = 0x0A
FRAME_ERROR = 0x03
HANDSHAKE_DONE, PING = 0x1E, 0x01


# ---- before the handshake is complete ----


class FirstFlight(asyncio.DatagramProtocol):
    """A server that sends a 1-RTT packet with a frame of its own before, in or after its first flight."""

    def __init__(self, leaf: Any, place: str, frame_type: int) -> None:
        self.conf = configuration(False)
        self.conf.load_cert_chain(str(leaf.cert), str(leaf.key))
        self.place = place
        self.frame_type = frame_type
        self.quic: QuicConnection | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        now = asyncio.get_running_loop().time()
        first = self.quic is None
        if self.quic is None:
            head = pull_quic_header(Buffer(data=data), host_cid_length=8)
            self.quic = QuicConnection(configuration=self.conf, original_destination_connection_id=head.destination_cid)
        self.quic.receive_datagram(data, address, now=now)
        out = [datagram for datagram, _ in self.quic.datagrams_to_send(now=now)]
        for datagram in self.with_early(out) if first else out:
            self.transport.sendto(datagram, address)

    def with_early(self, out: list[bytes]) -> list[bytes]:
        quic = self.quic
        assert quic is not None
        number = quic._packet_number
        quic._packet_number += 1
        head = bytes([0x43]) + quic._peer_cid.cid + struct.pack(">I", number)
        early = quic._cryptos[tls.Epoch.ONE_RTT].send.encrypt_packet(head, bytes([self.frame_type]) + bytes(20), number)
        if self.place == "before":
            return [early, *out]
        if self.place == "after":
            return [*out, early]
        last, at = out[-1], 0
        while at < len(last) and last[at] & 0x80:
            at += pull_quic_header(Buffer(data=last[at:]), host_cid_length=8).packet_length or 0
        return [*out[:-1], last[:at] + early]


async def connect_to(protocol: Callable[[], asyncio.DatagramProtocol], bench: Bench) -> naquid.Connection:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(protocol, local_addr=(HOST, 0))
    try:
        return await bench.connect(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


@pytest.mark.parametrize("place", ["before", "coalesced", "after"])
def test_handshake_done_before_the_handshake_is(run: Variant, bench: Bench, place: str) -> None:
    async def main() -> None:
        with pytest.raises(naquid.HandshakeFailed, match="PROTOCOL_VIOLATION") as caught:
            await connect_to(lambda: FirstFlight(bench.leaf, place, HANDSHAKE_DONE), bench)
        assert caught.value.code == PROTOCOL_VIOLATION
        assert not caught.value.remote

    run(main)


@pytest.mark.parametrize("place", ["before", "coalesced", "after"])
def test_other_frames_may_come_early(run: Variant, bench: Bench, place: str) -> None:
    async def main() -> None:
        conn = await connect_to(lambda: FirstFlight(bench.leaf, place, PING), bench)
        assert conn.is_open
        conn.abort()

    run(main)


# ---- messages that are none ----


def broken(answer: bytes) -> Callable[[Peer, int], None]:
    """A server whose answer to anything is this, and who never answers STOP_SENDING."""

    def on_stream(peer: Peer, stream: int) -> None:
        quic = peer._quic
        handlers = quic._QuicConnection__frame_handlers  # type: ignore[attr-defined]
        skip = handlers[5][1]
        handlers[5] = (lambda context, type, buffer: (buffer.pull_uint_var(), buffer.pull_uint_var()), skip)
        if stream not in peer.finished:
            quic.send_stream_data(stream, answer)

    return on_stream


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b"\x07\0\0\0\0\1\x80", FRAME_ERROR, "no message"),
        (b"\x05\0\0\1\0\x80", FRAME_ERROR, "no message"),
    ],
    ids=["two message IDs", "overlong length"],
)
def test_calls_end_with_the_stream_that_is_given_up(
    run: Variant, bench: Bench, answer: bytes, code: int, words: str
) -> None:
    async def main() -> None:
        async with server(bench.leaf, broken(answer)) as (port, _), bench.connect(port) as conn:
            rpc = await conn.open_rpc("echo")
            results: list[int] = []
            rpc.call_soon(1, b"x", lambda result, payload: results.append(result), timeout=3600)
            calls = [asyncio.ensure_future(rpc.call(1, b"x", timeout=3600)) for _ in range(3)]
            calls.append(asyncio.ensure_future(rpc.call_many(1, [b"x", b"y"], timeout=3600)))
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, naquid.ConnectionLost)
                assert error.code == code
                assert not error.remote
                assert words in str(error)
            assert results == [naquid.EGOAWAY]
            with pytest.raises(naquid.ConnectionLost, match=words):
                await rpc.call(1, b"y", timeout=3600)
            assert conn.is_open, "the connection goes on"

    run(main)


def test_readers_end_with_the_stream_that_is_given_up(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        first = b"\x85first"
        async with server(bench.leaf, broken(first + b"\0\x80")) as (port, _), bench.connect(port) as conn:
            stream = await conn.open_stream("records")
            await stream.send(b"x")
            assert await stream.recv() == b"first", "what was whole before is delivered"
            with pytest.raises(naquid.StreamReset, match="this side ended") as caught:
                await stream.recv()
            assert caught.value.code == FRAME_ERROR
            with pytest.raises(naquid.StreamReset, match="this side ended"):
                await stream.send(b"more")

    run(main)


# ---- the handshake and the end in one tick ----


class OpenAndClose(FirstFlight):
    """A server that completes the handshake and closes: both reach the client in one tick."""

    def with_early(self, out: list[bytes]) -> list[bytes]:
        quic = self.quic
        assert quic is not None
        number = quic._packet_number
        quic._packet_number += 1
        head = bytes([0x43]) + quic._peer_cid.cid + struct.pack(">I", number)
        # CONNECTION_CLOSE of an application: code 0x17, a reason of two bytes.
        close = b"\x1d\x17\x02no" + bytes(20)
        return [*out, quic._cryptos[tls.Epoch.ONE_RTT].send.encrypt_packet(head, close, number)]


def test_open_and_close_in_one_tick(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        with pytest.raises(naquid.HandshakeFailed, match="application code 0x17") as caught:
            await connect_to(lambda: OpenAndClose(bench.leaf, "after", PING), bench)
        assert caught.value.code == 0x17
        assert caught.value.remote
        assert caught.value.reason == "no"
        assert caught.value.alert is None

    run(main)


# ---- versions ----


def test_a_server_of_version_2_only(run: Variant, bench: Bench) -> None:
    def answer(peer: Peer, stream: int) -> None:
        data = bytes(peer.received[stream])
        peer.received[stream].clear()
        assert data.startswith(b"rpc\0")
        peer._quic.send_stream_data(stream, frame(0, 1, b"by version 2"))

    async def main() -> None:
        v2 = [QuicProtocolVersion.VERSION_2]
        async with server(bench.leaf, answer, supported_versions=v2) as (port, _), bench.connect(port) as conn:
            assert conn.stats().version == QuicProtocolVersion.VERSION_2
            rpc = await conn.open_rpc("rpc")
            assert await rpc.call(1, b"") == b"by version 2"
        with pytest.raises(naquid.HandshakeFailed, match="version"):
            async with server(bench.leaf, answer, supported_versions=v2) as (port, _):
                await bench.connect(port, version=QuicProtocolVersion.VERSION_1)

    run(main)
