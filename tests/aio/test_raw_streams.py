"""Raw streams and unidirectional streams: bytes in every way, cancelled reads, resets."""

from __future__ import annotations

import asyncio

import pytest
from aio_apps import Held, raw_echo, record_echo
from harness import Bench, Variant, noise, until

import naquid

MIB = 1 << 20

# ---- raw streams ----


def test_raw_bytes_without_names(run: Variant, bench: Bench) -> None:
    """When nothing has a name, raw streams are bare bytes both ways."""

    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            assert stream.name is None
            assert not stream.is_unidirectional
            stream.write(b"bare\0bytes")
            assert await stream.readexactly(10) == b"bare\0bytes"
            stream.write_eof()
            assert await stream.read() == b""
            await stream.wait_closed()

    run(main)


def test_raw_streams_beside_named_ones(run: Variant, bench: Bench) -> None:
    app = raw_echo(record_echo())
    app.rpc("rpc")(lambda rpc, type, payload: payload)

    @app.raw_stream("upload")
    async def upload(stream: naquid.RawStream) -> None:
        data = await stream.read()
        stream.write(b"%d bytes" % len(data))

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            assert await (await conn.open_rpc("rpc")).call(1, b"named") == b"named"
            stream = await conn.open_raw_stream()
            assert stream.name == "raw"
            stream.write(b"raw")
            assert await stream.readexactly(3) == b"raw"
            named = await conn.open_raw_stream("upload")
            named.write(noise(12345))
            named.write_eof()
            assert await named.read() == b"12345 bytes"

    run(main)


def test_megabytes_both_ways(run: Variant, bench: Bench) -> None:
    size = 16 * MIB

    async def main() -> None:
        data = noise(size)
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()

            async def send() -> None:
                for at in range(0, size, 65536):
                    stream.write(memoryview(data)[at : at + 65536])
                    await stream.drain()
                stream.write_eof()

            sending = asyncio.ensure_future(send())
            received = bytearray()
            while part := await stream.read(1 << 20):
                received += part
            await sending
            assert received == data

    run(main)


def test_reading_in_every_way(run: Variant, bench: Bench) -> None:
    text = b"first line\nsecond\r\n\n" + noise(300_000).replace(b"\n", b"_") + b"\nlast"

    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            stream.write(text)
            stream.write_eof()
            assert await stream.readline() == b"first line\n"
            assert await stream.readuntil(b"\r\n") == b"second\r\n"
            assert await stream.readuntil(b"\n") == b"\n"
            with pytest.raises(asyncio.LimitOverrunError):
                await stream.readuntil(b"\n")
            assert await stream.read(0) == b""
            assert await stream.readexactly(0) == b""
            long = await stream.readuntil(b"\n", limit=1 << 20)
            assert long == text[20:-4]
            assert await stream.readline() == b"last"
            assert await stream.readline() == b""
            assert await stream.read(5) == b""
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await stream.readexactly(1)
            assert caught.value.partial == b""

    run(main)


def test_an_end_before_what_was_asked_for(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            for read in (lambda s: s.readexactly(5), lambda s: s.readuntil(b"\n")):
                stream = await conn.open_raw_stream()
                stream.write(b"rest")
                stream.write_eof()
                with pytest.raises(asyncio.IncompleteReadError) as caught:
                    await read(stream)
                assert caught.value.partial == b"rest"
                assert await stream.read(5) == b""

    run(main)


def test_separators_across_packets(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            reading = asyncio.ensure_future(stream.readuntil(b"<end>"))
            for byte in b"abc<en<end>rest":
                stream.write(bytes([byte]))
                await asyncio.sleep(0.001)
            assert await reading == b"abc<en<end>"
            assert await stream.readexactly(4) == b"rest"
            stream.write_eof()
            with pytest.raises(asyncio.IncompleteReadError):
                await stream.readuntil(b"<end>")
            with pytest.raises(ValueError, match="separator"):
                await stream.readuntil(b"")
            with pytest.raises(ValueError, match="n must be"):
                await stream.readexactly(-1)

    run(main)


def test_readexactly_above_the_usual_bound(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()

            async def send() -> None:
                for number in range(64):
                    stream.write(noise(65536, number))
                    await stream.drain()
                stream.write_eof()

            sending = asyncio.ensure_future(send())
            assert await stream.readexactly(3 * MIB) == b"".join(noise(65536, n) for n in range(48))
            assert await stream.read(-1) == b"".join(noise(65536, n) for n in range(48, 64))
            await sending

    run(main)


def test_cancelled_reads_lose_nothing(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        data = noise(20_000)
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            got = b""
            for at in range(0, len(data), 100):
                ways = (
                    lambda: stream.read(37),
                    lambda: stream.readexactly(100),
                    lambda: stream.readuntil(b"\0\0\0"),
                    stream.read,
                )
                reading = asyncio.ensure_future(ways[at // 100 % 4]())
                await asyncio.sleep(0)
                reading.cancel()
                stream.write(data[at : at + 100])
                await asyncio.wait([reading])
                assert reading.cancelled()
                got += await stream.readexactly(100)
            assert got == data

    run(main)


def test_uni_streams(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        held = Held()
        client_held = Held()
        async with bench.pair(held.app, client_held.app) as (server, conn):
            await until(lambda: server.connections)
            for opener, receiver in ((conn, held), (next(iter(server.connections)), client_held)):
                stream = await opener.open_uni_stream()
                assert stream.is_unidirectional
                stream.write(noise(100_000))
                stream.write_eof()
                other = await receiver.first()
                assert other.is_unidirectional
                assert not other.is_outgoing
                assert await other.read() == noise(100_000)
                with pytest.raises(naquid.StreamClosed):
                    other.write(b"no way back")
                with pytest.raises(naquid.StreamClosed):
                    await stream.read(1)
                await stream.wait_closed()
            held.free()
            client_held.free()

    run(main)


def test_uni_stream_without_a_handler(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(record_echo()) as (_, conn):
            stream = await conn.open_uni_stream()
            stream.write(b"?")

            async def drain_again_and_again() -> None:
                while True:
                    await stream.drain()
                    await asyncio.sleep(0)

            with pytest.raises(naquid.StreamReset) as caught:
                await drain_again_and_again()
            assert caught.value.code == 2
            assert conn.is_open

    run(main)


def test_uni_stream_reset(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        held = Held()
        async with bench.pair(held.app) as (_, conn):
            stream = await conn.open_uni_stream()
            stream.write(b"cut")
            other = await held.first()
            stream.reset(5)
            with pytest.raises(naquid.StreamReset) as caught:
                await other.read()
            assert caught.value.code == 5
            held.free()

    run(main)
