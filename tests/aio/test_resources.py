"""Objects, descriptors and memory are back where they were after many connections, streams and calls."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from typing import Any

from aio_apps import never
from harness import Bench, Variant, descriptors, engine, rss_kb, until

import naquid

MIB = 1 << 20


def app() -> naquid.Handlers:
    handlers = naquid.Handlers()
    handlers.rpc("echo")(lambda rpc, type, payload: payload)

    @handlers.stream("records")
    async def records(stream: naquid.Stream) -> None:
        async for record in stream:
            await stream.send(record)

    @handlers.raw_stream
    async def raw(stream: naquid.RawStream) -> None:
        stream.write(await stream.read())

    return handlers


def living() -> int:
    """Objects of naquid that are alive."""
    gc.collect()
    return sum(str(type(thing).__module__).startswith("naquid") for thing in gc.get_objects())


def test_1000_connections(run: Variant, bench: Bench) -> None:
    async def cycle(port: int) -> None:
        async with bench.connect(port) as conn:
            rpc = await conn.open_rpc("echo")
            assert await rpc.call(1, b"hello") == b"hello"

    async def main() -> None:
        async with bench.serve(app()) as server:

            async def cycles(count: int) -> None:
                for _ in range(count // 10):
                    await asyncio.gather(*(cycle(server.port) for _ in range(10)))
                await until(lambda: not server.connections and engine().stats()["connections"] == 0)

            await cycles(200)
            before = living(), descriptors(), rss_kb()
            await cycles(1000)
            after = living(), descriptors(), rss_kb()
            assert after[0] <= before[0]
            assert after[1] <= before[1]
            assert after[2] - before[2] < 4 * 1024
            stats = engine().stats()
            assert stats["accepted"] == 1200
            assert [stats[name] for name in ("connections", "streams", "pending_calls", "alarms")] == [0] * 4

    run(lambda: asyncio.sleep(0))  # what an event loop keeps for the next one is not ours
    files = descriptors()
    run(main)
    gc.collect()
    assert descriptors() <= files


def test_1000_event_loops_worth_of_engines(run_once: Variant, bench: Bench) -> None:
    """Every engine loop is freed with its event loop: 100 of them, each with a server and a client."""

    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            assert await (await conn.open_rpc("echo")).call(1, b"x") == b"x"

    for _ in range(20):
        run_once(main)
    before = living(), descriptors(), rss_kb()
    for _ in range(100):
        run_once(main)
    after = living(), descriptors(), rss_kb()
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    assert after[2] - before[2] < 8 * 1024


def test_10000_streams(run: Variant, bench: Bench) -> None:
    async def one(conn: naquid.Connection, kind: int) -> None:
        stream: Any
        if kind == 0:
            stream = await conn.open_rpc("echo")
            assert await stream.call(1, b"x") == b"x"
            stream.close()
        elif kind == 1:
            stream = await conn.open_stream("records")
            await stream.send(b"x")
            assert await stream.recv() == b"x"
            stream.finish()
        elif kind == 2:
            stream = await conn.open_raw_stream()
            stream.write(b"x")
            stream.write_eof()
            assert await stream.read() == b"x"
        else:
            stream = await conn.open_raw_stream()
            stream.write(b"x")
            stream.reset(1)
            stream.stop_sending(1)
        await stream.wait_closed()

    async def main() -> None:
        async with bench.pair(app()) as (_, conn):

            async def cycles(count: int) -> None:
                for start in range(0, count, 100):
                    await asyncio.gather(*(one(conn, number % 4) for number in range(start, start + 100)))
                await until(lambda: engine().stats()["streams"] == 0)

            await cycles(2000)
            before = living(), rss_kb()
            await cycles(10_000)
            after = living(), rss_kb()
            assert after[0] <= before[0]
            assert after[1] - before[1] < 4 * 1024
            assert engine().stats()["send_buffer_bytes"] == 0
            assert conn.stats().queued == 0
            assert conn.stats().streams == 0

    run(main)


def test_calls_and_their_results(run: Variant, bench: Bench) -> None:
    """100,000 calls, of which some time out and some are cancelled, leave nothing."""
    handlers = app()
    handlers.rpc("never")(never)

    async def main() -> None:
        async with bench.pair(handlers) as (_, conn):
            echo, never = await conn.open_rpc("echo"), await conn.open_rpc("never")

            async def cycles(count: int) -> None:
                done = 0

                def reply(result: int, payload: bytes) -> None:
                    nonlocal done
                    done += 1

                for number in range(count):
                    echo.call_soon(1, b"payload", reply)
                    if number % 100 == 0:
                        never.call_soon(1, b"payload", reply, timeout=0.01)
                        assert never.cancel(never.call_soon(1, b"payload", reply))
                        await asyncio.sleep(0)
                await until(lambda: done == count + count // 100)

            await cycles(10_000)
            before = living(), rss_kb()
            await cycles(100_000)
            after = living(), rss_kb()
            assert after[0] <= before[0]
            assert after[1] - before[1] < 16 * 1024
            assert engine().stats()["pending_calls"] == 0

    run(main)


def test_objects_that_nobody_holds(run: Variant, bench: Bench) -> None:
    """Closed connections and streams are freed by reference counts and the collector, without a loop's end."""

    async def main() -> None:
        async with bench.serve(app()) as server:
            conn = await bench.connect(server.port)
            rpc = await conn.open_rpc("echo")
            await rpc.call(1)
            held = [weakref.ref(conn), weakref.ref(rpc), *map(weakref.ref, server.connections)]
            await conn.close()
            await until(lambda: not server.connections)
            del conn, rpc
            await until(lambda: gc.collect() >= 0 and not any(ref() for ref in held))

    run(main)


def test_idle_connections_are_small(run_once: Variant, bench: Bench) -> None:
    """Both sides of 500 idle connections in one process: under 120 KB for each pair."""

    async def main() -> None:
        async with bench.serve(app()) as server:
            conns = [await bench.connect(server.port) for _ in range(50)]
            await until(lambda: len(server.connections) == 50)
            before = rss_kb()
            conns += [await bench.connect(server.port) for _ in range(500)]
            await until(lambda: len(server.connections) == 550)
            assert (rss_kb() - before) / 500 < 120
            await asyncio.gather(*(conn.close() for conn in conns))

    run_once(main)


def test_memory_of_a_burst_is_given_back(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            data = bytes(16 * MIB)
            assert await rpc.call(1, data) == data
            gc.collect()
            before = rss_kb()
            for _ in range(20):
                assert await rpc.call(1, data) == data
            gc.collect()
            assert rss_kb() - before < 64 * 1024
            await until(lambda: engine().stats()["send_buffer_bytes"] < MIB)

    run_once(main)


def test_what_was_not_closed_is_told() -> None:
    """An event loop that ends with a server and a connection open: a ResourceWarning with their number, and no
    traceback. One whose objects were closed: nothing."""
    script = """
import asyncio, sys, naquid
from naquid.testing import Authority
import tempfile, pathlib
ca = Authority(pathlib.Path(tempfile.mkdtemp()))
leaf = ca.issue()
async def main(close):
    server = await naquid.serve(naquid.Handlers(), "127.0.0.1", 0, cert=leaf.cert, key=leaf.key)
    conn = await naquid.connect("127.0.0.1", server.port, ca=ca.ca)
    await conn.ping()
    if close:
        await conn.close()
        await server.shutdown()
asyncio.run(main(sys.argv[1] == "close"))
"""
    for how, warned in (("close", False), ("forget", True)):
        done = subprocess.run(
            [sys.executable, "-W", "default", "-c", script, how], capture_output=True, text=True, timeout=60, check=True
        )
        assert ("ResourceWarning: an event loop was closed with 2 naquid connections" in done.stderr) == warned
        assert "Traceback" not in done.stderr
