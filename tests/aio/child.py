"""A naquid server as a process of its own: `child.py PORT CERT KEY [SECRET]`.

It tells its port, and answers a line with what it uses. "close" ends it in order.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from aio_apps import never
from harness import IO_VARIABLE, engine, packet_io, rss_kb

import naquid


def handlers(held: list[Any], taken: list[int]) -> naquid.Handlers:
    app = naquid.Handlers()
    app.rpc("echo")(lambda rpc, type, payload: payload)
    app.rpc("never")(never)
    app.datagram(lambda conn, data: conn.send_datagram(data))

    @app.stream("echo records")
    async def echo(stream: naquid.Stream) -> None:
        async for record in stream:
            await stream.send(record)

    @app.raw_stream("sink")
    async def sink(stream: naquid.RawStream) -> None:
        """Takes nothing until it is told to; then everything, and says how much it was."""
        held.append(asyncio.Event())
        await held[-1].wait()
        total = 0
        while data := await stream.read(1 << 16):
            total += len(data)
        taken.append(total)
        stream.write(b"%d" % total)

    @app.stream("record sink")
    async def record_sink(stream: naquid.Stream) -> None:
        held.append(asyncio.Event())
        await held[-1].wait()
        total = 0
        async for record in stream:
            total += len(record)
        taken.append(total)
        await stream.send(b"%d" % total)

    @app.raw_stream("source")
    async def source(stream: naquid.RawStream) -> None:
        """Sends as many bytes as asked for, as fast as it may."""
        left = int(await stream.readline())
        block = bytes(1 << 16)
        while left > 0:
            stream.write(block[: min(left, len(block))])
            left -= len(block)
            await stream.drain()

    return app


async def serve(port: int, cert: str, key: str, secret: bytes | None) -> None:
    held: list[Any] = []
    taken: list[int] = []
    app = handlers(held, taken)
    config = naquid.ServerConfig(secret=secret)
    loop = asyncio.get_running_loop()
    async with naquid.serve(app, "127.0.0.1", port, cert=cert, key=key, config=config) as server:
        print(json.dumps(server.port), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            what = json.loads(line)
            if what == "close":
                break
            if what == "release":
                while held:
                    held.pop().set()
            stats: dict[str, Any] = dict(engine().stats())
            stats["queued"] = max((conn.stats().queued for conn in server.connections), default=0)
            stats["rss_kb"] = rss_kb()
            stats["server_connections"] = len(server.connections)
            stats["taken"] = taken
            print(json.dumps(stats), flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    with packet_io(os.environ.get(IO_VARIABLE, "native")):
        port, cert, key, *secret = arguments
        asyncio.run(serve(int(port), cert, key, secret[0].encode() if secret else None))
