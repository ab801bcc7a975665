"""What handlers may return, replies that come later, and handlers of new connections."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Generator
from typing import Any

import pytest
from harness import Bench, OnSim, Unraisable, Variant, until

import naquid


class Later:
    """Something of the user's that can be awaited."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        return self.result


# ---- awaitables ----


def test_handlers_return_any_awaitable(run: Variant, bench: Bench) -> None:
    heard: list[str] = []
    app = naquid.Handlers()

    async def note(what: str) -> None:
        await asyncio.sleep(0)
        heard.append(what)

    @app.rpc("any")
    def answer(rpc: naquid.Rpc, type: int, payload: bytes) -> Any:
        if type == 1:
            future = asyncio.get_running_loop().create_future()
            future.get_loop().call_soon(future.set_result, b"future")
            return future
        if type == 2:
            return asyncio.ensure_future(asyncio.sleep(0, b"task"))
        if type == 3:
            return Later(b"object")
        if type == 4:
            return Later(None)
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(naquid.RpcError(b"why", -9))
        return failed

    app.rpc_notify("any")(lambda rpc, type, payload: asyncio.ensure_future(note("notification")))
    app.stream("stream")(lambda stream: Later(heard.append("stream")))
    app.datagram(lambda conn, data: asyncio.ensure_future(note("datagram")))

    @app.on_connect
    def connected(conn: naquid.Connection) -> Any:
        return Later(heard.append("on_connect"))

    @app.on_disconnect
    def gone(conn: naquid.Connection, error: Exception | None) -> Any:
        return asyncio.ensure_future(note("on_disconnect"))

    async def main() -> None:
        async with bench.serve(app) as server:
            async with bench.connect(server.port) as conn:
                rpc = await conn.open_rpc("any")
                replies = [await rpc.call(type) for type in (1, 2, 3, 4)]
                assert replies == [b"future", b"task", b"object", b""]
                with pytest.raises(naquid.RpcError) as caught:
                    await rpc.call(5)
                assert (caught.value.code, caught.value.payload) == (-9, b"why")
                rpc.notify(1)
                stream = await conn.open_stream("stream")
                await stream.send(b"")
                assert await stream.recv() is None  # closed behind its handler
                conn.send_datagram(b"x")
                await until(lambda: len(heard) == 4)
            await until(lambda: len(heard) == 5)
            assert heard[0] == "on_connect"
            assert heard[-1] == "on_disconnect"
            assert sorted(heard[1:-1]) == ["datagram", "notification", "stream"]
            await until(lambda: not server._tasks)

    run(main)


def test_what_a_handler_returned_is_cancelled_with_it(run: Variant, bench: Bench) -> None:
    """Also before the first step of the task that awaits it."""
    made: list[asyncio.Future[bytes]] = []
    app = naquid.Handlers()

    @app.rpc("slow")
    def slow(rpc: naquid.Rpc, type: int, payload: bytes) -> Any:
        made.append(asyncio.ensure_future(asyncio.sleep(3600, b"")))
        if type == 2:
            rpc.connection.abort()
        return made[-1]

    async def main() -> None:
        async with bench.serve(app) as server:
            for type in (1, 2):
                conn = await bench.connect(server.port)
                rpc = await conn.open_rpc("slow")
                rpc.call_soon(type, b"", lambda result, payload: None)
                await until(lambda: len(made) == type)  # noqa: B023
                conn.abort()
                await until(lambda: made[-1].done())
                assert made[-1].cancelled()
            await until(lambda: not server._tasks)

    run(main)


# ---- replies that come later ----


def test_a_coroutine_defers_after_an_await(run: Variant, bench: Bench) -> None:
    kept: list[naquid.Deferred] = []
    numbers: list[int] = []
    app = naquid.Handlers()

    @app.rpc("late")
    async def late(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        await asyncio.sleep(0)
        if type == 1:
            kept.append(rpc.defer())
            assert rpc.defer() is kept[-1]
        else:
            numbers.append(rpc.current_msgid)

    @app.rpc_notify("late")
    async def outside(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        assert rpc.current_msgid == 0
        with pytest.raises(RuntimeError, match="request handler"):
            rpc.defer()
        kept[0].reply(b"deferred")
        rpc.reply(numbers[0], b"by number")

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("late")
            first, second = rpc.call(1), rpc.call(2)
            await until(lambda: kept and numbers)
            rpc.notify(1)
            assert await first == b"deferred"
            assert await second == b"by number"

    run(main)


def test_a_forgotten_reply_is_logged_and_answered(run: Variant, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    app = naquid.Handlers()

    @app.rpc("plain")
    def forgets(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        rpc.defer()

    @app.rpc("coroutine")
    async def forgets_later(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        rpc.defer()
        await asyncio.sleep(0)

    @app.rpc("cycle")
    def forgets_in_a_cycle(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        cycle: list[Any] = [rpc.defer()]
        cycle.append(cycle)

    @app.rpc_batch("batch")
    def forgets_in_a_batch(batch: naquid.RpcBatch) -> list[bytes | None]:
        batch.defer(0)
        return [None]

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            for name in ("plain", "coroutine", "cycle", "batch"):
                call = asyncio.ensure_future((await conn.open_rpc(name)).call(1))
                if name == "cycle":
                    await conn.ping()
                    await conn.ping()
                    gc.collect()
                with pytest.raises(naquid.RpcError) as caught:
                    await call
                assert (caught.value.code, caught.value.payload) == (naquid.EUSER, b"")

    with caplog.at_level(logging.WARNING, "naquid"):
        run(main)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 4
    for text, name in zip(told, ("forgets", "forgets_later", "forgets_in_a_cycle", "forgets_in_a_batch"), strict=True):
        assert f".{name} deferred" in text


def test_a_handler_that_defers_and_fails_has_answered(
    run: Variant, bench: Bench, caplog: pytest.LogCaptureFixture, unraisable: Unraisable
) -> None:
    kept: list[naquid.Deferred] = []
    app = naquid.Handlers()

    @app.rpc("plain")
    def plain(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        kept.append(rpc.defer())
        if type == 1:
            raise naquid.RpcError(b"no", -8)
        return b"at once"

    @app.rpc("coroutine")
    async def coroutine(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        kept.append(rpc.defer())
        await asyncio.sleep(0)
        if type == 1:
            raise naquid.RpcError(b"no", -8)
        return b"at once"

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            for name in ("plain", "coroutine"):
                rpc = await conn.open_rpc(name)
                with pytest.raises(naquid.RpcError) as caught:
                    await rpc.call(1)
                assert caught.value.code == -8
                assert await rpc.call(2) == b"at once"
            for deferred in kept:
                with pytest.raises(RuntimeError, match="reply already"):
                    deferred.reply(b"again")

    with caplog.at_level(logging.WARNING, "naquid"):
        run(main)
    assert len(kept) == 4
    assert not caplog.records


def test_requests_that_were_left_when_the_stream_ended_are_logged(
    run: Variant, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    app = naquid.Handlers()
    kept: list[naquid.Deferred] = []

    @app.rpc("left")
    def leaves(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        kept.append(rpc.defer())

    async def main() -> None:
        async with bench.serve(app) as server:
            async with bench.connect(server.port) as conn:
                rpc = await conn.open_rpc("left")
                for _ in range(3):
                    rpc.call_soon(1, b"", lambda result, payload: None)
                await until(lambda: len(kept) == 3)
            await until(lambda: not server.connections)
            kept.clear()

    with caplog.at_level(logging.WARNING, "naquid"):
        run(main)
    (record,) = caplog.records
    assert "'left': 3 requests" in record.getMessage()
    assert ".leaves deferred" in record.getMessage()


# ---- new connections ----


def test_on_connect_is_finished_first(run: Variant, bench: Bench) -> None:
    """A coroutine, too, which may call its peer: nothing of the peer is handled before it has ended, none is lost."""
    order: list[str] = []
    may_end = asyncio.Event()
    app = naquid.Handlers()
    client = naquid.Handlers()
    client.rpc("who")(lambda rpc, type, payload: b"alice")

    @app.on_connect
    async def connected(conn: naquid.Connection) -> None:
        rpc = await conn.open_rpc("who")
        order.append((await rpc.call(1)).decode())
        await may_end.wait()
        order.append("on_connect")

    @app.rpc("x")
    def request(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        order.append("request")
        return payload

    @app.rpc_notify("x")
    def notification(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        order.append("notification")

    @app.rpc_batch("batch")
    def batch(batch: naquid.RpcBatch) -> list[bytes]:
        order.append("batch")
        return [b""] * len(batch)

    @app.stream("stream")
    async def stream(stream: naquid.Stream) -> None:
        assert await stream.recv() == b"early"
        order.append("stream")

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        order.append("datagram")

    async def main() -> None:
        async with bench.pair(app, client) as (_, conn):
            rpc, many = await conn.open_rpc("x"), await conn.open_rpc("batch")
            calls = [asyncio.ensure_future(each.call(1, b"early")) for each in (rpc, many)]
            rpc.notify(1)
            (await conn.open_stream("stream")).send_nowait(b"early")
            conn.send_datagram(b"x")
            await until(lambda: order)
            for _ in range(5):
                await conn.ping()
            assert order == ["alice"]
            may_end.set()
            assert await asyncio.gather(*calls) == [b"early", b""]
            await until(lambda: len(order) == 7)
            assert order[:2] == ["alice", "on_connect"]
            assert sorted(order[2:]) == ["batch", "datagram", "notification", "request", "stream"]
            assert order.index("request") < order.index("notification")

    run(main)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_on_connect_that_raises_refuses_the_connection(
    run: Variant, bench: Bench, unraisable: Unraisable, kind: str
) -> None:
    handled: list[str] = []
    app = naquid.Handlers()
    app.rpc("x")(lambda rpc, type, payload: handled.append("request"))

    if kind == "plain":

        @app.on_connect
        def connected(conn: naquid.Connection) -> None:
            raise PermissionError("not you")

    else:

        @app.on_connect
        async def connected_later(conn: naquid.Connection) -> None:
            await asyncio.sleep(0)
            raise PermissionError("not you")

    async def main() -> None:
        async with bench.serve(app) as server:
            with pytest.raises((naquid.ConnectionLost, naquid.HandshakeFailed)) as caught:
                async with bench.connect(server.port) as conn:
                    await (await conn.open_rpc("x")).call(1)
            assert "the server's on_connect handler refused the connection" in str(caught.value)
            await until(lambda: not server.connections)
        assert [str(error) for error in unraisable.take()] == ["not you"]

    run(main)
    assert not handled


def test_datagrams_that_on_connect_holds_back_are_bounded(run_sim: OnSim, bench: Bench) -> None:
    heard: list[bytes] = []
    may_end = asyncio.Event()
    app = naquid.Handlers()

    @app.on_connect
    async def connected(conn: naquid.Connection) -> None:
        await may_end.wait()

    app.datagram(lambda conn, data: heard.append(data))

    async def main() -> None:
        async with bench.pair(app) as (server, conn):
            for number in range(300):
                conn.send_datagram(b"%d" % number)
                if number % 10 == 0:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            assert not heard
            may_end.set()
            await asyncio.sleep(1)
            assert heard == [b"%d" % number for number in range(256)]
            assert server.stats()["datagrams_dropped"] == 44

    run_sim(main)
