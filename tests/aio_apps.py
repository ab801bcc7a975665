"""Handlers that several test modules of the asyncio suite serve."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from harness import IO_VARIABLE, Child, Variant, until

import naquid


def echo_app() -> naquid.Handlers:
    app = naquid.Handlers()
    app.rpc("echo")(lambda rpc, type, payload: payload)
    return app


def never(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
    """A handler that says it will reply later, and does not."""
    assert rpc.current_msgid


def silent_app() -> naquid.Handlers:
    app = naquid.Handlers()
    app.rpc("silent")(never)
    return app


def record_echo() -> naquid.Handlers:
    app = naquid.Handlers()

    @app.stream("echo")
    async def echo(stream: naquid.Stream) -> None:
        async for record in stream:
            await stream.send(record)

    return app


def raw_echo(app: naquid.Handlers | None = None) -> naquid.Handlers:
    app = app or naquid.Handlers()

    @app.raw_stream
    async def echo(stream: naquid.RawStream) -> None:
        while data := await stream.read(65536):
            stream.write(data)
            await stream.drain()

    return app


class Held:
    """A handler that keeps the streams it is given for the test to use; each stays open until `free()`."""

    def __init__(self) -> None:
        self.app = naquid.Handlers()
        self.streams: list[Any] = []
        self._free = asyncio.Event()
        self.app.stream("held")(self._hold)
        self.app.raw_stream("raw held")(self._hold)
        self.app.uni_stream(self._hold)

    async def _hold(self, stream: Any) -> None:
        self.streams.append(stream)
        await self._free.wait()

    async def first(self) -> Any:
        await until(lambda: self.streams)
        return self.streams.pop(0)

    def free(self) -> None:
        self._free.set()


SERVER = Path(__file__).with_name("aio") / "child.py"
SECRET = "a secret of the server, 32 bytes"


def server(run: Variant, leaf: Any, port: int = 0, secret: str | None = SECRET) -> Child:
    """A server in a process of its own."""
    arguments = [port, leaf.cert, leaf.key, *([secret] if secret else [])]
    return Child(SERVER, *arguments, env={IO_VARIABLE: run.io})
