"""Small benchmarks: one record, one request, one datagram, timers, routing table, handshake.

`engine`: the C engine over the simulated network, both ends, neither Python nor a kernel. `python`: the asyncio API
with both ends in one event loop, over real UDP. Each round is many operations: divide by the number in the name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from conftest import Engine  # type: ignore[attr-defined]

import naquid
from naquid.cli.certificates import CertificateFiles

OPERATIONS = {
    "request": 1000,
    "request, one outstanding": 100,
    "record of 8 bytes": 1000,
    "record of 1,000 bytes": 100,
    "datagram": 100,
    "handshake": 1,
    "timers, 1": 10_000,
    "timers, 10,000": 10_000,
    "connection IDs, 1": 10_000,
    "connection IDs, 10,000": 10_000,
    "handlers, 1": 10_000,
    "handlers, 10,000": 10_000,
}


@pytest.mark.parametrize("name", OPERATIONS, ids=[f"{name} x {n}" for name, n in OPERATIONS.items()])
def test_engine(benchmark: Any, engine: Engine, name: str) -> None:
    benchmark(engine(name), OPERATIONS[name])


class Pair:
    """A server and a connection to it, in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, files: CertificateFiles) -> None:
        self.loop, self.files = loop, files
        app, self.client = naquid.Handlers(), naquid.Handlers()
        self.arrived: asyncio.Future[None] = loop.create_future()
        self.left = 0
        app.rpc("echo")(lambda rpc, type, payload: payload)
        app.rpc_batch("batch")(lambda batch: batch.payloads)
        app.datagram(lambda conn, data: conn.send_datagram(data))

        @app.stream("records")
        async def echo(stream: naquid.Stream) -> None:
            async for record in stream:
                await stream.send(record)

        self.client.datagram(self.datagram)
        self.app = app

    def datagram(self, conn: naquid.Connection, data: bytes) -> None:
        self.left -= 1
        if not self.left and not self.arrived.done():
            self.arrived.set_result(None)

    async def open(self) -> None:
        cert, key, self.ca = (str(path) for path in (self.files.cert, self.files.key, self.files.ca))
        self.server = await naquid.serve(self.app, "127.0.0.1", 0, cert=cert, key=key)
        self.conn = await self.connect()
        self.rpc = await self.conn.open_rpc("echo")
        self.batch = await self.conn.open_rpc("batch")
        self.stream = await self.conn.open_stream("records")

    async def connect(self) -> naquid.Connection:
        assert self.server.port is not None
        return await naquid.connect("127.0.0.1", self.server.port, ca=self.ca, app=self.client)

    async def requests(self) -> None:
        await asyncio.gather(*(self.rpc.call(1, b"12345678") for _ in range(100)))

    async def request(self) -> None:
        await self.rpc.call(1, b"12345678")

    async def call_many(self) -> None:
        await self.batch.call_many(1, [b"12345678"] * 1000)

    async def callbacks(self) -> None:
        """1,000 calls with `call_soon`."""
        done, left = self.loop.create_future(), 1000

        def on_reply(result: int, payload: bytes) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        for _ in range(1000):
            self.rpc.call_soon(1, b"12345678", on_reply)
        await done

    async def record(self) -> None:
        await self.stream.send(b"12345678")
        await self.stream.recv()

    async def datagrams(self) -> None:
        self.arrived, self.left = self.loop.create_future(), 100
        for _ in range(100):
            self.conn.send_datagram(b"x" * 100)
        await asyncio.wait_for(self.arrived, 10)

    async def handshake(self) -> None:
        conn = await self.connect()
        await conn.close()

    async def close(self) -> None:
        await self.conn.close()
        await self.server.shutdown()


WORK: dict[str, Callable[[Pair], Coroutine[Any, Any, None]]] = {
    "one call": Pair.request,
    "100 calls": Pair.requests,
    "1,000 call_soon": Pair.callbacks,
    "call_many of 1,000": Pair.call_many,
    "one record": Pair.record,
    "100 datagrams": Pair.datagrams,
    "handshake": Pair.handshake,
}


@pytest.mark.parametrize("name", WORK)
def test_python(benchmark: Any, loop: asyncio.AbstractEventLoop, files: CertificateFiles, name: str) -> None:
    pair = Pair(loop, files)
    loop.run_until_complete(pair.open())
    work = WORK[name]
    try:
        benchmark(lambda: loop.run_until_complete(work(pair)))
    finally:
        loop.run_until_complete(pair.close())
