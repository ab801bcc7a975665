"""open_connection() and start_server(): a raw stream in the clothes of asyncio's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from harness import HOST, Bench, Variant, noise, until

import naquid

Callback = Callable[[naquid.StreamReader, naquid.StreamWriter], Awaitable[None] | None]
Pair = tuple[naquid.StreamReader, naquid.StreamWriter]


async def echo(reader: naquid.StreamReader, writer: naquid.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def start(bench: Bench, callback: Callback, **arguments: Any) -> Any:
    return naquid.start_server(callback, HOST, cert=bench.leaf.cert, key=bench.leaf.key, **arguments)


@contextlib.asynccontextmanager
async def pair(bench: Bench, callback: Callback = echo, **arguments: Any) -> AsyncIterator[Pair]:
    async with await start(bench, callback) as server:
        reader, writer = await naquid.open_connection(HOST, server.port, ca=bench.ca.ca, **arguments)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


def test_echo(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with pair(bench) as (reader, writer):
            data = noise(3 << 20)
            writing = asyncio.ensure_future(_write(writer, data))
            assert await reader.readexactly(len(data)) == data
            await writing
            assert not reader.at_eof()
            assert writer.can_write_eof()
            writer.write_eof()
            assert await reader.read() == b""
            assert await reader.read(10) == b""
            assert reader.at_eof()
            writer.close()
            assert writer.is_closing()
            await writer.wait_closed()
            assert writer.get_extra_info("connection").is_closed
            assert reader.exception() is None

    run(main)


async def _write(writer: naquid.StreamWriter, data: bytes) -> None:
    for at in range(0, len(data), 100_000):
        writer.write(data[at : at + 100_000])
        await writer.drain()


def test_the_same_program_over_tcp(run: Variant, bench: Bench) -> None:
    """One conversation, once over asyncio's streams and once over ours: the same results."""

    async def serve(reader: Any, writer: Any) -> None:
        async for line in reader:
            if line == b"end\n":
                break
            writer.writelines([line.strip().upper(), b";", b"next\n"])
            await writer.drain()
        writer.write(b"x" * 1000 + b"\n" + b"y" * 10)
        writer.close()
        await writer.wait_closed()

    async def talk(reader: Any, writer: Any) -> list[Any]:
        seen: list[Any] = []
        for line in (b"one\n", b"two\n"):
            writer.write(line)
            await writer.drain()
            seen.append(await reader.readline())
        writer.write(b"three\n")
        seen.append(await reader.readuntil(b";"))
        seen.append(await reader.readexactly(3))
        seen.append(await reader.readline())
        writer.write(b"end\n")
        with pytest.raises(ValueError, match="limit"):
            await reader.readline()
        with pytest.raises(asyncio.IncompleteReadError) as short:
            await reader.readexactly(100)
        seen.append((short.value.partial, short.value.expected))
        with pytest.raises(asyncio.IncompleteReadError) as none:
            await reader.readuntil(b"?")
        seen.append(none.value.partial)
        seen += [await reader.readline(), await reader.read(), await reader.read(1), reader.at_eof()]
        seen += [line async for line in reader]
        seen += [writer.can_write_eof(), writer.is_closing(), writer.transport.can_write_eof()]
        writer.close()
        seen.append(writer.is_closing())
        await writer.wait_closed()
        return seen

    async def main() -> None:
        tcp = await asyncio.start_server(serve, HOST, 0)
        port = tcp.sockets[0].getsockname()[1]
        expected = await talk(*await asyncio.open_connection(HOST, port, limit=100))
        tcp.close()
        await tcp.wait_closed()
        async with await start(bench, serve) as server:
            ours = await talk(*await naquid.open_connection(HOST, server.port, ca=bench.ca.ca, limit=100))
        assert ours == expected

    run(main)


def test_what_is_known(run: Variant, bench: Bench) -> None:
    seen: list[Any] = []

    async def callback(reader: naquid.StreamReader, writer: naquid.StreamWriter) -> None:
        seen.extend(writer.get_extra_info(name) for name in ("peername", "sockname", "peercert", "alpn"))
        await echo(reader, writer)

    async def main() -> None:
        async with pair(bench, callback) as (_, writer):
            writer.write(b"x")
            conn = writer.get_extra_info("connection")
            assert isinstance(conn, naquid.Connection)
            assert isinstance(writer.get_extra_info("stream"), naquid.RawStream)
            peername, sockname = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
            assert peername == conn.remote_address
            assert sockname == conn.local_address
            assert writer.get_extra_info("peercert") == bench.leaf.cert_der
            assert writer.get_extra_info("alpn") == "nq/1"
            assert writer.get_extra_info("cipher") == ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)
            assert writer.get_extra_info("socket") is None
            assert writer.get_extra_info("socket", 5) == 5
            assert writer.transport.get_extra_info("alpn") == "nq/1"
            await until(lambda: seen)
            assert seen[0] == (HOST, sockname[1])  # a client's socket is bound to every address
            assert seen[1:] == [peername, None, "nq/1"]

    run(main)


@pytest.mark.parametrize("name", [None, "files"])
def test_names(run: Variant, bench: Bench, name: str | None) -> None:
    async def main() -> None:
        async with await start(bench, echo, name=name) as server:
            reader, writer = await naquid.open_connection(HOST, server.port, ca=bench.ca.ca, name=name)
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            writer.close()
            await writer.wait_closed()

    run(main)


def test_backpressure(run: Variant, bench: Bench) -> None:
    """A reader that does not read: drain waits, may be cancelled and called again, by two tasks."""
    read = asyncio.Event

    async def main() -> None:
        go = read()

        async def callback(reader: naquid.StreamReader, writer: naquid.StreamWriter) -> None:
            await go.wait()
            writer.write(b"%d\n" % len(await reader.read()))
            writer.close()

        async with pair(bench, callback) as (reader, writer):
            writer.write(bytes(16 << 20))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await writer.drain()
            assert writer.transport.get_write_buffer_size() > 1 << 20
            drains = [asyncio.ensure_future(writer.drain()) for _ in range(2)]
            await asyncio.sleep(0.02)
            assert not any(task.done() for task in drains)
            go.set()
            await asyncio.gather(*drains)
            writer.write_eof()
            assert await reader.readline() == b"%d\n" % (16 << 20)

    run(main)


def test_the_peer_resets(run: Variant, bench: Bench) -> None:
    async def callback(reader: naquid.StreamReader, writer: naquid.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async def main() -> None:
        async with pair(bench, callback) as (reader, writer):
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(5)
            with pytest.raises(ConnectionResetError):
                await reader.readline()
            writer.write(b"dropped")
            with pytest.raises(ConnectionError):
                await writer.drain()
            await until(writer.is_closing)

    run(main)


def test_the_connection_is_lost(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        server = await start(bench, echo)
        reader, writer = await naquid.open_connection(HOST, server.port, ca=bench.ca.ca)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        server.close()
        with pytest.raises(ConnectionError):
            await reader.read()
        writer.write(b"dropped")
        with pytest.raises(ConnectionError):
            await writer.drain()
        assert isinstance(reader.exception(), naquid.ConnectionLost)
        assert writer.is_closing()
        writer.close()
        await writer.wait_closed()
        await server.wait_closed()

    run(main)


def test_abort(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with await start(bench, echo) as server:
            _, writer = await naquid.open_connection(HOST, server.port, ca=bench.ca.ca)
            writer.write(b"x")
            writer.transport.abort()
            await writer.wait_closed()
            assert writer.is_closing()

    run(main)


def test_written_before_close_arrives(run: Variant, bench: Bench) -> None:
    got: list[bytes] = []

    async def callback(reader: naquid.StreamReader, writer: naquid.StreamWriter) -> None:
        got.append(await reader.read())
        writer.close()

    async def main() -> None:
        data = noise(1 << 20)
        async with await start(bench, callback) as server:
            _, writer = await naquid.open_connection(HOST, server.port, ca=bench.ca.ca)
            writer.write(data)
            writer.close()
            writer.write(b"too late")
            await writer.drain()
            await writer.wait_closed()
            await until(lambda: got)
        assert got == [data]

    run(main)


def test_plain_callback_and_later_use(run: Variant, bench: Bench) -> None:
    """A stream outlives the callback, whatever kind that is."""
    kept: list[Pair] = []

    def plain(reader: naquid.StreamReader, writer: naquid.StreamWriter) -> None:
        kept.append((reader, writer))

    async def coroutine(reader: naquid.StreamReader, writer: naquid.StreamWriter) -> None:
        kept.append((reader, writer))

    async def main() -> None:
        for callback in (plain, coroutine):
            kept.clear()
            async with pair(bench, callback) as (reader, writer):
                writer.write(b"ask\n")
                await until(lambda: kept)
                for _ in range(3):
                    await asyncio.sleep(0)
                (theirs, answers) = kept[0]
                assert await theirs.readline() == b"ask\n"
                answers.write(b"answer\n")
                assert await reader.readline() == b"answer\n"
                answers.close()
                assert await reader.read() == b""

    run(main)


def test_a_callback_that_raises(run: Variant, bench: Bench, unraisable: Any) -> None:
    async def callback(reader: naquid.StreamReader, writer: naquid.StreamWriter) -> None:
        raise KeyError("oops")

    async def main() -> None:
        async with pair(bench, callback) as (reader, writer):
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read()
        (error,) = unraisable.take()
        assert isinstance(error, KeyError)

    run(main)


def test_failures(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="limit"):
            async with pair(bench, limit=0):
                pass
        async with await start(bench, echo, name="a") as server:
            with pytest.raises(ValueError, match="NUL"):
                await naquid.open_connection(HOST, server.port, ca=bench.ca.ca, name="a\0b")
            await until(lambda: not server.connections)
            with pytest.raises(naquid.HandshakeFailed):
                await naquid.open_connection(HOST, server.port)

    run_once(main)


def test_serve_forever(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        server = await start(bench, echo)
        assert server.is_serving()
        forever = asyncio.ensure_future(server.serve_forever())
        reader, writer = await naquid.open_connection(HOST, server.port, ca=bench.ca.ca)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        assert not forever.done()
        forever.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forever
        assert not server.is_serving()
        writer.close()
        await writer.wait_closed()

    run(main)
