"""A bound makes somebody wait: handlers, replies and sends above their bounds, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

from harness import Bench, Variant, engine, until

import naquid

TWENTY = {"limits": naquid.Limits(max_handler_tasks=20)}


def test_handlers_at_their_limit_may_call_back(run: Variant, bench: Bench) -> None:
    """Replies pass the requests that wait for a place: handlers that call back on their own stream do not deadlock."""
    app = naquid.Handlers()
    most = running = 0

    @app.rpc("job")
    async def job(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        nonlocal most, running
        running += 1
        most = max(most, running)
        reply = await rpc.call(2, payload)
        running -= 1
        return reply

    peer = naquid.Handlers()
    peer.rpc("job")(lambda rpc, type, payload: payload)

    async def main() -> None:
        async with bench.pair(app, peer, server=TWENTY) as (_, conn):
            rpc = await conn.open_rpc("job")
            sent = [b"%d" % number for number in range(500)]
            assert await asyncio.gather(*(rpc.call(1, payload) for payload in sent)) == sent
            assert most == 20
            assert engine().stats()["held_connections"] == 0

    run(main)


def test_notified_handlers_at_their_limit_may_call_back(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    app.rpc("feed")(lambda rpc, type, payload: payload)
    told: list[bytes] = []

    @app.rpc_notify("feed")
    async def news(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        told.append(await rpc.call(2, payload))

    peer = naquid.Handlers()
    peer.rpc("feed")(lambda rpc, type, payload: payload)

    async def main() -> None:
        async with bench.pair(app, peer, server=TWENTY) as (_, conn):
            rpc = await conn.open_rpc("feed")
            sent = [b"%d" % number for number in range(500)]
            for payload in sent:
                rpc.notify(7, payload)
            await until(lambda: len(told) == 500)
            assert sorted(told) == sorted(sent)

    run(main)


def test_new_streams_wait_while_handlers_are_at_their_limit(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    go_on = asyncio.Event()
    opened: list[Any] = []

    @app.rpc("job")
    async def job(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        await go_on.wait()
        return payload

    @app.stream("log")
    async def log(stream: naquid.Stream) -> None:
        opened.append(stream)

    async def main() -> None:
        async with bench.pair(app, server={"limits": naquid.Limits(max_handler_tasks=2)}) as (_, conn):
            rpc = await conn.open_rpc("job")
            calls = [rpc.call(1, b"%d" % number) for number in range(2)]
            await until(lambda: engine().stats()["held_connections"] == 1)
            stream = await conn.open_stream("log")
            await stream.send(b"waits")
            late = rpc.call(1, b"late")
            await conn.ping()
            assert not opened
            go_on.set()
            assert await asyncio.gather(*calls) == [b"0", b"1"]
            assert await late == b"late"
            await until(lambda: opened)
            assert engine().stats()["held_connections"] == 0

    run(main)
