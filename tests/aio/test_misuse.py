"""Use after the end, wrong arguments, other threads: streams and connections say so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aio_apps import raw_echo, record_echo
from harness import Bench, Variant, engine

import naquid

# ---- use after close, wrong arguments ----


def test_use_after_close(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(raw_echo(record_echo())) as (_, conn):
            stream = await conn.open_stream("echo")
            raw = await conn.open_raw_stream()
            await stream.send(b"x")
            assert await stream.recv() == b"x"
            raw.write(b"x")
            assert await raw.read(1) == b"x"
            for closed in (stream, raw):
                closed.close()
                closed.close()
                await closed.wait_closed()
                closed.reset(1)
                closed.stop_sending(1)
                assert closed.stream_id == -1
                assert closed.queued == 0
                assert closed.is_closed
            with pytest.raises(naquid.StreamClosed):
                await stream.send(b"y")
            with pytest.raises(naquid.StreamClosed):
                stream.send_nowait(b"y")
            with pytest.raises(naquid.StreamClosed):
                await stream.recv()
            with pytest.raises(naquid.StreamClosed):
                raw.write(b"y")
            with pytest.raises(naquid.StreamClosed):
                await raw.read(1)
            stream.finish()
            raw.write_eof()
            living = await conn.open_raw_stream()
            await conn.close()
            for open_it in (
                lambda: conn.open_stream("echo"),
                conn.open_raw_stream,
                conn.open_uni_stream,
                conn.ping,
            ):
                with pytest.raises(naquid.ConnectionLost):
                    await open_it()
            with pytest.raises(naquid.ConnectionLost):
                living.write(b"y")
            with pytest.raises(naquid.ConnectionLost):
                await living.read(1)
            with pytest.raises(naquid.ConnectionLost):
                await living.drain()
            with pytest.raises(naquid.ConnectionLost):
                conn.stats()
            conn.abort()
            await conn.close()
            await conn.wait_closed()
            assert "closed" in repr(conn)

    run(main)


def test_use_after_the_event_loop(run: Variant, bench: Bench) -> None:
    """Objects that outlive their event loop raise; they do not crash."""
    kept: list[Any] = []

    async def main() -> None:
        async with bench.pair(raw_echo(record_echo())) as (server, conn):
            kept.extend([server, conn, await conn.open_stream("echo"), await conn.open_raw_stream()])

    run(main)
    server, conn, stream, raw = kept
    assert conn.is_closed
    assert stream.is_closed
    assert raw.is_closed
    assert server.port == 0
    with pytest.raises(naquid.Error):
        stream.send_nowait(b"x")
    with pytest.raises(naquid.Error):
        raw.write(b"x")
    with pytest.raises(naquid.Error):
        conn.send_datagram(b"x")
    for thing in kept:
        assert repr(thing)
    stream.close()
    stream.reset()
    conn.abort()


def test_wrong_types(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(raw_echo(record_echo())) as (_, conn):
            stream = await conn.open_stream("echo")
            raw = await conn.open_raw_stream()
            for wrong in ("text", 5, None, [b"x"], memoryview(b"1234")[::2]):
                with pytest.raises((TypeError, BufferError)):
                    await stream.send(wrong)  # type: ignore[arg-type]
                with pytest.raises((TypeError, BufferError)):
                    raw.write(wrong)
            for name in (b"echo", 5, ["echo"]):
                with pytest.raises(TypeError):
                    await conn.open_stream(name)  # type: ignore[arg-type]
                with pytest.raises(TypeError):
                    await conn.open_raw_stream(name)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await conn.open_stream(None)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await conn.open_rpc(None)  # type: ignore[arg-type]
            await stream.send(b"unharmed")
            assert await stream.recv() == b"unharmed"
            raw.write(b"unharmed")
            assert await raw.readexactly(8) == b"unharmed"

    run(main)


def test_calls_from_another_thread(run: Variant, bench: Bench) -> None:
    """Everything but call_soon_threadsafe is refused there, and says what to use."""

    async def main() -> None:
        async with bench.pair(raw_echo(record_echo())) as (_, conn):
            stream = await conn.open_stream("echo")

            def elsewhere() -> None:
                for action in (
                    lambda: stream.send_nowait(b"x"),
                    lambda: stream.close(),
                    lambda: conn.send_datagram(b"x"),
                    lambda: conn.abort(),
                ):
                    with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                        action()

            await asyncio.to_thread(elsewhere)
            loop = asyncio.get_running_loop()
            await asyncio.to_thread(loop.call_soon_threadsafe, stream.send_nowait, b"handed over")
            assert await stream.recv() == b"handed over"
            assert engine().stats()["connections"] == 2

    run(main)
