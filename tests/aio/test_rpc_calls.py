"""The life of a call: timeouts, deferred replies, call_soon, cancelling."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aio_apps import echo_app, silent_app
from harness import Bench, OnSim, Unraisable, Variant, engine, until

import naquid

# ---- timeouts ----


def test_timeout_of_a_call(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(silent_app()) as (_, conn):
            rpc = await conn.open_rpc("silent")
            with pytest.raises(naquid.CallTimeout) as caught:
                await rpc.call(1, b"?", timeout=0.02)
            assert isinstance(caught.value, TimeoutError)
            results: list[tuple[int, bytes]] = []
            rpc.call_soon(1, b"?", lambda *result: results.append(result), timeout=0.02)
            await until(lambda: results)
            assert results == [(naquid.ETIMEOUT, b"")]
            assert engine().stats()["pending_calls"] == 0

    run(main)


def test_no_result_is_an_empty_reply(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()

    @app.rpc("none")
    async def none(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes | None:
        return payload or None

    app.rpc("plain")(lambda rpc, type, payload: None)

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("none")
            assert await rpc.call(1) == b""
            assert await rpc.call(1, b"something") == b"something"
            assert await (await conn.open_rpc("plain")).call(1) == b""

    run(main)


def test_timeouts_of_the_stream_and_the_configuration(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(silent_app(), client={"call_timeout": 0.02}) as (_, conn):
            with pytest.raises(naquid.CallTimeout):
                await (await conn.open_rpc("silent")).call(1)
        async with bench.pair(silent_app()) as (_, conn):
            with pytest.raises(naquid.CallTimeout):
                await (await conn.open_rpc("silent", call_timeout=0.02)).call(1)

    run(main)


def test_timeouts_count_from_the_call(run_sim: OnSim, bench: Bench) -> None:
    """Also when the event loop had nothing to do for longer than the timeout before it."""

    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            await rpc.call(1, b"")
            for _ in range(3):
                await asyncio.sleep(0.6)
                assert await rpc.call(1, b"in time", timeout=0.5) == b"in time"
            assert conn.stats().latest_rtt == pytest.approx(2 * run_sim.network.conditions.delay, rel=0.01)

    run_sim(main)


def test_timeouts_end_in_their_order(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        order: list[int] = []
        async with bench.pair(silent_app()) as (_, conn):
            rpc = await conn.open_rpc("silent")
            for number in (3, 1, 2):
                rpc.call_soon(1, b"", lambda *_, number=number: order.append(number), timeout=0.25 * number)
            await until(lambda: len(order) == 3)
        assert order == [1, 2, 3]

    run(main)


def test_late_replies_are_dropped(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    waiting: list[naquid.Deferred] = []

    @app.rpc("late")
    def late(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes | None:
        if type == 2:
            return payload
        waiting.append(rpc.defer())
        return None

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("late")
            with pytest.raises(naquid.CallTimeout):
                await rpc.call(1, b"", timeout=0.02)
            await until(lambda: waiting)
            waiting[0].reply(b"too late")
            assert await rpc.call(2, b"fresh") == b"fresh"

    run(main)


# ---- deferred replies ----


def test_deferred_replies(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    waiting: list[tuple[naquid.Deferred, int, bytes]] = []

    @app.rpc("later")
    def later(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        assert rpc.current_msgid > 0
        waiting.append((rpc.defer(), rpc.current_msgid, payload))

    @app.rpc("later async")
    async def later_async(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        waiting.append((rpc.defer(), rpc.current_msgid, payload))
        await asyncio.sleep(0)

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            for name in ("later", "later async"):
                rpc = await conn.open_rpc(name)
                calls = [asyncio.ensure_future(rpc.call(1, b"%d" % number)) for number in range(6)]
                await until(lambda: len(waiting) == 6)
                assert not any(call.done() for call in calls)
                for deferred, msgid, payload in reversed(waiting):
                    if payload == b"5":
                        deferred.error(b"not you", -99)
                    else:
                        deferred.reply(payload * 2)
                    with pytest.raises(RuntimeError, match="reply already"):
                        deferred.reply(b"again")
                    assert msgid > 0
                waiting.clear()
                assert await asyncio.gather(*calls[:5]) == [b"%d%d" % (number, number) for number in range(5)]
                with pytest.raises(naquid.RpcError) as caught:
                    await calls[5]
                assert (caught.value.code, caught.value.payload) == (-99, b"not you")
            with pytest.raises(RuntimeError, match="inside a request handler"):
                rpc.defer()

    run(main)


def test_reply_by_message_id(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    waiting: list[tuple[naquid.Rpc, int]] = []
    app.rpc("id")(lambda rpc, type, payload: waiting.append((rpc, rpc.current_msgid)))

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("id")
            calls = [asyncio.ensure_future(rpc.call(1)) for _ in range(2)]
            await until(lambda: len(waiting) == 2)
            waiting[0][0].reply(waiting[0][1], b"first")
            with pytest.raises(ValueError, match="negative"):
                waiting[1][0].reply_error(waiting[1][1], b"", 0)
            waiting[1][0].reply_error(waiting[1][1], b"second", -2000)
            assert await calls[0] == b"first"
            with pytest.raises(naquid.RpcError) as caught:
                await calls[1]
            assert (caught.value.code, caught.value.payload) == (-2000, b"second")

    run(main)


def test_deferred_reply_after_the_stream_is_gone(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    waiting: list[naquid.Deferred] = []
    app.rpc("gone")(lambda rpc, type, payload: waiting.append(rpc.defer()))

    async def main() -> None:
        async with bench.pair(app) as (server, conn):
            rpc = await conn.open_rpc("gone")
            call = asyncio.ensure_future(rpc.call(1))
            await until(lambda: waiting)
            await conn.close()
            with pytest.raises(naquid.ConnectionLost):
                await call
            await until(lambda: not server.connections)
            waiting[0].reply(b"nobody is there")

    run(main)


# ---- call_soon and cancelling ----


def test_call_soon(run: Variant, bench: Bench) -> None:
    app = echo_app()

    @app.rpc("fail")
    def fail(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        raise naquid.RpcError(b"sorry", -1000)

    async def main() -> None:
        results: list[tuple[int, bytes]] = []

        def chain(result: int, payload: bytes) -> None:
            results.append((result, payload))
            if len(payload) < 50:
                rpc.call_soon(1, payload + b".", chain)

        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("echo")
            rpc.call_soon(1, b"", chain)
            await until(lambda: len(results) == 51)
            assert results == [(0, b"." * number) for number in range(51)]
            results.clear()
            failing = await conn.open_rpc("fail")
            failing.call_soon(1, b"", lambda *result: results.append(result))
            await until(lambda: results)
            assert results == [(-1000, b"sorry")]

    run(main)


def test_call_soon_callback_that_raises(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            rpc.call_soon(1, b"", lambda result, payload: 1 // 0)
            assert await rpc.call(1, b"next") == b"next"
        assert [type(error) for error in unraisable.take()] == [ZeroDivisionError]

    run(main)


def test_cancel_call_soon(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        results: list[Any] = []
        async with bench.pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            msgid = rpc.call_soon(1, b"forget", lambda *result: results.append(result))
            assert rpc.cancel(msgid)
            assert not rpc.cancel(msgid)
            assert not rpc.cancel(123456)
            assert await rpc.call(1, b"after") == b"after"
            assert results == []
            assert engine().stats()["pending_calls"] == 0

    run(main)


def test_cancel_takes_no_number_for_a_call(run: Variant, bench: Bench) -> None:
    """0 is what empty places of the table have; the IDs of awaited calls are nobody's to cancel by number."""

    async def main() -> None:
        async with bench.pair(silent_app()) as (_, conn):
            rpc = await conn.open_rpc("silent")
            calls = [asyncio.ensure_future(rpc.call(1, b"?")) for _ in range(3)]
            many = asyncio.ensure_future(rpc.call_many(1, [b"?", b"?"]))
            results: list[int] = []
            msgid = rpc.call_soon(1, b"?", lambda result, payload: results.append(result))
            await asyncio.sleep(0)
            for number in (0, -1, 1, 2, 3, 4, 5, msgid + 1, 17, 2**31, 2**32 - 1, 2**32, 2**32 + msgid, 10**30):
                assert rpc.cancel(number) is False, number
            with pytest.raises(TypeError):
                rpc.cancel("1")  # type: ignore[arg-type]
            assert engine().stats()["pending_calls"] == 6
            assert rpc.cancel(msgid) is True
            assert engine().stats()["pending_calls"] == 5
            for call in (*calls, many):
                call.cancel()
            await asyncio.gather(*calls, many, return_exceptions=True)
            assert engine().stats()["pending_calls"] == 0
            assert results == []

    run(main)


def test_cancelled_calls(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    waiting: list[naquid.Deferred] = []

    @app.rpc("wait")
    def wait(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes | None:
        if type == 1:
            waiting.append(rpc.defer())
            return None
        return payload

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("wait")
            calls = [asyncio.ensure_future(rpc.call(1)) for _ in range(10)]
            await until(lambda: len(waiting) == 10)
            for call in calls[::2]:
                call.cancel()
            await asyncio.wait(calls[::2])
            assert all(call.cancelled() for call in calls[::2])
            assert engine().stats()["pending_calls"] == 5
            for number, deferred in enumerate(waiting):
                deferred.reply(b"%d" % number)
            assert await asyncio.gather(*calls[1::2]) == [b"1", b"3", b"5", b"7", b"9"]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await rpc.call(1)
            assert await rpc.call(2, b"usable") == b"usable"
            assert engine().stats()["pending_calls"] == 0

    run(main)


def test_cancel_before_the_event_loop_turns(run: Variant, bench: Bench) -> None:
    """A call whose task is cancelled in the turn in which its reply arrives."""

    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            for turns in range(12):
                call = asyncio.ensure_future(rpc.call(1, b"maybe"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait([call])
                assert call.cancelled() or call.result() == b"maybe"
            assert await rpc.call(1, b"surely") == b"surely"
            assert engine().stats()["pending_calls"] == 0

    run(main)
