"""Closing while busy, from each side and in each way; idle timeouts; keep-alive."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aio_apps import echo_app, never
from harness import Bench, OnSim, Variant, engine, noise, until

import naquid

MIB = 1 << 20


class Busy:
    """Handlers that keep a connection busy in every way, and what ended them."""

    def __init__(self) -> None:
        self.app = naquid.Handlers()
        self.begun = 0
        self.ended: list[BaseException | None] = []
        self.conns: list[naquid.Connection] = []
        self.gone: list[Any] = []
        self.app.on_connect(self.conns.append)
        self.app.on_disconnect(lambda conn, error: self.gone.append(error))
        self.app.rpc("echo")(lambda rpc, type, payload: payload)
        self.app.rpc("never")(never)
        self.app.rpc("waits")(self._waits)
        self.app.stream("flood")(self._flood)
        self.app.datagram(lambda conn, data: None)

    async def _waits(self, rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        self.begun += 1
        try:
            return await rpc.call(1, payload)
        except naquid.Error as error:
            self.ended.append(error)
            raise

    async def _flood(self, stream: naquid.Stream) -> None:
        self.begun += 1
        try:
            while True:
                await stream.send(bytes(50_000))
        except naquid.Error as error:
            self.ended.append(error)
            raise

    async def load(self, conn: naquid.Connection) -> list[asyncio.Future[Any]]:
        """Calls, floods and reads under way on a connection; each ends in an exception once it is lost."""

        async def flood() -> None:
            stream = await conn.open_stream("flood")
            while True:
                await stream.send(bytes(50_000))

        async def drink() -> None:
            stream = await conn.open_stream("flood")
            stream.send_nowait(b"go")
            while (record := await stream.recv()) is not None:
                assert record == bytes(50_000)
            assert conn.error is None  # an end in order is an end for readers
            raise naquid.ConnectionLost("the end")

        async def ask(name: str) -> None:
            rpc = await conn.open_rpc(name)
            while True:
                await rpc.call(1, bytes(1000))

        async def datagrams() -> None:
            while True:
                conn.send_datagram(bytes(500))
                await asyncio.sleep(0)

        jobs = [flood(), drink(), ask("echo"), ask("never"), ask("waits"), datagrams()]
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(job) for job in jobs]
        await until(lambda: self.begun >= 3)
        await asyncio.sleep(0.05)  # windows and queues fill
        assert not any(task.done() for task in tasks)
        return tasks


async def all_lost(tasks: list[asyncio.Future[Any]], kind: type[naquid.Error] = naquid.ConnectionLost) -> None:
    for task in tasks:
        with pytest.raises(kind):
            await task


@pytest.mark.parametrize("how", ["close", "abort", "close with a code"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_closing_while_busy(run: Variant, bench: Bench, side: str, how: str) -> None:
    async def main() -> None:
        busy = Busy()
        client_app = naquid.Handlers()
        client_app.rpc("waits")(never)
        config = {"limits": naquid.Limits(shutdown_timeout=0.2)}
        async with bench.pair(busy.app, client_app, server=config, client=config) as (server, conn):
            tasks = await busy.load(conn)
            closer = conn if side == "client" else busy.conns[0]
            other = busy.conns[0] if side == "client" else conn
            code = 0
            if how == "abort":
                closer.abort()
            elif how == "close":
                await closer.close()
            else:
                code = (1 << 62) - 1
                await closer.close(code, "\N{WAVING HAND SIGN} enough")
            await closer.wait_closed()
            await other.wait_closed()
            await all_lost(tasks)
            if code:
                assert isinstance(other.error, naquid.ConnectionLost)
                assert other.error.code == code
                assert other.error.reason == "\N{WAVING HAND SIGN} enough"
                assert other.error.remote
                assert isinstance(closer.error, naquid.ConnectionLost)
                assert not closer.error.remote
            else:
                assert other.error is None
                assert closer.error is None
            await until(lambda: not server.connections and busy.gone)
            await until(lambda: len(busy.ended) >= 2)
            assert engine().stats()["streams"] == 0
            assert engine().stats()["pending_calls"] == 0

    run(main)


def test_both_sides_close_at_once(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        busy = Busy()
        async with bench.pair(busy.app) as (_, conn):
            await until(lambda: busy.conns)
            await asyncio.gather(conn.close(1, "mine"), busy.conns[0].close(2, "yours"))
            for side in (conn, busy.conns[0]):
                assert isinstance(side.error, naquid.ConnectionLost)
                assert side.error.code in (1, 2)

    run(main)


def test_close_delivers_what_is_no_bytes(run: Variant, bench: Bench) -> None:
    """An end, a code and a datagram are sent before the connection is closed, also when all bytes have arrived."""
    got: list[object] = []
    app = naquid.Handlers()
    app.datagram(lambda conn, data: got.append(data))

    @app.raw_stream("up")
    async def up(stream: naquid.RawStream) -> None:
        try:
            got.append(await stream.read())
        except naquid.StreamReset as error:
            got.append(error.code)

    @app.stream("records")
    async def records(stream: naquid.Stream) -> None:
        got.append([record async for record in stream])

    async def main() -> None:
        for what in ("write_eof", "finish", "reset", "datagram"):
            async with bench.pair(app) as (_, conn):
                if what == "finish":
                    stream = await conn.open_stream("records")
                    await stream.send(b"record")
                    await until(lambda stream=stream: not stream.queued)
                    stream.finish()
                elif what == "datagram":
                    conn.send_datagram(b"bye")
                else:
                    raw = await conn.open_raw_stream("up")
                    raw.write(b"data")
                    await until(lambda raw=raw: not raw.queued)
                    raw.write_eof() if what == "write_eof" else raw.reset(77)
                await conn.close()
                await until(lambda: got)
            assert got == [{"write_eof": b"data", "finish": [b"record"], "reset": 77, "datagram": b"bye"}[what]]
            got.clear()

    run(main)


def test_close_delivers_what_was_sent(run: Variant, bench: Bench) -> None:
    """Everything queued before close() arrives, and in order."""
    app = naquid.Handlers()
    got: list[bytes] = []
    notes: list[int] = []
    app.rpc_notify("note")(lambda rpc, type, payload: notes.append(type))

    @app.stream("take")
    async def take(stream: naquid.Stream) -> None:
        try:
            async for record in stream:
                got.append(record)
        except naquid.ConnectionLost:
            pass

    async def main() -> None:
        async with bench.pair(app) as (server, conn):
            stream = await conn.open_stream("take")
            rpc = await conn.open_rpc("note")
            for number in range(100):
                stream.send_nowait(noise(20_000, number))
                rpc.notify(number + 1)
            await conn.close()
            await until(lambda: not server.connections)
            await until(lambda: len(got) == 100)
            assert got == [noise(20_000, number) for number in range(100)]
            assert notes == list(range(1, 101))

    run(main)


def test_abort_does_not_wait(run: Variant, bench: Bench) -> None:
    """Nor does a close whose peer takes nothing wait longer than it may."""
    app = naquid.Handlers()

    @app.raw_stream("stuck")
    async def stuck(stream: naquid.RawStream) -> None:
        await stream.wait_closed()

    async def main() -> None:
        async with bench.serve(app) as server:
            for shutdown_timeout, abort in ((3600, True), (0.1, False)):
                limits = naquid.Limits(shutdown_timeout=shutdown_timeout)
                conn = await bench.connect(server.port, limits=limits)
                stream = await conn.open_raw_stream("stuck")
                stream.write(bytes(8 * MIB))
                if abort:
                    conn.abort(9, "at once")
                    await conn.wait_closed()
                else:
                    await conn.close(9, "soon")
                assert isinstance(conn.error, naquid.ConnectionLost)
                assert conn.error.code == 9
                await until(lambda: not server.connections)

    run(main)


def test_new_work_is_refused_while_closing(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        busy = Busy()
        async with bench.pair(busy.app) as (_, conn):
            rpc = await conn.open_rpc("echo")
            flood = await conn.open_stream("flood")
            flood.send_nowait(bytes(4 * MIB))
            closing = asyncio.ensure_future(conn.close())
            await asyncio.sleep(0)
            for attempt in (lambda: rpc.call(1), lambda: conn.open_rpc("echo"), lambda: flood.send(b"more")):
                with pytest.raises(naquid.Error):
                    await attempt()
            await closing

    run(main)


def test_close_with_streams_that_were_never_used(run: Variant, bench: Bench) -> None:
    """Streams that wait for the peer's limit, or that nothing was written to, do not hold a close up."""

    async def main() -> None:
        busy = Busy()
        few = {"limits": naquid.Limits(max_streams_bidi=2)}
        slow = {"limits": naquid.Limits(shutdown_timeout=3600)}
        async with bench.pair(busy.app, server=few, client=slow) as (_, conn):
            used = await conn.open_rpc("echo")
            await used.call(1)
            await conn.open_rpc("echo")
            waiting = [asyncio.ensure_future(conn.open_stream("flood")) for _ in range(3)]
            await asyncio.sleep(0.01)
            waiting[0].cancel()
            await asyncio.sleep(0)
            await conn.close()
            for task in waiting[1:]:
                with pytest.raises(naquid.ConnectionLost):
                    await task

    run(main)


def test_close_from_inside_handlers(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()

    @app.rpc("quit")
    def quit_now(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        if type == 1:
            rpc.connection.abort(5, "handler")
        elif type == 2:
            rpc.close()
        else:
            rpc.reset(77)
            rpc.close()
        return b"too late?"

    async def main() -> None:
        async with bench.serve(app) as server:
            for type in (1, 2, 3):
                conn = await bench.connect(server.port)
                rpc = await conn.open_rpc("quit")
                results: list[int] = []
                for _ in range(20):
                    rpc.call_soon(type, b"", lambda result, payload, to=results: to.append(result))
                await until(lambda to=results: len(to) == 20)
                assert set(results) <= {naquid.EGOAWAY, 0}
                if type == 1:
                    await conn.wait_closed()
                    assert isinstance(conn.error, naquid.ConnectionLost)
                    assert conn.error.reason == "handler"
                else:
                    assert conn.is_open
                await conn.close()

    run(main)


def test_close_from_inside_callbacks(run: Variant, bench: Bench) -> None:
    """The client goes away in the callback of a reply, with more replies of the same batch to come."""

    async def main() -> None:
        busy = Busy()
        async with bench.serve(busy.app) as server:
            conn = await bench.connect(server.port)
            rpc = await conn.open_rpc("echo")
            results: list[Any] = []

            def on_reply(result: int, payload: bytes) -> None:
                results.append(result)
                conn.abort()

            for _ in range(50):
                rpc.call_soon(1, b"", on_reply)
            await conn.wait_closed()
            await until(lambda: len(results) == 50)
            assert results[0] == 0
            assert set(results) <= {0, naquid.EGOAWAY}
            await until(lambda: not server.connections)

    run(main)


def test_server_closes_at_once(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        busy = Busy()
        server = await bench.serve(busy.app)
        client_app = naquid.Handlers()
        client_app.rpc("waits")(never)
        conns = [await bench.connect(server.port, client_app) for _ in range(5)]
        tasks = [task for conn in conns for task in await busy.load(conn)]
        server.close()
        await server.wait_closed()
        await all_lost(tasks)
        for conn in conns:
            await conn.wait_closed()
            assert isinstance(conn.error, naquid.ConnectionLost)
            assert conn.error.code == 8
        assert len(busy.gone) == 5

    run(main)


def test_shutdown_cancels_what_does_not_end(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    cancelled: list[bool] = []

    @app.rpc("forever")
    async def forever(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return b""

    async def main() -> None:
        server = await bench.serve(app)
        conn = await bench.connect(server.port)
        call = asyncio.ensure_future((await conn.open_rpc("forever")).call(1))
        await until(lambda: server._tasks)
        await server.shutdown(grace=0.05)
        assert cancelled
        with pytest.raises(naquid.RpcError) as caught:
            await call
        assert caught.value.code == naquid.EUSER
        await conn.wait_closed()

    run(main)


def test_idle_timeout(run: Variant, bench: Bench) -> None:
    """The smaller of both sides ends the connection on both."""

    async def main() -> None:
        busy = Busy()
        short = {"limits": naquid.Limits(idle_timeout=0.3)}
        async with bench.pair(busy.app, server=short) as (_, conn):
            await (await conn.open_rpc("echo")).call(1)
            await conn.wait_closed()
            assert isinstance(conn.error, naquid.IdleTimeout)
            assert "keep_alive" in str(conn.error)
            await until(lambda: busy.gone)
            assert isinstance(busy.gone[0], naquid.IdleTimeout)

    run(main)


def test_waiting_keeps_the_connection(run_sim: OnSim, bench: Bench) -> None:
    """A call whose reply takes an hour, and a writer whose reader takes one, need no keep_alive."""
    app = naquid.Handlers()
    size = 3 * MIB
    read: list[int] = []
    ended = asyncio.Event()

    @app.rpc("slow")
    async def slow(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        await asyncio.sleep(3600)
        return payload

    @app.raw_stream("up")
    async def up(stream: naquid.RawStream) -> None:
        first = await stream.read(1000)
        await asyncio.sleep(3600)
        read.append(len(first) + len(await stream.read()))
        ended.set()

    async def main() -> None:
        limits = {"limits": naquid.Limits(idle_timeout=30.0)}
        async with bench.pair(app, server=limits, client=limits) as (_, conn):
            assert await (await conn.open_rpc("slow")).call(1, b"late", timeout=7200) == b"late"
        async with bench.pair(app, server=limits, client=limits) as (_, conn):
            stream = await conn.open_raw_stream("up")
            stream.write(noise(size))
            stream.write_eof()
            await ended.wait()
            assert read == [size]

    run_sim(main)


@pytest.mark.parametrize("side", ["server", "client"])
def test_keep_alive(run_sim: OnSim, bench: Bench, side: str) -> None:
    """A quiet connection lasts, whichever side keeps it, and the packets for it are few; without them it ends when its
    idle timeout is over, and not before."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        quiet = naquid.Limits(idle_timeout=30.0, keep_alive=0)
        kept = naquid.Limits(idle_timeout=30.0, keep_alive=10.0)
        limits: dict[str, Any] = {"server": {"limits": quiet}, "client": {"limits": quiet}} | {side: {"limits": kept}}
        async with bench.pair(echo_app(), **limits) as (_, conn):
            rpc = await conn.open_rpc("echo")
            await rpc.call(1, b"first")
            before = conn.stats()
            await asyncio.sleep(3600)
            after = conn.stats()
            assert after.packets_sent - before.packets_sent <= 2 * 3600 / 10  # acknowledgements among them
            assert await rpc.call(1, b"alive") == b"alive"
        async with bench.pair(echo_app(), server={"limits": quiet}, client={"limits": quiet}) as (_, conn):
            rpc = await conn.open_rpc("echo")
            await rpc.call(1, b"first")
            start = loop.time()
            await conn.wait_closed()
            assert isinstance(conn.error, naquid.IdleTimeout)
            assert loop.time() - start == pytest.approx(30, abs=0.1)

    run_sim(main)


def test_reason_and_code_are_checked(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(naquid.Handlers()) as (_, conn):
            for code in (-1, 1 << 62, 1 << 64):
                with pytest.raises((ValueError, OverflowError)):
                    await conn.close(code)
                with pytest.raises((ValueError, OverflowError)):
                    conn.abort(code)
            with pytest.raises(ValueError, match="1024"):
                await conn.close(1, "x" * 1025)
            with pytest.raises(TypeError):
                await conn.close(1, b"bytes")  # type: ignore[arg-type]
            assert conn.is_open

    run_once(main)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_close_at_once_tells_its_code(run: Variant, bench: Bench, how: str) -> None:
    """A client that closes in the moment its handshake is completed: the server has the connection and its code all
    the same, for the client's last handshake packet goes before."""

    async def main() -> None:
        events: list[Any] = []
        app = naquid.Handlers()
        app.on_connect(lambda conn: events.append("on"))
        app.on_disconnect(lambda conn, error: events.append(error))
        async with bench.serve(app) as server:
            conn = await bench.connect(server.port)
            if how == "close":
                await conn.close(code=5, reason="bye")
            else:
                conn.abort(code=5, reason="bye")
            await until(lambda: len(events) == 2)
            assert events[0] == "on"
            assert isinstance(events[1], naquid.ConnectionLost)
            assert (events[1].code, events[1].reason, events[1].remote) == (5, "bye", True)

    run(main)


def test_close_at_once_after_a_large_certificate(run: Variant, bench: Bench, ca: Any) -> None:
    """The client's last handshake packets are several: all of them go before its CONNECTION_CLOSE."""

    async def main() -> None:
        identity = ca.issue("player", *[f"name{i:04}.of-a-long-name.example.com" for i in range(150)], client=True)
        ends: list[Any] = []
        app = naquid.Handlers()
        app.on_disconnect(lambda conn, error: ends.append(error))
        async with bench.serve(app, tls=naquid.TlsConfig(verify_client=True, ca=ca.ca)) as server:
            conn = await bench.connect(server.port, tls=naquid.TlsConfig(cert=identity.cert, key=identity.key))
            await conn.close(code=5, reason="bye")
            await until(lambda: ends)
            assert (ends[0].code, ends[0].reason, ends[0].remote) == (5, "bye", True)

    run(main)
