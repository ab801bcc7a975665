"""Record streams, raw streams, unidirectional streams and datagrams: reading, writing, ending, cancelling."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness import Bench, Unraisable, Variant, engine, noise, until

import naquid

MIB = 1 << 20


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
            got = []
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


# ---- raw streams ----


def test_raw_bytes_without_names(run: Variant, bench: Bench) -> None:
    """When nothing has a name, raw streams are bare bytes both ways."""

    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
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


# ---- datagrams ----


def test_datagrams(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        conn.send_datagram(data[::-1])

    got: list[bytes] = []
    client_app = naquid.Handlers()

    @client_app.datagram
    async def back(conn: naquid.Connection, data: bytes) -> None:
        got.append(data)

    async def main() -> None:
        async with bench.pair(app, client_app) as (_, conn):
            most = conn.max_datagram_size
            assert 1000 < most < 1452
            sent = [b"", b"1", noise(500), noise(most)]
            for data in sent:
                conn.send_datagram(data)
            await until(lambda: len(got) == len(sent))
            assert got == [data[::-1] for data in sent]
            with pytest.raises(naquid.MessageTooBig):
                conn.send_datagram(bytes(most + 1))
            with pytest.raises(TypeError):
                conn.send_datagram("text")
        with pytest.raises(naquid.ConnectionLost):
            conn.send_datagram(b"late")

    run(main)


def test_datagrams_are_refused(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        none = {"limits": naquid.Limits(max_datagram_size=0)}
        async with bench.pair(naquid.Handlers(), server=none) as (_, conn):
            assert conn.max_datagram_size == 0
            with pytest.raises(naquid.MessageTooBig):
                conn.send_datagram(b"x")
            assert conn.is_open

    run(main)


def test_newest_datagrams_are_kept(run: Variant, bench: Bench) -> None:
    got: list[bytes] = []
    app = naquid.Handlers()
    app.datagram(lambda conn, data: got.append(data))

    async def main() -> None:
        few = {"limits": naquid.Limits(datagram_queue=4)}
        async with bench.pair(app, client=few) as (_, conn):
            for number in range(100):
                conn.send_datagram(b"%d" % number)
            await until(lambda: b"99" in got)
            assert got == [b"96", b"97", b"98", b"99"]

    run(main)


def test_datagram_handler_that_raises(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    app = naquid.Handlers()
    got: list[bytes] = []

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        got.append(data)
        raise ZeroDivisionError

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            conn.send_datagram(b"1")
            await until(lambda: len(got) == 1)
            conn.send_datagram(b"2")
            await until(lambda: len(got) == 2)
        assert len(unraisable.take()) == 2

    run(main)


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


def test_ping(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(naquid.Handlers()) as (server, conn):
            assert await conn.ping() > 0
            await until(lambda: server.connections)
            (accepted,) = server.connections
            results = await asyncio.gather(conn.ping(), conn.ping(), accepted.ping())
            assert all(rtt > 0 for rtt in results)
            cancelled = asyncio.ensure_future(conn.ping())
            await asyncio.sleep(0)
            cancelled.cancel()
            assert await conn.ping() > 0

    run(main)
