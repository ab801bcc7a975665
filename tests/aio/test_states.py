"""Cancellation everywhere, and what sleeps: where others forget a reply, lose bytes or wake up for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from harness import Bench, OnSim, Variant, engine, noise, until

import naquid

MIB = 1 << 20


async def cut(thing: Awaitable[Any], seconds: float = 0.005) -> None:
    """Awaits for a moment; it must not end by itself."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await thing


async def cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def quiet_app(gate: list[asyncio.Event]) -> naquid.Handlers:
    """Handlers that do nothing until the gate opens."""
    app = naquid.Handlers()
    waiting: list[naquid.Deferred] = []

    @app.rpc("call")
    def call(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes | None:
        if type == 2:
            for deferred in waiting:
                deferred.reply(b"late")
            waiting.clear()
            return b"released"
        waiting.append(rpc.defer())
        return None

    @app.stream("records")
    async def records(stream: naquid.Stream) -> None:
        await gate[0].wait()
        async for record in stream:
            await stream.send(record)

    @app.raw_stream("bytes")
    async def raw(stream: naquid.RawStream) -> None:
        await gate[0].wait()
        while data := await stream.read(65536):
            stream.write(data)
            await stream.drain()
        stream.write_eof()

    return app


def with_pair(run: Variant, bench: Bench, body: Callable[[naquid.Connection, asyncio.Event], Awaitable[None]]) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        async with bench.pair(quiet_app([gate])) as (_, conn):
            try:
                await body(conn, gate)
            finally:
                gate.set()

    run(main)


def test_a_cancelled_call_forgets_its_reply(run: Variant, bench: Bench) -> None:
    async def body(conn: naquid.Connection, gate: asyncio.Event) -> None:
        rpc = await conn.open_rpc("call")
        for n in range(50):
            if n % 2:
                await cut(rpc.call(1), 0.001)
            else:
                task = asyncio.ensure_future(rpc.call(1))
                await asyncio.sleep(0)
                await cancelled(task)
        assert engine().stats()["pending_calls"] == 0
        kept = asyncio.ensure_future(rpc.call(1))
        await asyncio.sleep(0)
        assert await rpc.call(2) == b"released"  # the late replies find nobody, but for the one that still waits
        assert await kept == b"late"
        assert engine().stats()["pending_calls"] == 0

    with_pair(run, bench, body)


def test_a_call_that_is_cancelled_as_its_reply_comes(run: Variant, bench: Bench) -> None:
    """The reply and the cancellation in one turn of the event loop, in both orders."""

    async def body(conn: naquid.Connection, gate: asyncio.Event) -> None:
        rpc = await conn.open_rpc("call")
        for _ in range(100):
            tasks = [asyncio.ensure_future(rpc.call(2)) for _ in range(8)]
            await tasks[0]
            for task in tasks[1:]:
                task.cancel()
            for result in await asyncio.gather(*tasks[1:], return_exceptions=True):
                assert result == b"released" or isinstance(result, asyncio.CancelledError)
        assert engine().stats()["pending_calls"] == 0

    with_pair(run, bench, body)


def test_cancelled_reads_lose_no_bytes(run: Variant, bench: Bench) -> None:
    async def body(conn: naquid.Connection, gate: asyncio.Event) -> None:
        raw = await conn.open_raw_stream("bytes")
        reads: tuple[Callable[[], Awaitable[bytes]], ...] = (
            lambda: raw.read(100),
            lambda: raw.read(),
            lambda: raw.readexactly(100),
            lambda: raw.readuntil(b"never"),
            lambda: raw.readline(),
        )
        for read in reads:
            await cut(read())
        raw.write(b"0123456789")
        gate.set()
        await until(lambda: raw._buffered == 10)
        for read in reads[1:]:
            await cut(read())
        assert raw._buffered == 10
        # Two wait for the same bytes; one of them is cancelled as they come.
        first, second = (asyncio.ensure_future(raw.readexactly(20)) for _ in range(2))
        await asyncio.sleep(0)
        raw.write(b"abcdefghij")
        await cancelled(first)
        assert await second == b"0123456789abcdefghij"
        data = noise(MIB)
        raw.write(data)
        raw.write_eof()
        got = b""
        while len(got) < len(data):
            task = asyncio.ensure_future(raw.read(10_000))
            await asyncio.sleep(0)
            task.cancel()
            try:
                got += await task
            except asyncio.CancelledError:
                await asyncio.sleep(0.0001)
                got += raw._take(5_000)
        assert got == data
        assert await raw.read() == b""

    with_pair(run, bench, body)


def test_cancelled_recv_loses_no_record(run: Variant, bench: Bench) -> None:
    async def body(conn: naquid.Connection, gate: asyncio.Event) -> None:
        stream = await conn.open_stream("records")
        await cut(stream.recv())
        gate.set()
        for n in range(200):
            await stream.send(b"%d" % n)
        got: list[bytes | None] = []
        while len(got) < 200:
            task = asyncio.ensure_future(stream.recv())
            await asyncio.sleep(0)
            task.cancel()
            try:
                got.append(await task)
            except asyncio.CancelledError:
                await asyncio.sleep(0.0001)
        assert got == [b"%d" % n for n in range(200)]

    with_pair(run, bench, body)


@pytest.mark.parametrize("kind", ["raw", "records"])
def test_drain(run: Variant, bench: Bench, kind: str) -> None:
    """Cancelled and called again, and by several tasks at once."""

    async def body(conn: naquid.Connection, gate: asyncio.Event) -> None:
        stream: Any = await (conn.open_raw_stream("bytes") if kind == "raw" else conn.open_stream("records"))
        send = stream.write if kind == "raw" else stream.send_nowait
        for _ in range(16):
            send(bytes(MIB))
        for _ in range(3):
            await cut(stream.drain())
        drains = [asyncio.ensure_future(stream.drain()) for _ in range(4)]
        if kind == "records":
            await cut(stream.send(b"never sent"))
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in drains)
        await cancelled(drains.pop())
        gate.set()
        read = asyncio.ensure_future(_read_all(stream, kind))
        await asyncio.gather(*drains)
        await stream.drain()
        stream.write_eof() if kind == "raw" else stream.finish()
        assert await read == 16 * MIB

    with_pair(run, bench, body)


async def _read_all(stream: Any, kind: str) -> int:
    if kind == "raw":
        return len(await stream.read())
    return sum([len(record) async for record in stream])


def test_cancelled_opening_and_waiting(run: Variant, bench: Bench) -> None:
    """Streams above the peer's limit, PINGs, and waits for an end that does not come."""

    async def main() -> None:
        gate = asyncio.Event()
        limits = naquid.Limits(max_streams_bidi=2)
        async with bench.pair(quiet_app([gate]), server={"limits": limits}) as (server, conn):
            one, two = await conn.open_stream("records"), await conn.open_stream("records")
            for opening in (conn.open_stream, conn.open_rpc):
                await cut(opening("records"))
            await cut(conn.open_raw_stream("bytes"))
            await cut(conn.wait_closed())
            await cut(one.wait_closed())
            await cut(server.wait_closed())
            task = asyncio.ensure_future(conn.ping())
            await asyncio.sleep(0)
            await cancelled(task)
            assert await conn.ping() > 0
            gate.set()
            for stream in (one, two):
                await stream.send(b"x")
                assert await stream.recv() == b"x"
                stream.close()
            three = await conn.open_stream("records")
            await three.send(b"y")
            assert await three.recv() == b"y"

    run(main)


def test_cancelled_close_closes_all_the_same(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(naquid.Handlers()) as server:
            conn = await bench.connect(server.port)
            task = asyncio.ensure_future(conn.close())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await conn.wait_closed()
            assert conn.is_closed

    run(main)


def test_cancelled_shutdown(run: Variant, bench: Bench) -> None:
    gate: list[asyncio.Event] = []

    async def main() -> None:
        gate.append(asyncio.Event())
        server = await bench.serve(quiet_app(gate))
        conn = await bench.connect(server.port)
        stream = await conn.open_stream("records")
        await stream.send(b"x")
        await until(lambda: server._tasks)
        await cut(server.shutdown(grace=1000))
        assert not server.closed
        await server.shutdown(grace=0)
        assert server.closed
        await conn.wait_closed()

    run(main)


# ---- what sleeps ----


def test_idle_connections_wake_nobody(run_sim: OnSim, bench: Bench) -> None:
    """Two hundred connections that do nothing: their engine's timers are no business of the event loop's."""

    async def main() -> None:
        async with bench.serve(naquid.Handlers()) as server:
            conns = [await bench.connect(server.port) for _ in range(200)]
            await until(lambda: len(server.connections) == 200)
            await asyncio.sleep(5)  # until what follows a handshake is done: acknowledgements, keys that go
            before = naquid.loop_stats()
            await asyncio.sleep(5)
            after = naquid.loop_stats()
            assert after["ticks"] - before["ticks"] <= 1
            assert after["events"] == before["events"]
            await asyncio.gather(*(conn.close() for conn in conns))

    run_sim(main)
