"""The main job of each part of the asyncio API, once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from harness import descriptors, until

import naquid

SERVER = """
import asyncio, sys, naquid
async def main():
    app = naquid.Handlers()
    @app.rpc("echo")
    def echo(rpc, type, payload):
        return payload
    async with naquid.serve(app, "127.0.0.1", 0, cert=sys.argv[1], key=sys.argv[2]) as server:
        print(server.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""


@pytest.fixture
def pair(bench):
    return bench.pair


def echo_app() -> naquid.Handlers:
    app = naquid.Handlers()

    @app.rpc("echo")
    def echo(rpc, type, payload):
        return payload

    return app


def test_two_processes(ca, leaf, run):
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, leaf.cert, leaf.key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        port = int(server.stdout.readline())

        async def main():
            async with naquid.connect("127.0.0.1", port, ca=ca.ca) as conn:
                rpc = await conn.open_rpc("echo")
                return await rpc.call(1, b"over real UDP")

        assert run(main) == b"over real UDP"
        server.stdin.close()
        assert server.wait(10) == 0


def test_many_calls(pair, run):
    async def main():
        async with pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            payloads = [os.urandom(n) for n in (0, 1, 8, 1000, 20_000, 300_000)] * 20
            replies = await asyncio.gather(*(rpc.call(1 + i, p) for i, p in enumerate(payloads)))
            assert replies == payloads

    run(main)


def test_types_and_buffers(pair, run):
    app = naquid.Handlers()
    seen = []

    @app.rpc("t")
    def t(rpc, type, payload):
        seen.append((type, payload))
        return bytearray(payload)

    async def main():
        async with pair(app) as (_, conn):
            rpc = await conn.open_rpc("t")
            for type in (1, 127, 128, 200, 255, 256, 32767):
                assert await rpc.call(type, memoryview(b"xyz")) == b"xyz"
            assert await rpc.call(1) == b""
            for type in (0, -1, 32768):
                with pytest.raises(ValueError, match="32767"):
                    await rpc.call(type, b"")
            with pytest.raises(TypeError):
                await rpc.call(1, "text")

    run(main)
    assert [t for t, _ in seen] == [1, 127, 128, 200, 255, 256, 32767, 1]


def test_call_soon_and_notify(pair, run):
    app = echo_app()
    notes = []

    @app.rpc_notify("echo")
    def note(rpc, type, payload):
        notes.append((type, payload))

    async def main():
        replies = []
        async with pair(app) as (_, conn):
            rpc = await conn.open_rpc("echo")
            rpc.call_soon(1, b"a", lambda result, payload: replies.append((result, payload)))
            rpc.notify(7, b"note")
            await until(lambda: replies and notes)
            assert replies == [(naquid.OK, b"a")]
            assert notes == [(7, b"note")]
            forgotten = rpc.call_soon(1, b"b", lambda *a: replies.append(a))
            assert rpc.cancel(forgotten)
            assert not rpc.cancel(forgotten)
            await rpc.call(1, b"c")
            assert len(replies) == 1

    run(main)


def test_coroutine_handlers_and_errors(pair, run, unraisable):
    app = naquid.Handlers()

    @app.rpc("a")
    async def handler(rpc, type, payload):
        if type == 1:
            await asyncio.sleep(0.01)
            return payload[::-1]
        if type == 2:
            raise naquid.RpcError(b"no such lobby", -42)
        if type == 3:
            raise KeyError("broken")
        return None

    @app.rpc("p")
    def plain(rpc, type, payload):
        if type == 2:
            raise naquid.RpcError(b"plain")
        if type == 4:
            later = rpc.defer()
            asyncio.get_running_loop().call_later(0.01, later.reply, b"later")
            return None
        if type == 5:
            asyncio.get_running_loop().call_soon(rpc.reply, rpc.current_msgid, b"by id")
            return None
        return 1 / 0 if type == 3 else "text"

    async def main():
        async with pair(app) as (_, conn):
            rpc = await conn.open_rpc("a")
            assert await rpc.call(1, b"abc") == b"cba"
            with pytest.raises(naquid.RpcError) as caught:
                await rpc.call(2)
            assert (caught.value.payload, caught.value.code) == (b"no such lobby", -42)
            with pytest.raises(naquid.RpcError) as caught:
                await rpc.call(3)
            assert (caught.value.payload, caught.value.code) == (b"", naquid.EUSER)
            with pytest.raises(naquid.CallTimeout):
                await rpc.call(4, timeout=0.05)
            rpc = await conn.open_rpc("p")
            with pytest.raises(naquid.RpcError) as caught:
                await rpc.call(2)
            assert (caught.value.payload, caught.value.code) == (b"plain", naquid.EUSER)
            for type in (3, 6):
                with pytest.raises(naquid.RpcError):
                    await rpc.call(type)
            assert await rpc.call(4) == b"later"
            assert await rpc.call(5) == b"by id"

    run(main)
    assert [type(error) for error in unraisable.take()] == [KeyError, ZeroDivisionError, TypeError]


def test_cancelled_call_is_forgotten(pair, run):
    app = naquid.Handlers()

    @app.rpc("slow")
    async def slow(rpc, type, payload):
        await asyncio.sleep(0.05)
        return payload

    async def main():
        async with pair(app) as (_, conn):
            rpc = await conn.open_rpc("slow")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await rpc.call(1, b"dropped")
            assert conn.loop_stats()["pending_calls"] == 0
            assert await rpc.call(1, b"kept") == b"kept"

    run(main)


def test_server_calls_client(pair, run):
    app, mine = naquid.Handlers(), naquid.Handlers()

    @app.rpc("both")
    async def serve(rpc, type, payload):
        return b"client said " + await rpc.call(9, payload)

    @mine.rpc("both")
    def answer(rpc, type, payload):
        return payload.upper()

    async def main():
        async with pair(app, client_app=mine) as (_, conn):
            rpc = await conn.open_rpc("both")
            assert await rpc.call(1, b"hi") == b"client said HI"

    run(main)


def test_unknown_name(pair, run):
    async def main():
        async with pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("nobody")
            with pytest.raises(naquid.ConnectionLost, match="handler of the name 'nobody'"):
                await rpc.call(1, b"?")
            assert await (await conn.open_rpc("echo")).call(1, b"!") == b"!"

    run(main)


def test_record_stream(pair, run):
    app = naquid.Handlers()

    @app.stream("chat")
    async def chat(stream):
        async for record in stream:
            await stream.send(record)

    async def main():
        async with pair(app) as (_, conn):
            stream = await conn.open_stream("chat")
            records = [b"", b"a", os.urandom(100_000), b"end", os.urandom(2 << 20)]
            for record in records:
                await stream.send(record)
            stream.finish()
            assert [record async for record in stream] == records
            assert await stream.recv() is None
            await stream.wait_closed()
            with pytest.raises(naquid.StreamClosed):
                await stream.send(b"too late")

    run(main)


@pytest.mark.parametrize("named", [False, True])
def test_raw_stream(pair, run, named):
    app = naquid.Handlers()

    @app.raw_stream
    async def raw(stream):
        while data := await stream.read(65536):
            stream.write(data)
            await stream.drain()
        stream.write_eof()

    if named:
        app.rpc("echo")(lambda rpc, type, payload: payload)

    async def main():
        async with pair(app) as (_, conn):
            if named:
                await (await conn.open_rpc("echo")).call(1, b"")
            stream = await conn.open_raw_stream()
            assert stream.name == ("raw" if named else None)
            data = os.urandom(3 << 20)

            async def write():
                for at in range(0, len(data), 65536):
                    stream.write(data[at : at + 65536])
                    await stream.drain()
                stream.write_eof()

            task = asyncio.ensure_future(write())
            assert await stream.readexactly(1_000_000) == data[:1_000_000]
            assert await stream.read() == data[1_000_000:]
            assert await stream.read(10) == b""
            await task
            await stream.wait_closed()

    run(main)


def test_raw_stream_reading(pair, run):
    app = naquid.Handlers()

    @app.raw_stream
    async def raw(stream):
        assert stream.is_unidirectional is False
        for part in (b"one\ntw", b"o\nthr", b"ee--sep--rest"):
            stream.write(part)
            await asyncio.sleep(0.01)

    async def main():
        async with pair(app) as (_, conn):
            stream = await conn.open_raw_stream()
            stream.write(b"go")
            assert await stream.readline() == b"one\n"
            reading = asyncio.ensure_future(stream.readuntil(b"o\n"))
            reading.cancel()
            assert await stream.readuntil(b"o\n") == b"two\n"
            assert await stream.readuntil(b"--sep--") == b"three--sep--"
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await stream.readexactly(5)
            assert caught.value.partial == b"rest"
            assert await stream.readline() == b""

    run(main)


def test_uni_stream_and_resets(pair, run):
    app = naquid.Handlers()
    got = []

    @app.uni_stream
    async def uni(stream):
        got.append(await stream.read())

    @app.raw_stream
    async def raw(stream):
        command = await stream.readexactly(4)
        if command == b"rset":
            stream.reset(77)
        elif command == b"stop":
            stream.stop_sending(78)
            await asyncio.sleep(0.2)
        else:
            try:
                await stream.read()
            except naquid.StreamReset as error:
                got.append(error.code)

    async def main():
        async with pair(app) as (_, conn):
            stream = await conn.open_uni_stream()
            stream.write(b"one way")
            stream.write_eof()
            await until(lambda: got == [b"one way"])

            stream = await conn.open_raw_stream()
            stream.write(b"rset")
            with pytest.raises(naquid.StreamReset) as caught:
                await stream.read()
            assert caught.value.code == 77

            stream = await conn.open_raw_stream()
            stream.write(b"stop")
            await until(lambda: stream.is_closed)
            with pytest.raises(naquid.StreamReset) as caught:
                stream.write(b"x")
            assert caught.value.code == 78

            stream = await conn.open_raw_stream()
            stream.write(b"mine")
            await asyncio.sleep(0.02)
            stream.reset(79)
            await until(lambda: got == [b"one way", 79])

    run(main)


def test_datagrams(pair, run):
    app = naquid.Handlers()
    got = []

    @app.datagram
    def datagram(conn, data):
        conn.send_datagram(data[::-1])

    mine = naquid.Handlers()
    mine.datagram(lambda conn, data: got.append(data))

    async def main():
        async with pair(app, client_app=mine) as (_, conn):
            conn.send_datagram(b"position")
            await until(lambda: got)
            assert got == [b"noitisop"]
            assert 1000 < conn.max_datagram_size < 1452
            with pytest.raises(naquid.MessageTooBig):
                conn.send_datagram(bytes(conn.max_datagram_size + 1))

    run(main)


def test_connection_events_and_close(pair, run):
    app = naquid.Handlers()
    log = []

    @app.on_connect
    def connected(conn):
        log.append(("connect", conn.is_open, conn.is_client))

    @app.on_disconnect
    async def disconnected(conn, error):
        log.append(("disconnect", getattr(error, "code", error), getattr(error, "reason", "")))

    @app.stream("wait")
    async def wait(stream):
        log.append(await stream.recv())

    async def main():
        async with pair(app) as (server, conn):
            assert conn.alpn == "nq/1"
            assert conn.remote_address == ("127.0.0.1", server.port)
            assert conn.peer_certificates
            await until(lambda: len(server.connections) == 1)
            stream = await conn.open_stream("wait")
            reading = asyncio.ensure_future(stream.recv())
            await asyncio.sleep(0.02)
            await conn.close(7, "bye")
            assert conn.is_closed
            with pytest.raises(naquid.ConnectionLost):
                await reading
            with pytest.raises(naquid.ConnectionLost):
                await conn.open_rpc("echo")
            await until(lambda: not server.connections)
        assert log == [("connect", True, False), ("disconnect", 7, "bye")]

    run(main)


def test_calls_in_flight_fail(ca, leaf, run):
    app = naquid.Handlers()

    @app.rpc("never")
    def never(rpc, type, payload):
        return None

    async def main():
        server = await naquid.serve(app, "127.0.0.1", 0, cert=leaf.cert_pem, key=leaf.key_pem)
        conn = await naquid.connect("localhost", server.port, ca=ca.ca_pem)
        rpc = await conn.open_rpc("never")
        results = []
        rpc.call_soon(1, b"", lambda *args: results.append(args))
        calls = [asyncio.ensure_future(rpc.call(1, b"")) for _ in range(10)]
        await asyncio.sleep(0.05)
        await server.shutdown()
        for call in calls:
            with pytest.raises(naquid.ConnectionLost) as caught:
                await call
            assert caught.value.code == 8
            assert caught.value.remote
        assert results == [(naquid.EGOAWAY, b"")]
        with pytest.raises(naquid.ConnectionLost):
            await rpc.call(1, b"")
        await conn.wait_closed()
        assert isinstance(conn.error, naquid.ConnectionLost)

    run(main)


@pytest.mark.parametrize("kind", ["untrusted", "name", "expired", "future"])
def test_bad_certificates(ca, other_ca, run, kind):
    import datetime

    day = datetime.timedelta(days=1)
    issued = {
        "untrusted": lambda: other_ca.issue("127.0.0.1"),
        "name": lambda: ca.issue("example.org"),
        "expired": lambda: ca.issue("127.0.0.1", start=-3 * day, end=-day),
        "future": lambda: ca.issue("127.0.0.1", start=day),
    }[kind]()

    async def main():
        async with naquid.serve(echo_app(), "127.0.0.1", 0, cert=issued.cert, key=issued.key) as server:
            with pytest.raises(naquid.HandshakeFailed) as caught:
                await naquid.connect("127.0.0.1", server.port, ca=ca.ca)
            assert caught.value.alert is not None
            async with naquid.connect("127.0.0.1", server.port, insecure=True) as conn:
                assert conn.is_open

    run(main)


def test_nobody_there(ca, run):
    config = naquid.ClientConfig(limits=naquid.Limits(handshake_timeout=0.3))

    async def main():
        with pytest.raises(naquid.HandshakeFailed):
            await naquid.connect("127.0.0.1", 9, ca=ca.ca, config=config)
        with pytest.raises(naquid.ResolveError):
            await naquid.connect("no-such-host.invalid", 9, ca=ca.ca)

    run(main)


def test_port_in_use(leaf, run):
    async def main():
        async with naquid.serve(echo_app(), "127.0.0.1", 0, cert=leaf.cert, key=leaf.key) as server:
            with pytest.raises(OSError, match="in use"):
                await naquid.serve(echo_app(), "127.0.0.1", server.port, cert=leaf.cert, key=leaf.key)

    run(main)


def test_ping(pair, run):
    async def main():
        async with pair(echo_app()) as (_, conn):
            await (await conn.open_rpc("echo")).call(1, b"")
            assert 0 < await conn.ping() < 1

    run(main)


def test_slow_reader_is_stopped(pair, run):
    app = naquid.Handlers()
    gate = []

    @app.raw_stream
    async def raw(stream):
        gate.append(stream)
        await asyncio.sleep(0.3)
        total = 0
        while data := await stream.read(1 << 20):
            total += len(data)
        stream.write(str(total).encode())

    async def main():
        limits = naquid.Limits(stream_window=1 << 20, connection_window=1 << 20)
        async with pair(app, server={"limits": limits}) as (_, conn):
            stream = await conn.open_raw_stream()
            sent = 0

            async def write():
                nonlocal sent
                for _ in range(160):
                    stream.write(bytes(1 << 16))
                    sent += 1 << 16
                    await stream.drain()
                stream.write_eof()

            task = asyncio.ensure_future(write())
            await asyncio.sleep(0.25)
            assert not task.done()
            assert sent < 5 << 20
            assert gate[0]._buffered <= 2 << 20
            await task
            assert await stream.read() == str(160 << 16).encode()

    run(main)


def test_many_streams(pair, run):
    app = echo_app()

    async def main():
        limits = naquid.Limits(max_streams_bidi=50)
        async with pair(app, server={"limits": limits}) as (_, conn):

            async def one(i):
                rpc = await conn.open_rpc("echo")
                assert await rpc.call(1, str(i).encode()) == str(i).encode()
                rpc.close()
                await rpc.wait_closed()

            await asyncio.gather(*(one(i) for i in range(500)))

    run(main)


def test_config_is_checked():
    with pytest.raises(naquid.ConfigError, match="idle_timeout"):
        naquid.Limits(idle_timeout=-1)
    with pytest.raises(naquid.ConfigError, match="max_udp_payload"):
        naquid.Limits(max_udp_payload=100)
    with pytest.raises(naquid.ConfigError, match="workers"):
        naquid.ServerConfig(workers=2)
    with pytest.raises(naquid.ConfigError, match="cert"):
        naquid.serve(naquid.Handlers(), "127.0.0.1", 0)


def test_limits_are_the_engines():
    mine = naquid.Limits()
    for name, default, _, _, unit, _ in naquid.limits_table():
        value = getattr(mine, name)
        assert (round(value * 1e9) if unit == "ns" else value) == default, name


def test_nothing_is_left(pair, run):
    from naquid import event_loop

    async def main():
        before = descriptors()
        for _ in range(5):
            async with pair(echo_app()) as (_, conn):
                rpc = await conn.open_rpc("echo")
                await rpc.call(1, b"x")
        await asyncio.sleep(0.01)
        assert not event_loop._loops
        assert descriptors() <= before

    run(main)
