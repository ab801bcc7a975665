"""Record streams and what all streams share: reading, ending, resets, cancelling, many at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aio_apps import Held, record_echo
from harness import Bench, Unraisable, Variant, noise, until

import naquid

# ---- record streams ----


def test_records_of_the_server(run: Variant, bench: Bench) -> None:
    client_app = record_echo()

    async def main() -> None:
        async with bench.pair(naquid.Handlers(), client_app) as (server, _):
            await until(lambda: server.connections)
            (accepted,) = server.connections
            stream = await accepted.open_stream("echo")
            for size in (0, 5, 200000):
                await stream.send(noise(size))
                assert await stream.recv() == noise(size)

    run(main)


def test_end_of_records(run: Variant, bench: Bench) -> None:
    """finish() ends one direction; the other goes on until its own end."""

    async def main() -> None:
        held = Held()
        async with bench.pair(held.app) as (_, conn):
            stream = await conn.open_stream("held")
            await stream.send(b"one")
            stream.finish()
            stream.finish()
            other = await held.first()
            assert await other.recv() == b"one"
            for _ in range(2):
                assert await other.recv() is None
            with pytest.raises(naquid.StreamClosed):
                await stream.send(b"after the end")
            await other.send(b"two")
            other.finish()
            assert [record async for record in stream] == [b"two"]
            assert await stream.recv() is None
            await stream.wait_closed()
            await other.wait_closed()
            held.free()

    run(main)


def test_handler_that_returns_closes_its_stream(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()

    @app.stream("hello")
    async def hello(stream: naquid.Stream) -> None:
        await stream.send(b"hello")

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            stream = await conn.open_stream("hello")
            await stream.send(b"anyone?")
            assert [record async for record in stream] == [b"hello"]

    run(main)


def test_handler_that_raises_resets_its_stream(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    app = naquid.Handlers()

    @app.stream("broken")
    async def broken(stream: naquid.Stream) -> None:
        await stream.recv()
        raise ZeroDivisionError("broken")

    @app.raw_stream("broken raw")
    async def broken_raw(stream: naquid.RawStream) -> None:
        await stream.read(1)
        raise ZeroDivisionError("broken")

    @app.stream("broken plain")
    def broken_plain(stream: naquid.Stream) -> None:
        raise ZeroDivisionError("broken")

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            for open_it, name in (
                (conn.open_stream, "broken"),
                (conn.open_raw_stream, "broken raw"),
                (conn.open_stream, "broken plain"),
            ):
                stream: Any = await open_it(name)
                if isinstance(stream, naquid.Stream):
                    await stream.send(b"x")
                else:
                    stream.write(b"x")
                with pytest.raises(naquid.StreamReset) as caught:
                    await (stream.recv() if isinstance(stream, naquid.Stream) else stream.read(1))
                assert caught.value.code == 7  # NQ_CODE_INTERNAL
                await stream.wait_closed()
        assert [type(error) for error in unraisable.take()] == [ZeroDivisionError] * 3

    run(main)


def test_cancelled_recv_loses_nothing(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(record_echo()) as (_, conn):
            stream = await conn.open_stream("echo")
            got: list[bytes | None] = []
            for number in range(200):
                await stream.send(b"%d" % number)
            while len(got) < 200:
                reading = asyncio.ensure_future(stream.recv())
                for _ in range(len(got) % 4):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading])
                if not reading.cancelled():
                    got.append(reading.result())
                else:
                    got.append(await stream.recv())
            assert got == [b"%d" % number for number in range(200)]

    run(main)


def test_several_readers_and_writers(run: Variant, bench: Bench) -> None:
    """Every record goes to exactly one reader; several tasks may wait in send at once."""

    async def main() -> None:
        limits = naquid.Limits(send_high=10_000, send_low=1_000)
        async with bench.pair(record_echo(), client={"limits": limits}) as (_, conn):
            stream = await conn.open_stream("echo")

            async def send(writer: int) -> None:
                for number in range(100):
                    await stream.send(b"%d %d " % (writer, number) + bytes(500))

            async def receive() -> list[bytes]:
                return [record.rstrip(b"\0") async for record in stream]

            readers = [asyncio.ensure_future(receive()) for _ in range(3)]
            await asyncio.gather(*(send(writer) for writer in range(5)))
            stream.finish()
            got = sorted(record for part in await asyncio.gather(*readers) for record in part)
            assert got == sorted(b"%d %d " % (w, n) for w in range(5) for n in range(100))

    run(main)


def test_unknown_stream_name(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(record_echo()) as (_, conn):
            for open_it in (conn.open_stream, conn.open_raw_stream):
                stream = await open_it("unknown")
                if isinstance(stream, naquid.Stream):
                    await stream.send(b"?")
                else:
                    stream.write(b"?")
                with pytest.raises(naquid.StreamReset) as caught:
                    await (stream.recv() if isinstance(stream, naquid.Stream) else stream.read(1))
                assert caught.value.code == 2  # NQ_STREAM_UNKNOWN_PROTOCOL
                with pytest.raises(naquid.StreamReset) as caught:
                    await stream.drain()
                assert caught.value.code == 2
            good = await conn.open_stream("echo")
            await good.send(b"fine")
            assert await good.recv() == b"fine"

    run(main)


def test_wrong_kind_of_stream(run: Variant, bench: Bench) -> None:
    """A record stream under an RPC name: its bytes are no frames, so the stream ends with the code for that."""
    app = record_echo()
    app.rpc("rpc")(lambda rpc, type, payload: payload)

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            stream = await conn.open_stream("rpc")
            await stream.send(b"not a frame")
            with pytest.raises(naquid.StreamReset) as caught:
                await stream.recv()
            assert caught.value.code == 3  # NQ_CODE_FRAME_ERROR
            assert conn.is_open

    run(main)


# ---- resets ----


def test_reset_and_stop_sending(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        held = Held()
        async with bench.pair(held.app) as (_, conn):
            stream = await conn.open_raw_stream("raw held")
            stream.write(b"begin")
            other = await held.first()
            assert await other.read(5) == b"begin"
            reading = asyncio.ensure_future(other.read(1))
            await asyncio.sleep(0)
            stream.reset(0x1234)
            with pytest.raises(naquid.StreamReset) as caught:
                await reading
            assert caught.value.code == 0x1234
            with pytest.raises(naquid.StreamClosed):
                stream.write(b"after a reset")
            other.write(b"the other way goes on")
            assert await stream.readexactly(21) == b"the other way goes on"
            stream.stop_sending((1 << 62) - 1)
            await until(lambda: other.is_closed)
            with pytest.raises(naquid.StreamReset) as caught:
                other.write(b"nobody reads")
            assert caught.value.code == (1 << 62) - 1
            await stream.wait_closed()
            held.free()

    run(main)


def test_reset_codes_are_62_bits(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        held = Held()
        async with bench.pair(held.app) as (_, conn):
            stream = await conn.open_stream("held")
            for code in (-1, 1 << 62, 1 << 64):
                with pytest.raises((ValueError, OverflowError)):
                    stream.reset(code)
                with pytest.raises((ValueError, OverflowError)):
                    stream.stop_sending(code)
            await stream.send(b"still open")
            other = await held.first()
            assert await other.recv() == b"still open"
            held.free()

    run_once(main)


def test_reading_what_this_side_gave_up(run: Variant, bench: Bench) -> None:
    """A reader of a stream that its own side closed, or stopped, is told so at once."""

    async def main() -> None:
        held = Held()
        async with bench.pair(held.app) as (_, conn):
            for end in (lambda s: s.close(), lambda s: s.stop_sending(9)):
                stream = await conn.open_raw_stream("raw held")
                stream.write(b"x")
                other = await held.first()
                reading = asyncio.ensure_future(stream.read(1))
                await asyncio.sleep(0)
                end(stream)
                with pytest.raises(naquid.StreamClosed):
                    await reading
                with pytest.raises(naquid.StreamClosed):
                    await stream.read(1)
                assert await other.read(1) == b"x"
            held.free()

    run(main)


# ---- many streams ----


def test_1000_streams(run: Variant, bench: Bench) -> None:
    """All open at once on one connection, each with its own bytes."""

    async def main() -> None:
        async with bench.pair(record_echo()) as (_, conn):
            streams = [await conn.open_stream("echo") for _ in range(1000)]
            for number, stream in enumerate(streams):
                stream.send_nowait(noise(100, number))
            for number, stream in enumerate(streams):
                assert await stream.recv() == noise(100, number)
            assert conn.stats().streams == 1000
            assert len({stream.stream_id for stream in streams}) == 1000
            for stream in streams:
                stream.finish()
            await asyncio.gather(*(stream.wait_closed() for stream in streams))
            assert conn.stats().streams == 0

    run(main)


def test_more_streams_than_the_peer_allows(run: Variant, bench: Bench) -> None:
    """Opening waits for the limit of the peer, and a cancelled wait leaves nothing behind."""

    async def main() -> None:
        limits = naquid.Limits(max_streams_bidi=10)
        async with bench.pair(record_echo(), server={"limits": limits}) as (_, conn):
            streams = [await conn.open_stream("echo") for _ in range(10)]
            waiting = [asyncio.ensure_future(conn.open_stream("echo")) for _ in range(30)]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await conn.open_stream("echo")
            assert not any(task.done() for task in waiting)
            for task in waiting[::3]:
                task.cancel()
            await asyncio.wait(waiting[::3])
            kept = [task for task in waiting if not task.done()]
            assert len(kept) == 20
            for number in range(20):
                streams[number].finish()
                streams.append(await kept[number])
            for number, stream in enumerate(streams[20:]):
                await stream.send(b"%d" % number)
                assert await stream.recv() == b"%d" % number

    run(main)


def test_pending_opens_are_bounded(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        config = {"limits": naquid.Limits(max_pending_opens=5)}
        few = {"limits": naquid.Limits(max_streams_bidi=1)}
        async with bench.pair(record_echo(), client=config, server=few) as (_, conn):
            first = await conn.open_stream("echo")
            waiting = [asyncio.ensure_future(conn.open_stream("echo")) for _ in range(5)]
            await asyncio.sleep(0)
            with pytest.raises(naquid.QueueFull, match="max_pending_opens"):
                await conn.open_stream("echo")
            first.finish()
            second = await waiting[0]
            await second.send(b"mine")
            assert await second.recv() == b"mine"
            for task in waiting[1:]:
                task.cancel()

    run_once(main)
