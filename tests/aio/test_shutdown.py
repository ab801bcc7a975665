"""Server.shutdown: what runs may end, nothing new begins, no reply is lost."""

from __future__ import annotations

import asyncio

import pytest
from harness import Bench, OnSim, Variant, until

import naquid


def test_what_runs_ends_and_nothing_new_is_begun(run_sim: OnSim, bench: Bench) -> None:
    async def main() -> None:
        begun: list[str] = []
        app = naquid.Handlers()

        @app.rpc("work")
        async def work(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
            begun.append("coroutine")
            await asyncio.sleep(2)
            return b"done"

        @app.rpc("plain")
        def plain(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
            begun.append("plain")
            return b""

        @app.rpc_notify("plain")
        def notification(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
            begun.append("notification")

        @app.stream("stream")
        async def stream(stream: naquid.Stream) -> None:
            begun.append("stream")

        @app.datagram
        def datagram(conn: naquid.Connection, data: bytes) -> None:
            begun.append("datagram")

        server = await bench.serve(app)
        conn = await bench.connect(server.port)
        rpc, other = await conn.open_rpc("work"), await conn.open_rpc("plain")
        running = [asyncio.ensure_future(rpc.call(1)) for _ in range(5)]
        await other.call(1)
        await until(lambda: len(begun) == 6)
        ending = asyncio.ensure_future(server.shutdown(grace=5))
        await asyncio.sleep(0.1)
        late = [asyncio.ensure_future(each.call(1)) for each in (rpc, other)]
        other.notify(1)
        opened = await conn.open_stream("stream")
        opened.send_nowait(b"")
        conn.send_datagram(b"x")
        assert await asyncio.gather(*running) == [b"done"] * 5
        for call in late:
            with pytest.raises(naquid.ConnectionLost) as caught:
                await call
            assert caught.value.code == 8
            assert caught.value.remote
        await ending
        assert sorted(begun) == ["coroutine"] * 5 + ["plain"]
        assert not server._tasks

    run_sim(main)


def test_cleaning_up_has_what_is_left_of_the_time(run: Variant, bench: Bench) -> None:
    """on_disconnect handlers, and stream handlers that learn of the end, run to their end."""
    told: list[str] = []
    app = naquid.Handlers()

    @app.on_disconnect
    async def gone(conn: naquid.Connection, error: Exception | None) -> None:
        assert isinstance(error, naquid.ConnectionLost)
        await asyncio.sleep(0.01)
        told.append("on_disconnect")

    @app.stream("chat")
    async def chat(stream: naquid.Stream) -> None:
        try:
            async for _ in stream:
                told.append("began")
        except naquid.ConnectionLost:
            told.append("lost")
            raise
        finally:
            await asyncio.sleep(0.01)
            told.append("left")

    async def main() -> None:
        server = await bench.serve(app)
        conn = await bench.connect(server.port)
        (await conn.open_stream("chat")).send_nowait(b"")
        await until(lambda: told)
        await server.shutdown(grace=0.4)
        assert told[:2] == ["began", "lost"]
        assert sorted(told[2:]) == ["left", "on_disconnect"]
        assert not server._tasks
        await conn.close()

    run(main)


@pytest.mark.parametrize("grace", [0, 0.2])
def test_requests_that_do_not_end_are_answered(run: Variant, bench: Bench, grace: float) -> None:
    app = naquid.Handlers()
    begun: list[int] = []

    @app.rpc("work")
    async def work(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        begun.append(type)
        await asyncio.sleep(3600)
        return b""

    @app.rpc("end")
    def end(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        ending.append(asyncio.ensure_future(server.shutdown(grace=grace)))
        return b"ends"

    ending: list[asyncio.Future[None]] = []

    async def main() -> None:
        nonlocal server
        server = await bench.serve(app)
        conn = await bench.connect(server.port)
        work, end = await conn.open_rpc("work"), await conn.open_rpc("end")
        first = asyncio.ensure_future(work.call(1))
        await until(lambda: begun)
        calls = [work.call(2), end.call(1)]
        with pytest.raises(naquid.RpcError) as caught:
            await first
        assert caught.value.code == naquid.EUSER
        with pytest.raises(naquid.RpcError) as caught:
            await calls[0]
        assert caught.value.code == naquid.EUSER
        assert await calls[1] == b"ends"
        await ending[0]
        assert not server._tasks
        await conn.close()

    server: naquid.Server
    run(main)


def test_a_task_that_was_cancelled_before_its_first_step_answers(run: Variant, bench: Bench) -> None:
    """Nothing of its coroutine has run then."""
    app = naquid.Handlers()
    begun: list[int] = []

    @app.rpc("work")
    async def work(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        begun.append(type)
        return b""

    @app.rpc("end")
    def end(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        for task in server._tasks:
            task.cancel()
        return b"%d" % len(server._tasks)

    async def main() -> None:
        nonlocal server
        async with bench.pair(app) as (server, conn):
            work, end = await conn.open_rpc("work"), await conn.open_rpc("end")
            calls = [work.call(1), work.call(2), end.call(1)]  # they arrive in one packet, and are one batch
            assert await calls[2] == b"2"
            for call in calls[:2]:
                with pytest.raises(naquid.RpcError) as caught:
                    await call
                assert caught.value.code == naquid.EUSER
            assert not begun
            await until(lambda: not server._tasks)

    server: naquid.Server
    run(main)


def test_a_handler_that_will_not_end_does_not_hold_it_up(run_sim: OnSim, bench: Bench) -> None:
    async def main() -> None:
        app = naquid.Handlers()
        let_go = asyncio.Event()

        @app.rpc("stubborn")
        async def stubborn(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            return b""

        server = await bench.serve(app)
        conn = await bench.connect(server.port)
        rpc = await conn.open_rpc("stubborn")
        rpc.call_soon(1, b"", lambda result, payload: None)
        await until(lambda: server._tasks)
        began = asyncio.get_running_loop().time()
        await server.shutdown(grace=4)
        assert asyncio.get_running_loop().time() - began <= 4 + 1.5  # the simulated clock
        assert len(server._tasks) == 1  # it is still owned
        let_go.set()
        await until(lambda: not server._tasks)
        await conn.close()

    run_sim(main)
