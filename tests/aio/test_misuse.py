"""Use after the end, wrong arguments, other threads: streams and connections say so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aio_apps import raw_echo, record_echo
from harness import HOST, Bench, Variant, engine

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
                assert closed.stream_id == (0 if closed is stream else 4)
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
                    raw.write(wrong)  # type: ignore[arg-type]
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


def test_arguments_of_the_wrong_type(run_once: Variant, bench: Bench) -> None:
    """Numbers that are none, codes out of range, payloads of text: TypeError or ValueError at the call."""

    async def main() -> None:
        app = raw_echo()
        app.rpc("echo")(lambda rpc, type, payload: payload)
        async with bench.serve(app) as server, bench.connect(server.port) as conn:
            rpc = await conn.open_rpc("echo")
            raw = await conn.open_raw_stream()
            calls: list[Any] = [
                lambda kind: rpc.call(kind, b""),
                lambda kind: rpc.call_many(kind, [b""]),
                lambda kind: rpc.call_soon(kind, b"", print),
                lambda kind: rpc.notify(kind, b""),
            ]
            for call in calls:
                for kind in (1.5, "1", None, b"1"):
                    with pytest.raises(TypeError, match="type is an int, not"):
                        call(kind)
                for kind in (0, -1, 32768, 1 << 70):
                    with pytest.raises(ValueError, match=r"type .*: use 1 to 32767"):
                        call(kind)
            for give in (raw.reset, raw.stop_sending, lambda code: conn.abort(code), rpc.reset):
                for code in (-1, 1 << 62, 1 << 70):
                    with pytest.raises(ValueError, match=r"use 0 to 2\*\*62 - 1"):
                        give(code)
                for wrong in ("1", None, 1.5):
                    with pytest.raises(TypeError, match="an error code is an int, not"):
                        give(wrong)
            for payload in ("text", 5, None):
                with pytest.raises(TypeError, match="bytes-like"):
                    naquid.RpcError(payload)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="an RpcError is an int, not str"):
                naquid.RpcError(b"", "7")  # type: ignore[arg-type]
            for name in ("", "x" * 256, "a\0b"):
                with pytest.raises(ValueError, match=r"stream name '.*: a name is 1 to 255 bytes") as caught:
                    await conn.open_rpc(name)
                assert len(str(caught.value)) < 150
            with pytest.raises(ValueError, match="grace is -1 seconds"):
                await server.shutdown(grace=-1)
            with pytest.raises(TypeError):
                await server.shutdown(grace="1")
            with pytest.raises(naquid.ConfigError, match="port True"):
                naquid.connect(HOST, True)
            with pytest.raises(naquid.ConfigError, match="port False"):
                naquid.serve(app, HOST, False)
            assert await rpc.call(1, b"as ever") == b"as ever"

    run_once(main)


def test_what_is_too_big_says_what_fits(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        none = naquid.Limits(max_datagram_size=0)
        async with bench.serve(raw_echo(), limits=none) as server, bench.connect(server.port) as conn:
            with pytest.raises(naquid.MessageTooBig, match="the peer takes no datagrams"):
                conn.send_datagram(b"")
        limits = naquid.Limits(max_message_size=1000)
        async with bench.serve(raw_echo()) as server, bench.connect(server.port, limits=limits) as conn:
            size = conn.max_datagram_size
            with pytest.raises(naquid.MessageTooBig, match=f"of {size + 1} bytes: at most {size} fit"):
                conn.send_datagram(bytes(size + 1))
            stream = await conn.open_stream("any")
            with pytest.raises(naquid.MessageTooBig, match=r"larger than Limits\.max_message_size; send it in parts"):
                await stream.send(bytes(1001))

    run_once(main)


def test_a_stream_to_send_only_is_not_read(run: Variant, bench: Bench) -> None:
    """It raises; waiting for what cannot come would be for ever."""

    async def main() -> None:
        async with bench.serve(raw_echo()) as server, bench.connect(server.port) as conn:
            uni = await conn.open_uni_stream()
            for read in (uni.read, lambda: uni.read(1), lambda: uni.readexactly(1), uni.readuntil, uni.readline):
                with pytest.raises(naquid.StreamClosed, match="opened the stream to send only"):
                    await read()
            uni.write(b"this goes")
            uni.write_eof()
            await uni.wait_closed()

    run(main)


def test_a_refusal_says_so(run: Variant, bench: Bench) -> None:
    """A server that shuts down refuses new clients, which are told that trying later may help."""

    async def main() -> None:
        app = naquid.Handlers()
        asked = asyncio.Event()
        end = asyncio.Event()

        @app.rpc("slow")
        async def slow(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
            asked.set()
            await end.wait()
            return payload

        server = await bench.serve(app)
        async with bench.connect(server.port) as conn:
            call = asyncio.ensure_future((await conn.open_rpc("slow")).call(1, b"under way"))
            await asked.wait()
            shutdown = asyncio.ensure_future(server.shutdown(grace=60))
            await asyncio.sleep(0)
            with pytest.raises(naquid.HandshakeFailed, match=r"CONNECTION_REFUSED.*try later") as caught:
                await bench.connect(server.port)
            assert caught.value.code == 2
            assert caught.value.remote
            end.set()
            assert await call == b"under way"
            await shutdown

    run(main)
