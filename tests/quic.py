"""aioquic as client and as server, and the frames of `nq/1` written by hand from the wire format's text."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

HOST = "127.0.0.1"
PATIENCE = 60.0

# ---- the wire format ----


def length(value: int) -> bytes:
    """Groups of 7 bits, least significant first; the last byte has bit 80 set."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F)
        value >>= 7
    out.append(value | 0x80)
    return bytes(out)


def record(payload: bytes) -> bytes:
    return length(len(payload)) + payload


def frame(type: int, msgid: int, payload: bytes = b"") -> bytes:
    """A request or notification (type > 0), or a reply (type <= 0); msgid 0: none."""
    flags = 0
    body = b""
    if -128 <= type <= 127:
        flags |= 4
        body += type.to_bytes(1, "big", signed=True)
    else:
        body += type.to_bytes(2, "big", signed=True)
    if msgid > 0xFFFF:
        flags |= 2
        body += msgid.to_bytes(4, "big")
    elif msgid:
        flags |= 1
        body += msgid.to_bytes(2, "big")
    return bytes([flags]) + body + length(len(payload)) + payload


class Frames:
    """Takes bytes in any pieces; gives complete (type, msgid, payload)."""

    def __init__(self) -> None:
        self.buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        self.buffer += data
        found = []
        while (one := self._one()) is not None:
            found.append(one)
        return found

    def _one(self) -> tuple[int, int, bytes] | None:
        data = self.buffer
        if not data:
            return None
        flags = data[0]
        type_size = 1 if flags & 4 else 2
        id_size = {0: 0, 1: 2, 2: 4}[flags & 3]
        at = 1 + type_size + id_size
        size = shift = 0
        while True:
            if at >= len(data):
                return None
            size |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] & 0x80:
                break
        if len(data) < at + size:
            return None
        self.buffer = data[at + size :]
        return (
            int.from_bytes(data[1 : 1 + type_size], "big", signed=True),
            int.from_bytes(data[1 + type_size : 1 + type_size + id_size], "big"),
            data[at : at + size],
        )


# ---- aioquic ----


class Peer(QuicConnectionProtocol):
    """An aioquic connection that keeps what it receives, stream by stream."""

    on_stream: Callable[[Peer, int], None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.received: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.finished: set[int] = set()
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.datagrams: list[bytes] = []
        self.end: ConnectionTerminated | None = None
        self._changed = asyncio.Event()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.received[event.stream_id] += event.data
            if event.end_stream:
                self.finished.add(event.stream_id)
            if self.on_stream is not None:
                self.on_stream(self, event.stream_id)
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, StopSendingReceived):
            self.stops[event.stream_id] = event.error_code
        elif isinstance(event, DatagramFrameReceived):
            self.datagrams.append(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.end = event
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits until something that was received makes the condition true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def send(self, stream: int, data: bytes, end: bool = False) -> None:
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    def open(self, data: bytes = b"", end: bool = False, uni: bool = False) -> int:
        stream = self._quic.get_next_available_stream_id(is_unidirectional=uni)
        self.send(stream, data, end)
        return stream

    def reset(self, stream: int, code: int) -> None:
        self._quic.reset_stream(stream, code)
        self.transmit()

    def stop(self, stream: int, code: int) -> None:
        self._quic.stop_stream(stream, code)
        self.transmit()

    def datagram(self, data: bytes) -> None:
        self._quic.send_datagram_frame(data)
        self.transmit()


def configuration(is_client: bool, alpn: str = "nq/1", **options: Any) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=is_client, alpn_protocols=[alpn], max_datagram_frame_size=65536, idle_timeout=300.0, **options
    )


@contextlib.asynccontextmanager
async def client(port: int, ca: Path, **options: Any) -> AsyncIterator[Peer]:
    """An aioquic client, connected; the server's certificate is verified."""
    config = configuration(True, **options)
    config.load_verify_locations(str(ca))
    config.verify_mode = ssl.CERT_REQUIRED
    async with connect(HOST, port, configuration=config, create_protocol=Peer) as peer:
        assert isinstance(peer, Peer)
        yield peer


@contextlib.asynccontextmanager
async def server(
    leaf: Any, on_stream: Callable[[Peer, int], None], **options: Any
) -> AsyncIterator[tuple[int, list[Peer]]]:
    """An aioquic server: its port, and its connections."""
    config = configuration(False, **options)
    config.load_cert_chain(str(leaf.cert), str(leaf.key))
    peers: list[Peer] = []

    def create(*args: Any, **kwargs: Any) -> Peer:
        peer = Peer(*args, **kwargs)
        peer.on_stream = on_stream
        peers.append(peer)
        return peer

    listening = await serve(HOST, 0, configuration=config, create_protocol=create)
    try:
        assert listening._transport is not None
        yield listening._transport.get_extra_info("sockname")[1], peers
    finally:
        listening.close()
