"""Requests over TLS over TCP: asyncio's own loop, or uvloop (`--loop uvloop`)."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path
from typing import cast

import framed


class ServerProtocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._service = framed.Service(cast(asyncio.Transport, transport).write)

    def data_received(self, data: bytes) -> None:
        self._service.feed(data)


class ClientProtocol(asyncio.Protocol):
    def __init__(self, load: framed.Load, number: int) -> None:
        self._load, self._number = load, number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.caller = framed.Caller(self._load, self._number, cast(asyncio.Transport, transport).write)

    def data_received(self, data: bytes) -> None:
        self.caller.feed(data)


async def serve(cert: Path, key: Path) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(cert, key)
    server = await asyncio.get_running_loop().create_server(ServerProtocol, "127.0.0.1", 0, ssl=context, backlog=1024)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def drive(load: framed.Load, port: int, cert: Path) -> list[framed.Caller]:
    context = ssl.create_default_context(cafile=str(cert))
    loop = asyncio.get_running_loop()
    pairs = await asyncio.gather(
        *(
            loop.create_connection(
                lambda number=number: ClientProtocol(load, number),  # type: ignore[misc]
                "127.0.0.1",
                port,
                ssl=context,
                server_hostname="localhost",
            )
            for number in range(load.connections)
        )
    )
    return [protocol.caller for _, protocol in pairs]


if __name__ == "__main__":
    if "uvloop" in sys.argv:
        import uvloop

        framed.main("uvloop TLS", serve, drive, uvloop.run)
    else:
        framed.main("asyncio TLS", serve, drive)
