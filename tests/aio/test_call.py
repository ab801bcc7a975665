"""What `rpc.call()` returns: awaited, wrapped in tasks, gathered, shielded, cancelled, as any coroutine."""

from __future__ import annotations

import asyncio
import contextvars

import pytest
from aio_apps import never
from harness import Bench, Variant

import naquid

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def app() -> naquid.Handlers:
    handlers = naquid.Handlers()

    @handlers.rpc("echo")
    def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes | None:
        if type == 2:
            raise naquid.RpcError(payload)
        return never(rpc, type, payload) if type == 3 else payload

    return handlers


def test_in_every_wrapping(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            assert await asyncio.gather(*(rpc.call(1, b"%d" % i) for i in range(50))) == [b"%d" % i for i in range(50)]
            assert await asyncio.create_task(rpc.call(1, b"task")) == b"task"
            assert await asyncio.wait_for(rpc.call(1, b"wait_for"), 30) == b"wait_for"
            assert await asyncio.shield(rpc.call(1, b"shield")) == b"shield"
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(rpc.call(1, b"%d" % i)) for i in range(20)]
            assert [task.result() for task in tasks] == [b"%d" % i for i in range(20)]
            done, _ = await asyncio.wait([asyncio.ensure_future(rpc.call(1, b"wait"))])
            assert done.pop().result() == b"wait"
            assert asyncio.iscoroutine(rpc.call(1))
            assert not asyncio.isfuture(rpc.call(1))
            assert await next(iter(asyncio.as_completed([rpc.call(1, b"as_completed")]))) == b"as_completed"

    run(main)


def test_awaited_twice_and_by_two_tasks(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            call = rpc.call(1, b"once")

            async def wait() -> bytes:
                return await call

            assert await asyncio.gather(wait(), wait(), wait()) == [b"once"] * 3  # type: ignore[comparison-overlap]
            assert await call == b"once"

    run(main)


def test_failures(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            call = rpc.call(2, b"no")
            for _ in range(2):
                with pytest.raises(naquid.RpcError) as caught:
                    await call
                assert caught.value.payload == b"no"
            results = await asyncio.gather(rpc.call(1, b"ok"), rpc.call(2, b"bad"), return_exceptions=True)
            assert results[0] == b"ok"
            assert isinstance(results[1], naquid.RpcError)
            with pytest.raises(naquid.CallTimeout):
                await rpc.call(3, timeout=0.01)
            assert await rpc.call(1, b"still there") == b"still there"

    run(main)


def test_cancelled(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            task = asyncio.create_task(rpc.call(3))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await rpc.call(3)
            rpc.call(3).close()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(rpc.call(3), 0.01)
            assert conn.loop_stats()["pending_calls"] == 0
            assert await rpc.call(1, b"next") == b"next"

    run(main)


def test_a_task_keeps_its_context(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            rpc = await conn.open_rpc("echo")

            async def work(name: str) -> None:
                who.set(name)
                for i in range(20):
                    assert await rpc.call(1, name.encode()) == name.encode()
                    assert who.get() == name
                    assert asyncio.current_task() is tasks[name]
                    if i % 5 == 0:
                        await asyncio.sleep(0)

            shared = contextvars.copy_context()
            tasks = {f"task {i}": asyncio.create_task(work(f"task {i}")) for i in range(10)}
            both = [asyncio.create_task(rpc.call(1, b"x"), context=shared) for _ in range(5)]
            await asyncio.gather(*tasks.values(), *both)
            assert who.get() == "nobody"

    run(main)


def test_the_end_of_the_connection(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            rpc = await conn.open_rpc("echo")
            tasks = [asyncio.create_task(rpc.call(3)) for _ in range(5)]
            calls = [rpc.call(3) for _ in range(5)]
            await asyncio.sleep(0.01)
            await conn.close()
            for waiting in [*tasks, *calls]:
                with pytest.raises(naquid.ConnectionLost):
                    await waiting
            with pytest.raises(naquid.ConnectionLost):
                await rpc.call(1)

    run(main)
