"""Busy polling: packets are found while the engine looks for them, and the event loop keeps its turns."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from aio_apps import never
from harness import PATIENCE, Bench, Variant, until

import naquid

LONG = 10_000  # µs, the longest


def app() -> naquid.Handlers:
    handlers = naquid.Handlers()

    @handlers.rpc("plain")
    def plain(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload

    @handlers.rpc("task")
    async def task(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        return payload

    @handlers.rpc("close")
    async def close(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        rpc.connection.abort(7, "gone")

    return handlers


def counters() -> tuple[int, int]:
    stats = naquid.loop_stats()
    return stats["busy_polls"], stats["busy_poll_hits"]


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize("name", ["plain", "task"])
def test_packets_are_found_while_looking(run: Variant, bench: Bench, name: str, side: str) -> None:
    async def main() -> None:
        busy: dict[str, Any] = {side: {"busy_poll": LONG}}
        async with bench.pair(app(), **busy) as (_, conn):
            rpc = await conn.open_rpc(name)
            assert await rpc.call(1, b"first") == b"first"
            before = counters()
            async with asyncio.timeout(PATIENCE):
                while counters()[1] < before[1] + 50:  # most requests and replies come within 10 ms
                    assert await rpc.call(1, b"next") == b"next"
            polls, hits = counters()
            assert polls - before[0] >= hits - before[1]

    run(main)


def test_it_is_off_by_default(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            rpc = await conn.open_rpc("plain")
            for _ in range(20):
                await rpc.call(1, b"x")
            assert counters() == (0, 0)

    run(main)


def test_the_longest_holds_while_its_owner_lives(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (server, conn):
            rpc = await conn.open_rpc("plain")
            async with bench.connect(server.port, busy_poll=LONG), bench.connect(server.port, busy_poll=1):
                await rpc.call(1, b"x")
                assert counters()[0] > 0
            before = counters()
            for _ in range(50):
                await rpc.call(1, b"x")
            assert counters() == before

    run(main)


def test_others_have_their_turns(run: Variant, bench: Bench) -> None:
    """Between two turns of the event loop it looks at most once, and what was asked for before goes first."""

    async def main() -> None:
        async with bench.pair(app(), server={"busy_poll": LONG}) as (_, conn):
            rpc = await conn.open_rpc("plain")
            loop = asyncio.get_running_loop()
            turns: list[int] = []

            def turn() -> None:
                turns.append(counters()[0])
                if len(turns) < 200:
                    loop.call_soon(turn)

            loop.call_soon(turn)
            while len(turns) < 200:
                assert await rpc.call(1, b"x") == b"x"
            steps = [after - before for before, after in itertools.pairwise(turns)]
            assert max(steps) <= 1
            assert sum(steps) > 0, "and it does look"

    run(main)


def test_the_time_of_others_counts(run: Variant, bench: Bench) -> None:
    """A callback that takes longer than the time to look leaves none of it."""

    async def main() -> None:
        async with bench.pair(app(), server={"busy_poll": 1}) as (_, conn):
            rpc = await conn.open_rpc("plain")
            await rpc.call(1, b"x")
            before = counters()
            for _ in range(20):
                call = asyncio.ensure_future(rpc.call(1, b"x"))
                while not call.done():  # the event loop is never idle: a µs has passed before each look
                    sum(range(2000))
                    await asyncio.sleep(0)
            assert counters()[0] - before[0] <= 20

    run(main)


def test_closing_meanwhile(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(app(), busy_poll=LONG) as server:
            for _ in range(10):
                async with bench.connect(server.port) as conn:
                    rpc = await conn.open_rpc("close")
                    with pytest.raises(naquid.ConnectionLost):
                        await rpc.call(1)
            await until(lambda: not server.connections)

    run(main)


def test_timers_go_on(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        limits = naquid.Limits(idle_timeout=0.2)
        handlers = app()
        handlers.rpc("never")(never)
        async with bench.pair(handlers, server={"busy_poll": LONG}, client={"limits": limits}) as (_, conn):
            rpc = await conn.open_rpc("never")
            with pytest.raises(naquid.CallTimeout):
                await rpc.call(1, timeout=0.02)
            await conn.wait_closed()
            assert isinstance(conn.error, naquid.IdleTimeout)

    run(main)
