"""Closing in order: everything is delivered, close() tells so, and to who reads it is an end, not an error."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

import pytest
from harness import HOST, Bench, Variant, free_port, noise, until

import naquid

KINDS = ["write_eof", "finish", "reset", "stop_sending", "datagram"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_asked_for_before_arrives(run: Variant, bench: Bench, kind: str) -> None:
    """Each when its stream has nothing else to send any more."""
    seen: list[Any] = []
    app = naquid.Handlers()

    @app.raw_stream("raw")
    async def raw(stream: naquid.RawStream) -> None:
        try:
            while chunk := await stream.read(100):
                seen.append(chunk)
            seen.append("end")
        except naquid.StreamReset as error:
            seen.append(("reset", error.code))

    @app.stream("records")
    async def records(stream: naquid.Stream) -> None:
        async for record in stream:
            seen.append(record)
        seen.append("end")

    @app.raw_stream("down")
    async def down(stream: naquid.RawStream) -> None:
        seen.append(await stream.read(100))
        try:
            while True:
                stream.write(bytes(10_000))
                await stream.drain()
                await asyncio.sleep(0)
        except naquid.StreamReset as error:
            seen.append(("stopped", error.code))

    app.datagram(lambda conn, data: seen.append(data))

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            expected: list[Any] = [b"data"]
            if kind == "datagram":
                conn.send_datagram(b"bye")
                expected = [b"bye"]
            elif kind == "finish":
                stream = await conn.open_stream("records")
                await stream.send(b"data")
                await until(lambda: seen and not stream.queued)
                stream.finish()
                expected.append("end")
            else:
                raw = await conn.open_raw_stream("down" if kind == "stop_sending" else "raw")
                raw.write(b"data")
                await until(lambda: seen and not raw.queued)
                if kind == "write_eof":
                    raw.write_eof()
                    expected.append("end")
                elif kind == "reset":
                    raw.reset(77)
                    expected.append(("reset", 77))
                else:
                    raw.stop_sending(33)
                    expected.append(("stopped", 33))
            assert await conn.close() is True
            await until(lambda: len(seen) >= len(expected))
            assert seen == expected

    run(main)


def test_close_tells_when_not_all_was_delivered(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    reading = asyncio.Event()

    @app.raw_stream("stuck")
    async def stuck(stream: naquid.RawStream) -> None:
        await stream.read(1)
        await reading.wait()

    async def main() -> None:
        impatient = {"limits": naquid.Limits(shutdown_timeout=0.05)}
        async with bench.pair(app, client=impatient) as (_, conn):
            stream = await conn.open_raw_stream("stuck")
            stream.write(noise(30 << 20))  # more than the windows hold
            assert await conn.close() is False
            assert await conn.close() is False  # the same, asked again
            reading.set()
        async with bench.pair(app) as (_, conn):
            assert await conn.close() is True

    run(main)


@pytest.mark.parametrize("how", ["reply", "error", "forget"])
def test_a_deferred_reply_is_waited_for(run: Variant, bench: Bench, how: str) -> None:
    """It is given while the connection closes. One that is forgotten is an error reply."""
    kept: list[Any] = []
    conns: list[naquid.Connection] = []
    app = naquid.Handlers()
    app.on_connect(conns.append)

    @app.rpc("later")
    def later(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        kept.append(rpc.defer())

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            call = asyncio.ensure_future((await conn.open_rpc("later")).call(1, b"?"))
            await until(lambda: kept)
            closing = asyncio.ensure_future(conns[0].close())
            await asyncio.sleep(0.05)
            assert not closing.done()
            deferred = kept.pop()
            if how == "reply":
                deferred.reply(b"late")
                assert await call == b"late"
            elif how == "error":
                deferred.error(b"no", -9)
                with pytest.raises(naquid.RpcError) as caught:
                    await call
                assert caught.value.code == -9
            else:
                del deferred
                with pytest.raises(naquid.RpcError):
                    await call
            assert await closing is True

    run(main)


def test_an_end_in_order_is_an_end_for_readers(run: Variant, bench: Bench) -> None:
    """Of every kind of stream, though none was finished."""
    got: list[Any] = []
    conns: list[naquid.Connection] = []
    gone: list[Any] = []
    app, peer = naquid.Handlers(), naquid.Handlers()
    app.on_connect(conns.append)
    for one in (app, peer):
        one.on_disconnect(lambda conn, error: gone.append(error))

    @app.raw_stream("idle")
    async def idle(stream: naquid.RawStream) -> None:
        stream.write(b"the last line")
        await stream.wait_closed()

    @app.stream("records")
    async def records(stream: naquid.Stream) -> None:
        await stream.send(b"the last record")
        await stream.wait_closed()

    async def read(conn: naquid.Connection) -> None:
        raw = await conn.open_raw_stream("idle")
        raw.write(b"x")
        got.extend([await raw.readline(), await raw.read(), raw.at_eof()])

    async def parts(conn: naquid.Connection) -> None:
        raw = await conn.open_raw_stream("idle")
        raw.write(b"x")
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await raw.readexactly(100)
        assert caught.value.partial == b"the last line"

    async def each(conn: naquid.Connection) -> None:
        stream = await conn.open_stream("records")
        await stream.send(b"x")
        assert [record async for record in stream] == [b"the last record"]

    async def main() -> None:
        async with bench.pair(app, peer) as (_, conn):
            readers = [asyncio.ensure_future(job(conn)) for job in (read, parts, each)]
            await until(lambda: conn.stats().streams == 3 and len(conns) == 1)
            await asyncio.sleep(0.05)
            await conns[0].close()
            await asyncio.gather(*readers)
            assert got == [b"the last line", b"", True]
            await until(lambda: len(gone) == 2)
            assert gone == [None, None]

    run(main)


@pytest.mark.parametrize("how", ["code", "abort"])
def test_another_end_is_an_error_for_readers(run: Variant, bench: Bench, how: str) -> None:
    """A code says that something went wrong; what this side aborted has not come to its end."""
    app = naquid.Handlers()
    conns: list[naquid.Connection] = []
    app.on_connect(conns.append)

    @app.raw_stream("idle")
    async def idle(stream: naquid.RawStream) -> None:
        await stream.wait_closed()

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            raw = await conn.open_raw_stream("idle")
            raw.write(noise(30 << 20))
            reading = asyncio.ensure_future(raw.read())
            await until(lambda: conns)
            if how == "code":
                await conns[0].close(5, "wrong")
            else:
                conn.abort()
            with pytest.raises(naquid.ConnectionLost):
                await reading
            assert not raw.at_eof()

    run(main)


def test_streams_of_asyncio_end_as_over_tcp(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def serve(reader: naquid.StreamReader, writer: naquid.StreamWriter) -> None:
            assert await reader.readline() == b"hello\n"
            writer.write(b"one\ntwo")
            await writer.drain()
            await done.wait()
            await writer.get_extra_info("connection").close()

        server = await naquid.start_server(serve, HOST, cert=bench.leaf.cert, key=bench.leaf.key)
        async with server:
            reader, writer = await naquid.open_connection(HOST, server.port, ca=bench.ca.ca)
            writer.write(b"hello\n")
            assert await reader.readline() == b"one\n"
            done.set()
            assert await reader.readline() == b"two"
            assert await reader.readline() == b""
            assert reader.at_eof()
            assert reader.exception() is None
            writer.close()
            await writer.wait_closed()
            # One that this side has closed:
            done.clear()
            reader, writer = await naquid.open_connection(HOST, server.port, ca=bench.ca.ca)
            writer.write(b"hello\n")
            reading = asyncio.ensure_future(reader.read())
            await asyncio.sleep(0.05)
            await writer.get_extra_info("connection").close()
            assert await reading == b"one\ntwo"
            assert (await reader.read(), reader.at_eof()) == (b"", True)
            with pytest.raises(asyncio.IncompleteReadError):
                await reader.readexactly(1)
            done.set()

    run(main)


def test_stop_sending_is_told_before_the_end(run: Variant, bench: Bench) -> None:
    """Who writes learns why the peer read no further, also when the peer has closed the connection since."""
    app = naquid.Handlers()

    @app.raw_stream("up")
    async def up(stream: naquid.RawStream) -> None:
        await stream.read(1)
        stream.stop_sending(41)
        await stream.connection.close()

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            stream = await conn.open_raw_stream("up")
            stream.write(b"x")
            await conn.wait_closed()
            with pytest.raises(naquid.StreamReset) as caught:
                stream.write(b"more")
            assert caught.value.code == 41
            with pytest.raises(naquid.StreamReset):
                await stream.drain()

    run(main)


def test_what_the_system_said_has_its_number(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        with pytest.raises(naquid.HandshakeFailed, match=r"no connection came about: .*port unreachable") as caught:
            await bench.connect(free_port())
        assert caught.value.errno == errno.ECONNREFUSED
        assert caught.value.code is None
        with pytest.raises(OSError, match="port unreachable"):
            await bench.connect(free_port())

    run(main)


def test_a_server_tells_that_its_socket_is_broken(run: Variant, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with bench.serve(naquid.Handlers()) as server:
            assert server.is_serving()
            (number,) = [fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_bound_to(fd, server.port)]
            os.close(number)
            assert not server.is_serving()
            await until(lambda: any("socket was closed by somebody else" in text for text in caplog.messages))
        assert not server.is_serving()

    run(main)


def _is_bound_to(fd: int, port: int) -> bool:
    import socket

    try:
        with socket.socket(fileno=os.dup(fd)) as one:
            return one.type == socket.SOCK_DGRAM and one.getsockname()[1] == port
    except OSError:
        return False


def test_keep_alive_is_below_the_idle_timeout() -> None:
    for idle, keep in ((30.0, 30.0), (30.0, 60.0), (1.0, 1.5)):
        with pytest.raises(naquid.ConfigError, match="keep_alive"):
            naquid.Limits(idle_timeout=idle, keep_alive=keep)
    naquid.Limits(idle_timeout=0, keep_alive=60.0)  # no idle timeout
