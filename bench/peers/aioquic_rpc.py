"""Requests over one QUIC stream per connection: aioquic, or its descendant (`--library qh3`)."""

from __future__ import annotations

import asyncio
import functools
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import framed

if "qh3" in sys.argv:
    from qh3.asyncio import QuicConnectionProtocol, connect, serve
    from qh3.quic.configuration import QuicConfiguration
    from qh3.quic.events import QuicEvent, StreamDataReceived
else:
    from aioquic.asyncio import QuicConnectionProtocol, connect, serve
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import QuicEvent, StreamDataReceived

WINDOW = 16 * 1024 * 1024


class ServerProtocol(QuicConnectionProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._services: dict[int, framed.Service] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            service = self._services.get(event.stream_id)
            if service is None:
                write = functools.partial(self._quic.send_stream_data, event.stream_id)
                service = self._services[event.stream_id] = framed.Service(write)
            service.feed(event.data)  # datagram_received transmits once after all events of the datagram


class Caller(framed.Caller):
    def __init__(self, load: framed.Load, number: int, protocol: QuicConnectionProtocol) -> None:
        stream = protocol._quic.get_next_available_stream_id()
        super().__init__(load, number, functools.partial(protocol._quic.send_stream_data, stream))
        self._transmit = protocol.transmit

    def start(self) -> None:
        super().start()
        self._transmit()  # later writes leave with the datagram that caused them


class ClientProtocol(QuicConnectionProtocol):
    caller: framed.Caller

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.caller.feed(event.data)


async def serve_rpc(cert: Path, key: Path) -> int:
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=["bench"], max_data=WINDOW, max_stream_data=WINDOW
    )
    configuration.load_cert_chain(cert, key)
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=ServerProtocol)
    port: int = server._transport.get_extra_info("sockname")[1]
    return port


async def drive(load: framed.Load, port: int, cert: Path) -> list[framed.Caller]:
    configuration = QuicConfiguration(alpn_protocols=["bench"], max_data=WINDOW, max_stream_data=WINDOW)
    configuration.load_verify_locations(str(cert))
    configuration.server_name = "localhost"
    open_now: list[AbstractAsyncContextManager[QuicConnectionProtocol]] = []

    async def close() -> None:  # side by side: each waits for three probe timeouts
        await asyncio.gather(*(connection.__aexit__(None, None, None) for connection in open_now))

    framed.AT_END.append(close)

    async def one(number: int) -> framed.Caller:
        connection = connect("127.0.0.1", port, configuration=configuration, create_protocol=ClientProtocol)
        open_now.append(connection)
        protocol = await connection.__aenter__()
        assert isinstance(protocol, ClientProtocol)
        protocol.caller = Caller(load, number, protocol)
        return protocol.caller

    callers: list[framed.Caller] = []
    for start in range(0, load.connections, 10):  # aioquic loses handshakes when all of them start at once
        group = range(start, min(start + 10, load.connections))
        callers += await asyncio.gather(*(one(number) for number in group))
    return callers


if __name__ == "__main__":
    framed.main("qh3" if "qh3" in sys.argv else "aioquic", serve_rpc, drive)
