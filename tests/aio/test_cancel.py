"""A caller that waits no more: its request's coroutine at the peer is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from harness import Bench, OnSim, Variant, until

import naquid


class Work:
    """Handlers that wait, and how they have ended."""

    def __init__(self) -> None:
        self.app = naquid.Handlers()
        self.begun = 0
        self.ends: list[str] = []
        self.go = asyncio.Event()
        self.app.rpc("work")(self._work)
        self.app.rpc("on", cancel=False)(self._work)

    async def _work(self, rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        self.begun += 1
        try:
            await self.go.wait()
            self.ends.append(f"{payload.decode()} done")
        except asyncio.CancelledError:
            self.ends.append(f"{payload.decode()} cancelled")
            raise
        return payload


async def by_cancelling(rpc: naquid.Rpc, work: Work) -> None:
    call = asyncio.ensure_future(rpc.call(1, b"call"))
    await until(lambda: work.begun == 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def by_timeout(rpc: naquid.Rpc, work: Work) -> None:
    with pytest.raises(naquid.CallTimeout):
        await rpc.call(1, b"call", timeout=0.1)


async def by_msgid(rpc: naquid.Rpc, work: Work) -> None:
    msgid = rpc.call_soon(1, b"call", lambda result, payload: None)
    await until(lambda: work.begun == 2)
    assert rpc.cancel(msgid)


async def by_asyncio_timeout(rpc: naquid.Rpc, work: Work) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await rpc.call_many(1, [b"call"])


@pytest.mark.parametrize("how", [by_cancelling, by_timeout, by_msgid, by_asyncio_timeout])
def test_the_coroutine_of_a_call_that_was_given_up_is_cancelled(
    run: Variant, bench: Bench, how: Callable[[naquid.Rpc, Work], asyncio.Future[None]]
) -> None:
    """That one, and no other; the stream goes on."""

    async def main() -> None:
        work = Work()
        async with bench.pair(work.app) as (server, conn):
            rpc = await conn.open_rpc("work")
            other = asyncio.ensure_future(rpc.call(1, b"other"))
            await until(lambda: work.begun == 1)
            await how(rpc, work)
            await until(lambda: work.ends)
            assert work.ends == ["call cancelled"]
            work.go.set()
            assert await other == b"other"
            assert await rpc.call(1, b"next") == b"next"
            await until(lambda: not server._tasks)

    run(main)


def test_a_handler_that_opted_out_goes_on(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        work = Work()
        async with bench.pair(work.app) as (server, conn):
            rpc = await conn.open_rpc("on")
            with pytest.raises(naquid.CallTimeout):
                await rpc.call(1, b"call", timeout=0.1)
            for _ in range(5):
                await conn.ping()
            assert len(server._tasks) == 1
            work.go.set()
            await until(lambda: not server._tasks)
            assert work.ends == ["call done"]

    run(main)


def test_a_request_that_waits_is_never_begun(run_sim: OnSim, bench: Bench) -> None:
    """It was held back while as many handlers ran as may, and its caller has given it up."""

    async def main() -> None:
        work = Work()
        async with bench.pair(work.app, server={"limits": naquid.Limits(max_handler_tasks=1)}) as (_, conn):
            rpc = await conn.open_rpc("work")
            first = asyncio.ensure_future(rpc.call(1, b"first"))
            await asyncio.sleep(0.1)
            with pytest.raises(naquid.CallTimeout):
                await rpc.call(1, b"second", timeout=1)
            await asyncio.sleep(1)
            third = asyncio.ensure_future(rpc.call(1, b"third"))
            await asyncio.sleep(1)
            work.go.set()
            assert await first == b"first"
            assert await third == b"third"
            assert [end for end in work.ends if end.endswith("done")] == ["first done", "third done"]

    run_sim(main)


def test_it_passes_what_waits(run: Variant, bench: Bench) -> None:
    """While as many handlers run as may, giving them up lets those begin that wait."""

    async def main() -> None:
        work = Work()
        async with bench.pair(work.app, server={"limits": naquid.Limits(max_handler_tasks=2)}) as (_, conn):
            rpc = await conn.open_rpc("work")
            stuck = [asyncio.ensure_future(rpc.call(1, b"stuck")) for _ in range(2)]
            await until(lambda: work.begun == 2)
            waiting = [asyncio.ensure_future(rpc.call(1, b"waiting")) for _ in range(5)]
            for _ in range(3):
                await conn.ping()
            assert work.begun == 2
            for call in stuck:
                call.cancel()
            await until(lambda: work.begun == 4)
            assert work.ends == ["stuck cancelled"] * 2
            work.go.set()
            assert await asyncio.gather(*waiting) == [b"waiting"] * 5

    run(main)


def test_a_deferred_reply_that_nobody_waits_for_is_dropped(run: Variant, bench: Bench) -> None:
    kept: list[naquid.Deferred] = []
    app = naquid.Handlers()

    @app.rpc("late")
    def late(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes | None:
        if type == 1:
            kept.append(rpc.defer())
            return None
        return payload

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("late")
            with pytest.raises(naquid.CallTimeout):
                await rpc.call(1, timeout=0.05)
            kept[0].reply(b"too late")
            assert await rpc.call(2, b"next") == b"next"

    run(main)
