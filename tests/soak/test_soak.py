"""Everything at once for a while, over a network that changes: what is used must be back at the baseline at the end.

NAQUID_SOAK_SECONDS: how long (default 30; `make soak` takes ten minutes).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from harness import HOST, descriptors, engine, noise, rss_kb, settled, until

import naquid
import naquid.event_loop
from naquid.testing import Authority, Relay

SECONDS = float(os.environ.get("NAQUID_SOAK_SECONDS", "30"))
WORKERS = 6
RSS_SLACK_KB = 12 << 10
"""What the allocators may keep more than after the warm-up; a leak of 1 KB per connection is far above it."""
LIMITS = naquid.Limits(
    stream_window=128 << 10, connection_window=512 << 10, idle_timeout=60, handshake_timeout=20, keep_alive=0.1
)
LARGE = noise(300_000)
"""Sent without a copy: whoever does it holds a reference."""
LARGE_REFERENCES = sys.getrefcount(LARGE)
WEATHER: list[dict[str, float]] = [
    {"loss": 0.0, "duplicate": 0.0, "reorder": 0.0, "delay": 0.0, "jitter": 0.0},
    {"loss": 0.03, "duplicate": 0.03, "reorder": 0.03, "delay": 0.0, "jitter": 0.0},
    {"loss": 0.0, "duplicate": 0.1, "reorder": 0.1, "delay": 0.001, "jitter": 0.004},
]

pytestmark = pytest.mark.timeout(SECONDS * 3 + 240)


class Soak:
    """A server, a relay and workers that open connections and use them in a random way."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.leaf = authority.issue()
        self.done: collections.Counter[str] = collections.Counter()
        self.dice = random.Random(1)
        self.open: set[naquid.Connection] = set()
        self.handshakes = 0

    def app(self) -> naquid.Handlers:
        app = naquid.Handlers()
        app.on_connect(self.open.add)
        app.on_disconnect(lambda conn, error: self.open.discard(conn))

        @app.rpc("echo")
        def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
            return payload

        @app.rpc("slow")
        async def slow(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
            await asyncio.sleep(0.005 * type)
            return payload

        @app.stream("records")
        async def records(stream: naquid.Stream) -> None:
            async for record in stream:
                await stream.send(record)

        @app.raw_stream
        async def raw(stream: naquid.RawStream) -> None:
            while data := await stream.read_view(1 << 17):
                if not stream.is_unidirectional:
                    stream.write(data)
                    await stream.drain()

        @app.datagram
        def datagram(conn: naquid.Connection, data: bytes) -> None:
            with contextlib.suppress(naquid.ConnectionLost):  # it came with the end of its connection
                conn.send_datagram(data)

        return app

    # ---- what is done on a connection ----

    async def calls(self, conn: naquid.Connection) -> None:
        rpc = await conn.open_rpc("echo")
        payloads = [noise(self.dice.randrange(3000), at) for at in range(20)]
        assert await asyncio.gather(*(rpc.call(1, payload) for payload in payloads)) == payloads
        rpc.close()

    async def cancelled_calls(self, conn: naquid.Connection) -> None:
        rpc = await conn.open_rpc("slow")
        calls = [asyncio.ensure_future(rpc.call(1 + at % 3, b"x")) for at in range(10)]
        await asyncio.sleep(0.004)
        for call in calls[::2]:
            call.cancel()
        for at, outcome in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
            assert outcome == b"x" or (at % 2 == 0 and isinstance(outcome, asyncio.CancelledError)), outcome
        with pytest.raises(naquid.CallTimeout):
            await rpc.call(40, b"x", timeout=0.001)
        rpc.close()

    async def records(self, conn: naquid.Connection) -> None:
        stream = await conn.open_stream("records")
        sent = [noise(self.dice.randrange(20_000), at) for at in range(10)] + [LARGE]
        for record in sent:
            await stream.send(record)
        stream.finish()
        assert [record async for record in stream] == sent

    async def bytes(self, conn: naquid.Connection) -> None:
        stream = await conn.open_raw_stream("raw")
        data = memoryview(LARGE)[: self.dice.randrange(len(LARGE))]
        step = self.dice.choice((16384, 100_000))

        async def write() -> None:
            for at in range(0, len(data), step):
                stream.write(data[at : at + step])
                await stream.drain()
            stream.write_eof()

        _, back = await asyncio.gather(write(), stream.read())
        assert back == data

    async def ended_early(self, conn: naquid.Connection) -> None:
        for end in ("reset", "stop_sending", "close", "nothing"):
            stream = await conn.open_raw_stream("raw")
            stream.write(LARGE)
            with contextlib.suppress(TimeoutError, naquid.StreamReset):
                async with asyncio.timeout(0.002):
                    await stream.readexactly(1_000_000)
            if end != "nothing":
                getattr(stream, end)()

    async def one_way(self, conn: naquid.Connection) -> None:
        stream = await conn.open_uni_stream()
        stream.write(noise(10_000))
        stream.write_eof()
        for at in range(20):
            conn.send_datagram(noise(200, at))
        await stream.wait_closed()

    async def session(self, port: int) -> None:
        config = naquid.ClientConfig(limits=LIMITS)
        self.handshakes += 1
        try:
            conn = await naquid.connect(HOST, port, ca=self.authority.ca, app=naquid.Handlers(), config=config)
            await conn.ping()
        finally:
            self.handshakes -= 1
        works: list[Callable[[naquid.Connection], Awaitable[None]]]
        works = [self.calls, self.cancelled_calls, self.records, self.bytes, self.ended_early, self.one_way]
        for work in self.dice.choices(works, k=4):
            await work(conn)
            self.done[work.__name__] += 1
        end = self.dice.choice(["close", "close", "abort", "busy"])
        if end == "busy":  # ends while calls and streams are under way
            rpc = await conn.open_rpc("slow")
            calls = [asyncio.ensure_future(rpc.call(50, b"x")) for _ in range(5)]
            await asyncio.sleep(0.002)
            conn.abort(7, "enough")
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(outcome, naquid.ConnectionLost), outcome
        elif end == "abort":
            conn.abort(7, "enough")
        else:
            await conn.close()
        await conn.wait_closed()
        self.done[end] += 1

    async def refused(self, port: int) -> None:
        """A handshake that fails, and one that is given up."""
        config = naquid.ClientConfig(limits=LIMITS, server_name="another.example")
        with pytest.raises(naquid.HandshakeFailed):
            await naquid.connect(HOST, port, ca=self.authority.ca, config=config)
        task = asyncio.ensure_future(self.session(port))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self.done["refused"] += 1

    # ---- rounds ----

    async def round(self, server: naquid.Server, seconds: float) -> None:
        """All workers for so long, over a new relay; then everything has ended."""
        until_then = time.monotonic() + seconds
        with Relay(server, seed=self.dice.randrange(1 << 30)) as relay:

            async def work() -> None:
                while time.monotonic() < until_then:
                    await self.session(relay.port)
                    if self.dice.random() < 0.1:
                        await self.refused(relay.port)

            async def weather() -> None:
                while True:
                    relay.change(**self.dice.choice(WEATHER))
                    # A handshake does not survive a new address (RFC 9000 9).
                    if self.handshakes == 0:
                        relay.rebind()
                        self.done["rebind"] += 1
                    await asyncio.sleep(0.2)

            changing = asyncio.ensure_future(weather())
            try:
                await asyncio.gather(*(work() for _ in range(WORKERS)))
            finally:
                changing.cancel()
        for conn in server.connections:  # of clients whose last packet was lost
            conn.abort()
        await until(lambda: not server.connections)


def census() -> collections.Counter[str]:
    """Living objects of naquid by type."""
    gc.collect()
    names = (f"{type(item).__module__}.{type(item).__qualname__}" for item in gc.get_objects())
    return collections.Counter(
        name for name in names if name.startswith("naquid.") and not name.startswith("naquid.testing.")
    )


async def used() -> dict[str, Any]:
    """What is in use, once every task that still ran has ended."""
    await until(lambda: len(asyncio.all_tasks()) == 1)
    loop = engine()
    # A handshake that its client gave up, and whose last packet was lost, is over with the handshake timeout.
    await until(lambda: loop.stats()["connections"] == 0)
    await until(lambda: sys.getrefcount(LARGE) == LARGE_REFERENCES)
    stats = loop.stats()
    return {
        "objects": census(),
        "engine": {name: stats[name] for name in ("connections", "streams", "pending_calls", "alarms")},
        "descriptors": descriptors(),
        "threads": threading.active_count(),
    }


def test_soak(tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> None:
    soak = Soak(Authority(tmp_path_factory.mktemp("soak")))

    async def main() -> list[int]:
        memory = []
        leaf, config = soak.leaf, naquid.ServerConfig(limits=LIMITS)
        async with naquid.serve(soak.app(), HOST, 0, cert=leaf.cert, key=leaf.key, config=config) as server:
            await soak.round(server, SECONDS / 5)  # warm-up: pools and caches fill
            before = await used()
            for _ in range(4):
                memory.append(rss_kb())
                await soak.round(server, SECONDS / 5)
                after = await used()
                assert after == before
                assert not soak.open
            memory.append(rss_kb())
        await settled()
        return memory

    memory = asyncio.run(main())
    with capsys.disabled():
        print(f"\nsoak of {SECONDS:g} s: {dict(soak.done)}; resident KB after each part: {memory}")
    for kind in ("calls", "records", "bytes", "ended_early", "one_way", "close", "abort", "busy", "refused"):
        assert soak.done[kind] > 0 or SECONDS < 20, kind
    assert memory[-1] - memory[0] < RSS_SLACK_KB, memory
