"""Requests over one QUIC stream per connection: aiopquic (Cython over picoquic; needs CPython 3.12 or newer)."""

from __future__ import annotations

import asyncio
import functools
import socket
from pathlib import Path
from typing import Any

import framed
from aiopquic.asyncio import QuicConnectionProtocol, serve
from aiopquic.quic.configuration import QuicConfiguration
from aiopquic.quic.connection import QuicEngine
from aiopquic.quic.events import HandshakeCompleted, QuicEvent, StreamDataReceived


class Protocol(QuicConnectionProtocol):  # type: ignore[misc]
    """Sends again, in order, what found aiopquic's ring full."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: list[tuple[int, bytes]] = []

    def write(self, stream: int, data: bytes) -> None:
        if not self._held:
            try:
                self._quic.send_stream_data(stream, data)
                return
            except BufferError:
                asyncio.get_running_loop().call_later(0.001, self._again)
        self._held.append((stream, data))

    def _again(self) -> None:
        held, self._held = self._held, []
        for stream, data in held:
            self.write(stream, data)


class ServerProtocol(Protocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._services: dict[int, framed.Service] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            service = self._services.get(event.stream_id)
            if service is None:
                service = framed.Service(functools.partial(self.write, event.stream_id))
                self._services[event.stream_id] = service
            service.feed(bytes(event.data))


class ClientProtocol(Protocol):
    caller: framed.Caller

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.caller.feed(bytes(event.data))
        elif isinstance(event, HandshakeCompleted):
            opened(self)


def opened(protocol: ClientProtocol) -> None:
    """Replaced by the running `drive`."""


def unused_port() -> int:
    """aiopquic does not tell its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def serve_rpc(cert: Path, key: Path) -> int:
    port = unused_port()
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["bench"], certificate_file=str(cert))
    configuration.load_cert_chain(str(cert), str(key))
    server = await serve("127.0.0.1", port, configuration=configuration, create_protocol=ServerProtocol)
    framed.AT_END.append(lambda: asyncio.to_thread(server.close))
    return port


async def drive(load: framed.Load, port: int, cert: Path) -> list[framed.Caller]:
    """All connections over one transport, that is one network thread: its `connect` would start a thread for each."""
    global opened
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    callers: list[framed.Caller] = []

    def opened(protocol: ClientProtocol) -> None:
        stream = protocol._quic.get_next_available_stream_id()
        protocol.caller = framed.Caller(load, len(callers), functools.partial(protocol.write, stream))
        callers.append(protocol.caller)
        if len(callers) == load.connections:
            ready.set_result(None)

    configuration = QuicConfiguration(alpn_protocols=["bench"], server_name="localhost")
    configuration.load_verify_locations(str(cert))
    engine = QuicEngine(configuration=configuration, create_protocol=ClientProtocol)
    engine._start_transport(port=0)
    loop.add_reader(engine.eventfd, engine.drain_and_route)
    for _ in range(load.connections):
        engine._transport.create_client_connection(
            "127.0.0.1", port, sni="localhost", alpn="bench", desired_version=configuration.desired_version
        )
    await asyncio.wait_for(ready, 20)
    framed.AT_END.append(lambda: asyncio.to_thread(engine.close))
    return callers


if __name__ == "__main__":
    framed.main("aiopquic", serve_rpc, drive)
