"""A bound makes somebody wait: handlers, replies and sends above their bounds, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from harness import Bench, Variant, engine, noise, until

import naquid

TWENTY = {"limits": naquid.Limits(max_handler_tasks=20)}


def test_handlers_at_their_limit_may_call_back(run: Variant, bench: Bench) -> None:
    """Replies pass the requests that wait for a place: handlers that call back on their own stream do not deadlock."""
    app = naquid.Handlers()
    most = running = 0

    @app.rpc("job")
    async def job(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        nonlocal most, running
        running += 1
        most = max(most, running)
        reply = await rpc.call(2, payload)
        running -= 1
        return reply

    peer = naquid.Handlers()
    peer.rpc("job")(lambda rpc, type, payload: payload)

    async def main() -> None:
        async with bench.pair(app, peer, server=TWENTY) as (_, conn):
            rpc = await conn.open_rpc("job")
            sent = [b"%d" % number for number in range(500)]
            assert await asyncio.gather(*(rpc.call(1, payload) for payload in sent)) == sent
            assert most == 20
            assert engine().stats()["held_connections"] == 0

    run(main)


def test_notified_handlers_at_their_limit_may_call_back(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    app.rpc("feed")(lambda rpc, type, payload: payload)
    told: list[bytes] = []

    @app.rpc_notify("feed")
    async def news(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        told.append(await rpc.call(2, payload))

    peer = naquid.Handlers()
    peer.rpc("feed")(lambda rpc, type, payload: payload)

    async def main() -> None:
        async with bench.pair(app, peer, server=TWENTY) as (_, conn):
            rpc = await conn.open_rpc("feed")
            sent = [b"%d" % number for number in range(500)]
            for payload in sent:
                rpc.notify(7, payload)
            await until(lambda: len(told) == 500)
            assert sorted(told) == sorted(sent)

    run(main)


def test_new_streams_wait_while_handlers_are_at_their_limit(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    go_on = asyncio.Event()
    opened: list[Any] = []

    @app.rpc("job")
    async def job(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        await go_on.wait()
        return payload

    @app.stream("log")
    async def log(stream: naquid.Stream) -> None:
        opened.append(stream)

    async def main() -> None:
        async with bench.pair(app, server={"limits": naquid.Limits(max_handler_tasks=2)}) as (_, conn):
            rpc = await conn.open_rpc("job")
            calls = [rpc.call(1, b"%d" % number) for number in range(2)]
            await until(lambda: engine().stats()["held_connections"] == 1)
            stream = await conn.open_stream("log")
            await stream.send(b"waits")
            late = rpc.call(1, b"late")
            await conn.ping()
            assert not opened
            go_on.set()
            assert await asyncio.gather(*calls) == [b"0", b"1"]
            assert await late == b"late"
            await until(lambda: opened)
            await until(lambda: engine().stats()["held_connections"] == 0)

    run(main)


MIB = 1 << 20


def for_ever(send: Callable[[], None]) -> None:
    while True:
        send()


def test_many_writers_wait_for_the_connection(run: Variant, bench: Bench) -> None:
    """Each of many streams awaits its sends: the bound of their connection fails none of them."""
    app = naquid.Handlers()
    got: list[int] = []

    @app.stream("up")
    async def up(stream: naquid.Stream) -> None:
        async for record in stream:
            got.append(len(record))

    limits = naquid.Limits(max_send_queue=2 * MIB, send_high=MIB // 4, send_low=MIB // 8)

    async def main() -> None:
        async with bench.pair(app, client={"limits": limits}) as (_, conn):
            most = 0

            async def upload() -> None:
                nonlocal most
                stream = await conn.open_stream("up")
                for _ in range(3):
                    await stream.send(noise(100_000))
                    most = max(most, conn.stats().queued)
                stream.finish()

            await asyncio.gather(*(upload() for _ in range(60)))
            await until(lambda: len(got) == 180)
            assert most <= 2 * MIB

    run(main)


def test_raw_writers_wait_for_the_connection(run: Variant, bench: Bench) -> None:
    """Who writes and then drains is not refused, even where each one's first write is too much together."""
    app = naquid.Handlers()
    got = 0

    @app.raw_stream("up")
    async def up(stream: naquid.RawStream) -> None:
        nonlocal got
        while data := await stream.read(65536):
            got += len(data)

    async def main() -> None:
        async with bench.pair(app, client={"limits": naquid.Limits(max_send_queue=MIB)}) as (_, conn):

            async def upload() -> None:
                stream = await conn.open_raw_stream("up")
                for _ in range(3):
                    stream.write(noise(60_000))
                    await stream.drain()
                stream.write_eof()

            await asyncio.gather(*(upload() for _ in range(60)))
            await until(lambda: got == 60 * 180_000)

    run(main)


def test_who_does_not_wait_is_refused(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    go_on = asyncio.Event()

    @app.stream("later")
    async def later(stream: naquid.Stream) -> None:
        await go_on.wait()
        async for _ in stream:
            pass

    async def main() -> None:
        async with bench.pair(app, client={"limits": naquid.Limits(max_send_queue=2 * MIB)}) as (_, conn):
            full = await conn.open_stream("later")
            assert full.is_writable
            with pytest.raises(naquid.QueueFull, match="max_send_queue"):
                for_ever(lambda: full.send_nowait(noise(100_000)))
            other = await conn.open_stream("later")
            assert not full.is_writable
            assert not other.is_writable
            waiting = asyncio.ensure_future(other.drain())
            await asyncio.sleep(0)
            assert not waiting.done()
            go_on.set()
            await waiting
            assert other.is_writable
            other.finish()
            assert not other.is_writable

    run(main)


@pytest.mark.parametrize("kind", ["plain", "coroutine", "batch"])
def test_large_replies_all_arrive(run: Variant, bench: Bench, kind: str) -> None:
    """Many replies that are larger together than the send queue: their requests wait, and none becomes an error."""
    app = naquid.Handlers()
    chunk = noise(MIB)

    async def coroutine(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return chunk

    if kind == "plain":
        app.rpc("chunk")(lambda rpc, type, payload: chunk)
    elif kind == "coroutine":
        app.rpc("chunk")(coroutine)
    else:
        app.rpc_batch("chunk")(lambda batch: [chunk] * len(batch))

    async def main() -> None:
        async with bench.pair(app, server={"limits": naquid.Limits(max_send_queue=8 * MIB)}) as (_, conn):
            rpc = await conn.open_rpc("chunk")
            replies = await asyncio.gather(*(rpc.call(1, b"%d" % number) for number in range(60)))
            assert all(reply == chunk for reply in replies)

    run(main)


def test_rpc_drain(run: Variant, bench: Bench) -> None:
    """A program that begins more calls than it waits for waits for its queue."""
    app = naquid.Handlers()
    app.rpc("size")(lambda rpc, type, payload: str(len(payload)).encode())

    async def main() -> None:
        async with bench.pair(app, client={"limits": naquid.Limits(max_send_queue=2 * MIB)}) as (_, conn):
            rpc = await conn.open_rpc("size")
            assert rpc.is_writable
            calls = []
            for _ in range(100):
                await rpc.drain()
                calls.append(rpc.call(1, noise(100_000)))
            assert await asyncio.gather(*calls) == [b"100000"] * 100
            with pytest.raises(naquid.QueueFull):
                for_ever(lambda: rpc.notify(1, noise(100_000)))
            assert not rpc.is_writable
            await rpc.drain()
            assert rpc.is_writable
            rpc.close()
            assert not rpc.is_writable
            with pytest.raises(naquid.ConnectionLost):
                await rpc.drain()

    run(main)


def test_calls_that_were_given_up_are_not_delivered_late(run: Variant, bench: Bench) -> None:
    """Requests that wait for a place among the handlers, and whose callers are gone meanwhile, are not handled."""
    app = naquid.Handlers()
    go_on = asyncio.Event()
    seen: list[bytes] = []

    @app.rpc("job")
    async def job(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        seen.append(payload)
        await go_on.wait()
        return payload

    async def main() -> None:
        async with bench.pair(app, server={"limits": naquid.Limits(max_handler_tasks=1)}) as (_, conn):
            rpc = await conn.open_rpc("job")
            first = asyncio.ensure_future(rpc.call(1, b"first"))
            await until(lambda: seen)
            given_up = [asyncio.ensure_future(rpc.call(1, b"given up")) for _ in range(100)]
            late = rpc.call_soon(1, b"given up", lambda result, payload: None)
            timed_out = rpc.call(1, b"given up", timeout=0.05)
            last = asyncio.ensure_future(rpc.call(1, b"last"))
            await conn.ping()
            for call in given_up:
                call.cancel()
            assert rpc.cancel(late)
            with pytest.raises(naquid.CallTimeout):
                await timed_out
            await conn.ping()
            await conn.ping()
            go_on.set()
            assert await first == b"first"
            assert await last == b"last"
            assert seen == [b"first", b"last"]

    run(main)
