"""RPC in both directions: requests, replies, error replies, notifications, names, arguments."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aio_apps import echo_app, silent_app
from harness import Bench, OnSim, Unraisable, Variant, engine, noise, until

import naquid

# ---- requests and replies ----


def test_types_and_payloads(run: Variant, bench: Bench) -> None:
    seen: list[tuple[int, bytes]] = []
    app = naquid.Handlers()

    @app.rpc("log")
    def log(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        seen.append((type, payload))
        return payload[::-1]

    sent = [(1, b""), (127, b"a"), (128, b"bc"), (32767, noise(1000)), (255, noise(70000)), (256, noise(1 << 20))]

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("log")
            for type, payload in sent:
                assert await rpc.call(type, payload) == payload[::-1]
        assert seen == sent

    run(main)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda data: memoryview(data).cast("B")])
def test_bytes_like_payloads(run_once: Variant, bench: Bench, make: Any) -> None:
    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            data = bytearray(b"any buffer")
            call = asyncio.ensure_future(rpc.call(1, make(data)))
            await asyncio.sleep(0)
            data[:] = b"overwritte"  # what was sent is a copy
            assert await call == b"any buffer"

    run_once(main)


def test_many_at_once(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            streams = [await conn.open_rpc("echo") for _ in range(4)]
            payloads = [noise(1 + number % 300, number) for number in range(2000)]
            calls = [streams[number % 4].call(1, payload) for number, payload in enumerate(payloads)]
            assert await asyncio.gather(*calls) == payloads

    run(main)


def test_requests_are_handled_in_order(run: Variant, bench: Bench) -> None:
    order: list[int] = []
    app = naquid.Handlers()

    @app.rpc("number")
    def number(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        order.append(int.from_bytes(payload, "big"))
        return b""

    @app.rpc_notify("number")
    def also(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        order.append(int.from_bytes(payload, "big"))

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("number")
            calls = []
            for at in range(500):
                if at % 3:
                    rpc.notify(1, at.to_bytes(4, "big"))
                else:
                    calls.append(asyncio.ensure_future(rpc.call(1, at.to_bytes(4, "big"))))
                    await asyncio.sleep(0)
            await asyncio.gather(*calls)
            await rpc.call(1, (500).to_bytes(4, "big"))
        assert order == list(range(501))

    run(main)


def test_both_directions(run: Variant, bench: Bench) -> None:
    """The handler calls back on the stream of the request, while the request is open."""
    app = naquid.Handlers()

    @app.rpc("ask")
    async def ask(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return b"you said " + await rpc.call(2, payload + b"?")

    client_app = naquid.Handlers()
    client_app.rpc("ask")(lambda rpc, type, payload: payload.upper())

    async def main() -> None:
        async with bench.pair(app, client_app) as (_, conn):
            rpc = await conn.open_rpc("ask")
            assert await asyncio.gather(*(rpc.call(1, b"n%d" % number) for number in range(50))) == [
                b"you said N%d?" % number for number in range(50)
            ]

    run(main)


def test_server_opens_streams(run: Variant, bench: Bench) -> None:
    client_app = echo_app()

    async def main() -> None:
        async with bench.pair(naquid.Handlers(), client_app) as (server, _):
            await until(lambda: server.connections)
            (accepted,) = server.connections
            rpc = await accepted.open_rpc("echo")
            assert rpc.is_outgoing
            assert rpc.stream_id == 1
            assert await rpc.call(1, b"downhill") == b"downhill"

    run(main)


def test_notify(run: Variant, bench: Bench) -> None:
    got: list[tuple[str, int, bytes]] = []

    def collect(side: str) -> Any:
        return lambda rpc, type, payload: got.append((side, type, payload))

    app = naquid.Handlers()
    app.rpc_notify("news")(collect("server"))
    app.rpc("news")(lambda rpc, type, payload: rpc.notify(9, b"back") or b"")
    client_app = naquid.Handlers()
    client_app.rpc_notify("news")(collect("client"))

    async def main() -> None:
        async with bench.pair(app, client_app) as (_, conn):
            rpc = await conn.open_rpc("news")
            rpc.notify(1)
            rpc.notify(32767, noise(200000))
            await rpc.call(1, b"")
            await until(lambda: len(got) == 3)
        assert got == [("server", 1, b""), ("server", 32767, noise(200000)), ("client", 9, b"back")]

    run(main)


def test_coroutine_handlers_run_at_once(run: Variant, bench: Bench) -> None:
    """Later requests are answered while earlier ones wait."""
    app = naquid.Handlers()
    gates: dict[bytes, asyncio.Event] = {}

    @app.rpc("gate")
    async def gate(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        gates[payload] = asyncio.Event()
        await gates[payload].wait()
        return payload

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("gate")
            names = [b"%d" % number for number in range(20)]
            calls = {name: asyncio.ensure_future(rpc.call(1, name)) for name in names}
            await until(lambda: len(gates) == 20)
            for name in reversed(names):
                gates[name].set()
                assert await calls[name] == name

    run(main)


def test_task_limit_holds_requests_back(run_sim: OnSim, bench: Bench) -> None:
    app = naquid.Handlers()
    running = 0
    most = 0
    go = asyncio.Event()

    @app.rpc("busy")
    async def busy(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        return payload

    async def main() -> None:
        # Requests that arrive in one batch are delivered together, so the bound is on what comes after it.
        limits = naquid.Limits(max_handler_tasks=8)
        async with bench.pair(app, server={"limits": limits}) as (_, conn):
            rpc = await conn.open_rpc("busy")
            calls = []
            for number in range(40):
                calls.append(asyncio.ensure_future(rpc.call(1, b"%d" % number)))
                await asyncio.sleep(0.002)
            await asyncio.sleep(10)
            assert running == most == 8
            go.set()
            assert await asyncio.gather(*calls) == [b"%d" % number for number in range(40)]
            assert most <= 9

    run_sim(main)


# ---- errors ----


def test_error_replies(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()

    @app.rpc("fail")
    def fail(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        raise naquid.RpcError(payload, -type)

    @app.rpc("fail async")
    async def fail_async(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        raise naquid.RpcError(payload)

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("fail")
            for code in (1, 7, 128, 32767):
                with pytest.raises(naquid.RpcError) as caught:
                    await rpc.call(code, b"why %d" % code)
                assert (caught.value.code, caught.value.payload) == (-code, b"why %d" % code)
            rpc = await conn.open_rpc("fail async")
            with pytest.raises(naquid.RpcError) as caught:
                await rpc.call(1, noise(5000))
            assert (caught.value.code, caught.value.payload) == (naquid.EUSER, noise(5000))

    run(main)


def test_handlers_that_raise(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    app = naquid.Handlers()
    happened: list[bytes] = []

    @app.rpc("broken")
    def broken(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        raise ZeroDivisionError("plain")

    @app.rpc_notify("broken")
    def broken_notify(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        happened.append(payload)
        raise LookupError("notify")

    @app.rpc("broken async")
    async def broken_async(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        raise ArithmeticError("coroutine")

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            for name in ("broken", "broken async"):
                rpc = await conn.open_rpc(name)
                for _ in range(2):
                    with pytest.raises(naquid.RpcError) as caught:
                        await rpc.call(1, b"please")
                    assert caught.value.code == naquid.EUSER
                    assert caught.value.payload == b"the peer's handler failed"
            rpc = await conn.open_rpc("broken")
            rpc.notify(1, b"told")
            await until(lambda: happened)
            with pytest.raises(naquid.RpcError):
                await rpc.call(1)
        assert [str(error) for error in unraisable.take()] == [
            "plain", "plain", "coroutine", "coroutine", "notify", "plain",
        ]  # fmt: skip

    run(main)


@pytest.mark.parametrize("result", ["text", 42, 1.5, ["list"]], ids=repr)
def test_results_that_are_no_bytes(run: Variant, bench: Bench, unraisable: Unraisable, result: object) -> None:
    app = naquid.Handlers()
    app.rpc("wrong")(lambda rpc, type, payload: result)  # type: ignore[type-var]

    @app.rpc("wrong async")  # type: ignore[type-var]
    async def wrong(rpc: naquid.Rpc, type: int, payload: bytes) -> object:
        return result

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            for name in ("wrong", "wrong async"):
                with pytest.raises(naquid.RpcError) as caught:
                    await (await conn.open_rpc(name)).call(1)
                assert caught.value.code == naquid.EUSER
        assert [type(error) for error in unraisable.take()] == [TypeError, TypeError]

    run(main)


def test_results_of_every_bytes_like_kind(run_once: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    kinds = [bytes, bytearray, memoryview]
    app.rpc("kind")(lambda rpc, type, payload: kinds[type - 1](payload))

    @app.rpc("kind async")
    async def kind(rpc: naquid.Rpc, type: int, payload: bytes) -> Any:
        return kinds[type - 1](payload)

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            for name in ("kind", "kind async"):
                rpc = await conn.open_rpc(name)
                for type in (1, 2, 3):
                    assert await rpc.call(type, b"same") == b"same"

    run_once(main)


def test_unknown_name(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("no such name")
            with pytest.raises(naquid.StreamRefused, match="handler of the name 'no such name'") as caught:
                await rpc.call(1)
            assert caught.value.code == 2  # NQ_STREAM_UNKNOWN_PROTOCOL
            await rpc.wait_closed()
            assert await (await conn.open_rpc("echo")).call(1, b"goes on") == b"goes on"

    run(main)


def test_requests_without_a_handler(run: Variant, bench: Bench) -> None:
    """A name with only notifications answers requests with an error; notifications to one with none are dropped."""
    app = naquid.Handlers()
    app.rpc_notify("notify only")(lambda rpc, type, payload: None)
    app.rpc("request only")(lambda rpc, type, payload: payload)

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            with pytest.raises(naquid.RpcError) as caught:
                await (await conn.open_rpc("notify only")).call(1)
            assert caught.value.code == naquid.ENOTSUPPORT
            rpc = await conn.open_rpc("request only")
            rpc.notify(1, b"into the void")
            assert await rpc.call(1, b"answered") == b"answered"

    run(main)


# ---- arguments and state ----


def test_wrong_arguments(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            for type in (0, -1, 32768, 1 << 31, 1 << 70):
                with pytest.raises((ValueError, OverflowError)):
                    await rpc.call(type)
                with pytest.raises((ValueError, OverflowError)):
                    rpc.notify(type)
            for wrong in ("text", 5, None, [1]):
                with pytest.raises(TypeError):
                    await rpc.call(1, wrong)  # type: ignore[arg-type]
                with pytest.raises(TypeError):
                    rpc.notify(1, wrong)  # type: ignore[arg-type]
                with pytest.raises(TypeError):
                    rpc.call_soon(1, wrong, print)  # type: ignore[arg-type]
            with pytest.raises(BufferError):
                await rpc.call(1, memoryview(b"123456")[::2])
            with pytest.raises(TypeError):
                await rpc.call("1")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="callable"):
                rpc.call_soon(1, b"", None)  # type: ignore[arg-type]
            for timeout in (0, -1, float("nan"), float("inf"), 1e10):
                with pytest.raises(ValueError, match="timeout"):
                    await rpc.call(1, b"", timeout=timeout)
                with pytest.raises(ValueError, match="call_timeout"):
                    await conn.open_rpc("echo", call_timeout=timeout)
            with pytest.raises(TypeError):
                await rpc.call(1, b"", timeout="1")  # type: ignore[arg-type]
            for name in ("", "a\0b", "x" * 256, "\N{SNOWMAN}" * 86):
                with pytest.raises(ValueError, match="name"):
                    await conn.open_rpc(name)
            with pytest.raises(TypeError):
                await conn.open_rpc(b"echo")  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await conn.open_rpc(None)  # type: ignore[arg-type]
            assert await rpc.call(1, b"unharmed") == b"unharmed"
            assert engine().stats()["pending_calls"] == 0

    run(main)


@pytest.mark.parametrize("name", ["x", "x" * 255, "lobby \N{SNOWMAN}", "with space\tand tab"])
def test_names(run_once: Variant, bench: Bench, name: str) -> None:
    app = naquid.Handlers()
    app.rpc(name)(lambda rpc, type, payload: payload)

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            assert await (await conn.open_rpc(name)).call(1, b"found") == b"found"

    run_once(main)


def test_use_after_close(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(echo_app()) as (server, conn):
            rpc = await conn.open_rpc("echo")
            await rpc.call(1)
            rpc.close()
            rpc.close()
            await rpc.wait_closed()
            assert rpc.is_closed
            for _ in range(2):
                with pytest.raises(naquid.ConnectionLost, match="this side has closed it"):
                    await rpc.call(1)
                with pytest.raises(naquid.ConnectionLost):
                    rpc.notify(1)
                with pytest.raises(naquid.ConnectionLost):
                    rpc.call_soon(1, b"", print)
                rpc.reply(1, b"")
                assert not rpc.cancel(1)
            open_one = await conn.open_rpc("echo")
            await open_one.call(1)
            await conn.close()
            with pytest.raises(naquid.ConnectionLost):
                await open_one.call(1)
            with pytest.raises(naquid.ConnectionLost):
                await conn.open_rpc("echo")
            await until(lambda: not server.connections)
        with pytest.raises(naquid.ConnectionLost):
            await open_one.call(1)
        assert "closed" in repr(rpc)

    run(main)


def test_closing_a_stream_ends_its_calls(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(silent_app()) as (_, conn):
            rpc = await conn.open_rpc("silent")
            calls = [asyncio.ensure_future(rpc.call(1)) for _ in range(3)]
            results: list[Any] = []
            rpc.call_soon(1, b"", lambda *result: results.append(result))
            await asyncio.sleep(0.02)
            rpc.reset(77)
            rpc.close()
            for call in calls:
                with pytest.raises(naquid.ConnectionLost):
                    await call
            assert results == [(naquid.EGOAWAY, b"")]
            assert conn.is_open

    run(main)


def test_one_callback_for_many_calls(run: Variant, bench: Bench) -> None:
    """Each call is told once: what is cancelled or refused is not, and a second callback changes nothing."""

    async def main() -> None:
        results: list[Any] = []
        others: list[Any] = []

        def told(*result: Any) -> None:
            results.append(result)

        def other(*result: Any) -> None:
            others.append(result)

        limits = naquid.Limits(max_pending_calls=9)
        async with bench.pair(silent_app(), client={"limits": limits}) as (_, conn):
            for _ in range(2):  # the second stream has the nodes of the first
                results.clear()
                others.clear()
                rpc = await conn.open_rpc("silent")
                first = [rpc.call_soon(1, b"", told, timeout=60) for _ in range(4)]
                rpc.call_soon(1, b"", other)
                again = [rpc.call_soon(1, b"", told) for _ in range(3)]
                rpc.call_soon(1, b"", told, timeout=0.02)
                with pytest.raises(naquid.QueueFull):
                    rpc.call_soon(1, b"", told)
                assert rpc.cancel(first[0])
                assert rpc.cancel(again[2])
                assert not rpc.cancel(again[2])
                await until(lambda: results == [(naquid.ETIMEOUT, b"")])
                rpc.close()
                await rpc.wait_closed()
                await until(lambda: len(results) == 6)
                assert results[1:] == [(naquid.EGOAWAY, b"")] * 5
                assert others == [(naquid.EGOAWAY, b"")]

    run(main)


def test_pending_calls_are_bounded(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        limits = naquid.Limits(max_pending_calls=10)
        async with bench.pair(silent_app(), client={"limits": limits}) as (_, conn):
            rpc = await conn.open_rpc("silent")
            for _ in range(10):
                rpc.call_soon(1, b"", lambda *result: None, timeout=60)
            with pytest.raises(naquid.QueueFull, match="max_pending_calls"):
                await rpc.call(1)
            with pytest.raises(naquid.QueueFull):
                rpc.call_soon(1, b"", lambda *result: None)

    run(main)
