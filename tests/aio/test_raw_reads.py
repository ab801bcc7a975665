"""Reading a raw stream into a buffer of one's own, and as views."""

from __future__ import annotations

import array
import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
from aio_apps import raw_echo
from harness import Bench, Variant, noise, until

import naquid

MIB = 1 << 20

Read = Callable[[naquid.RawStream, int], Awaitable[bytes]]


async def read_into(stream: naquid.RawStream, n: int) -> bytes:
    buffer = bytearray(n)
    return bytes(buffer[: await stream.readinto(buffer)])


async def read_view(stream: naquid.RawStream, n: int) -> bytes:
    return bytes(await stream.read_view(n))


async def read_bytes(stream: naquid.RawStream, n: int) -> bytes:
    return await stream.read(n)


WAYS: dict[str, Read] = {"readinto": read_into, "read_view": read_view}
both = pytest.mark.parametrize("way", WAYS)


@both
def test_megabytes(run: Variant, bench: Bench, way: str) -> None:
    """Parts of every size, read in all ways one after the other, are the bytes that were sent."""
    size = 4 * MIB

    async def main() -> None:
        data = noise(size)
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()

            async def send() -> None:
                for at in range(0, size, 40_000):
                    stream.write(data[at : at + 40_000])
                    await stream.drain()
                stream.write_eof()

            sending = asyncio.ensure_future(send())
            received = bytearray()
            sizes = [1, 7, 1000, 16_384, 65_536, 300_000]
            for turn in range(size):
                read = WAYS[way] if turn % 5 else read_bytes
                part = await read(stream, sizes[turn % len(sizes)])
                if not part:
                    break
                assert len(part) <= sizes[turn % len(sizes)]
                received += part
            await sending
            assert received == data
            assert stream.at_eof()

    run(main)


@both
def test_the_end(run: Variant, bench: Bench, way: str) -> None:
    async def main() -> None:
        read = WAYS[way]
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            assert await read(stream, 0) == b"", "does not wait"
            stream.write(b"abcdef")
            assert await read(stream, 4) == b"abcd"
            assert await read(stream, 0) == b""
            assert await read(stream, 4) == b"ef"
            stream.write_eof()
            assert await read(stream, 4) == b""
            assert await read(stream, 4) == b""

    run(main)


@both
def test_cancelling_loses_nothing(run: Variant, bench: Bench, way: str) -> None:
    async def main() -> None:
        read = WAYS[way]
        data = noise(20_000)
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            received = b""
            for at in range(0, len(data), 100):
                # Of two that wait for bytes the first one cancels the second: they have come, it has not run again.
                first = stream._read_wait()
                assert first is not None
                reading = asyncio.ensure_future(read(stream, 64))
                if at % 300:
                    first.add_done_callback(lambda _, reading=reading: reading.cancel())  # type: ignore[attr-defined]
                await asyncio.sleep(0)
                stream.write(data[at : at + 100])
                if at % 300:
                    with pytest.raises(asyncio.CancelledError):
                        await reading
                else:
                    received += await reading
                while stream._buffered or len(received) < at + 100:
                    received += await read(stream, 1000)
            stream.write_eof()
            while part := await read(stream, 1 << 20):
                received += part
            assert received == data

    run(main)


@both
def test_how_it_can_fail(run: Variant, bench: Bench, way: str) -> None:
    read = WAYS[way]
    handlers = naquid.Handlers()

    @handlers.raw_stream
    async def then_reset(stream: naquid.RawStream) -> None:
        stream.write(b"before")
        await stream.readexactly(2)
        stream.reset(9)
        await stream.read()

    async def main() -> None:
        async with bench.pair(handlers) as (_, conn):
            stream = await conn.open_raw_stream()
            stream.write(b"x")
            assert await read(stream, 100) == b"before"
            stream.write(b"y")
            with pytest.raises(naquid.StreamReset) as caught:
                await read(stream, 100)
            assert caught.value.code == 9
            reading = asyncio.ensure_future(read(await conn.open_raw_stream(), 100))
            await asyncio.sleep(0)
            conn.abort()
            with pytest.raises(naquid.ConnectionLost):
                await reading

    run(main)


def test_buffers(run: Variant, bench: Bench) -> None:
    """What can be written to is; what cannot is refused before anything is awaited or lost."""

    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            for wrong in (b"bytes", memoryview(b"bytes"), "text", 5, None, memoryview(bytearray(9))[::2]):
                with pytest.raises(TypeError, match=r"readinto\(\) needs a writable"):
                    await asyncio.wait_for(stream.readinto(wrong), 30)  # type: ignore[arg-type]
            stream.write(b"0123456789")
            await until(lambda: stream._buffered == 10)
            numbers = array.array("H", [0, 0])
            assert await stream.readinto(numbers) == 4
            assert numbers.tobytes() == b"0123"
            buffer = bytearray(b"........")
            assert await stream.readinto(memoryview(buffer)[2:5]) == 3
            assert buffer == b"..456..."
            buffer.extend(b"it is not held")

            waiting = bytearray(4)
            while stream._buffered:
                await stream.read(100)
            reading = asyncio.ensure_future(stream.readinto(waiting))
            await asyncio.sleep(0)
            waiting.clear()  # its owner may do as he likes meanwhile
            waiting.extend(b"__")
            stream.write(b"abc")
            assert await reading == 2
            assert waiting == b"ab"
            assert await stream.read(5) == b"c"

            gone = memoryview(bytearray(4))
            reading = asyncio.ensure_future(stream.readinto(gone))
            await asyncio.sleep(0)
            gone.release()
            stream.write(b"kept")
            with pytest.raises((ValueError, TypeError)):
                await reading
            assert await stream.readexactly(4) == b"kept"

    run(main)


def test_views_stay_as_they_are(run: Variant, bench: Bench) -> None:
    """Whatever comes later, however it is read, and whatever becomes of stream and connection."""

    async def main() -> None:
        data = noise(2 * MIB)
        views: list[memoryview] = []
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()

            async def send() -> None:
                for at in range(0, len(data), 10_000):
                    stream.write(data[at : at + 10_000])
                    await stream.drain()
                stream.write_eof()

            sending = asyncio.ensure_future(send())
            while view := await stream.read_view(1 + 7919 * len(views) % 30_000):
                views.append(view)
                if len(views) % 3 == 0:
                    part = await stream.read(500)
                    views.append(memoryview(part))
            await sending
        gc.collect()
        for view in views:
            assert view.readonly
            assert view.format == "B"
            assert view.c_contiguous
        assert b"".join(views) == data
        with pytest.raises(TypeError):
            views[0][0] = 1
        with pytest.raises(ValueError, match="0 or more"):
            async with bench.pair(raw_echo()) as (_, conn):
                await (await conn.open_raw_stream()).read_view(-1)

    run(main)


def test_views_are_freed(run_once: Variant, bench: Bench) -> None:
    """A block lives as long as a view of it: bytes of a view are its own, and nobody else's."""

    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            stream.write(b"a" * 1000)
            await until(lambda: stream._buffered == 1000)
            first = await stream.read_view(10)
            second = await stream.read_view(10)
            owners = [first.obj, second.obj]
            assert owners[0] is not owners[1]
            blocks = [block for owner in owners for block in gc.get_referents(owner)]
            assert len(blocks) == 2
            assert blocks[0] is blocks[1], "small views share a block"
            del first, second, owners, blocks
            gc.collect()
            assert not [each for each in gc.get_objects() if type(each).__name__ == "ReceivedBytes"]

    run_once(main)
