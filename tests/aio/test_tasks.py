"""Coroutine handlers: how many run, who waits, and when they are cancelled."""

from __future__ import annotations

import asyncio

import pytest
from harness import Bench, OnSim, Variant, until

import naquid


class Count:
    """How many handlers run, how many did at most, and how each has ended."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.ends: list[str] = []
        self.go = asyncio.Event()

    async def work(self, name: str = "") -> bytes:
        """A handler's work: waits until it may go on."""
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
            self.ends.append(f"{name} done")
        except asyncio.CancelledError:
            self.ends.append(f"{name} cancelled")
            raise
        finally:
            self.running -= 1
        return name.encode()


def app_of(count: Count) -> naquid.Handlers:
    """Coroutine handlers of all kinds."""
    app = naquid.Handlers()

    @app.rpc("work")
    async def request(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return await count.work("request")

    @app.rpc("on", cancel=False)
    async def kept_on(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return await count.work("kept on")

    @app.rpc_notify("work")
    async def notification(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        await count.work("notification")

    @app.stream("stream")
    async def stream(stream: naquid.Stream) -> None:
        await count.work("stream")

    @app.datagram
    async def datagram(conn: naquid.Connection, data: bytes) -> None:
        await count.work("datagram")

    return app


def test_all_kinds_count_against_one_bound(run: Variant, bench: Bench) -> None:
    """Also when they arrive in one batch; what waits is begun later, none of it is lost."""

    async def main() -> None:
        count = Count()
        limits = naquid.Limits(max_handler_tasks=8)
        async with bench.pair(app_of(count), server={"limits": limits}) as (server, conn):
            rpc, other = await conn.open_rpc("work"), await conn.open_rpc("on")
            streams = [await conn.open_stream("stream") for _ in range(10)]
            calls = asyncio.ensure_future(rpc.call_many(1, [b""] * 50))
            more = asyncio.ensure_future(other.call_many(1, [b""] * 50))
            for stream in streams:
                stream.send_nowait(b"")
            for _ in range(20):
                rpc.notify(1)
            await until(lambda: count.running == 8)
            for _ in range(10):
                await conn.ping()
            assert count.running == count.most == len(server._tasks) == 8
            count.go.set()
            assert await calls == [b"request"] * 50
            assert await more == [b"kept on"] * 50
            await until(lambda: len(count.ends) == 130)
            assert count.most == 8
            assert sorted(set(count.ends)) == ["kept on done", "notification done", "request done", "stream done"]
            assert count.ends.count("stream done") == 10
            await until(lambda: not server._tasks)

    run(main)


def test_replies_pass_what_waits(run: Variant, bench: Bench) -> None:
    """Handlers that call back get their replies while as many run as may."""
    app = naquid.Handlers()
    peer = naquid.Handlers()
    peer.rpc("job")(lambda rpc, type, payload: payload)

    @app.rpc("job")
    async def job(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return await rpc.call(2, payload)

    async def main() -> None:
        limits = naquid.Limits(max_handler_tasks=4)
        async with bench.pair(app, peer, server={"limits": limits}) as (_, conn):
            rpc = await conn.open_rpc("job")
            asked = [b"%d" % number for number in range(100)]
            assert await rpc.call_many(1, asked) == asked

    run(main)


def test_the_server_has_a_bound_too(run_sim: OnSim, bench: Bench) -> None:
    """When it is reached, connections wait that have eight handlers or more; others may have as many."""

    async def main() -> None:
        count = Count()
        async with bench.serve(app_of(count), max_handler_tasks=40) as server:
            conns = [await bench.connect(server.port) for _ in range(4)]
            first = await conns[0].open_rpc("work")
            calls = [asyncio.ensure_future(first.call_many(1, [b""] * 100))]
            await asyncio.sleep(1)
            assert count.running == 40
            for conn in conns[1:]:
                rpc = await conn.open_rpc("work")
                calls.append(asyncio.ensure_future(rpc.call_many(1, [b""] * 100)))
            await asyncio.sleep(1)
            assert count.running == 40 + 3 * 8
            count.go.set()
            assert await asyncio.gather(*calls) == [[b"request"] * 100] * 4
            assert count.most == 40 + 3 * 8
            for conn in conns:
                await conn.close()

    run_sim(main)


def test_datagrams_above_the_bound_are_dropped_and_counted(run_sim: OnSim, bench: Bench) -> None:
    async def main() -> None:
        count = Count()
        limits = naquid.Limits(max_handler_tasks=4)
        async with bench.pair(app_of(count), server={"limits": limits}) as (server, conn):
            for _ in range(20):
                conn.send_datagram(b"x")
                await asyncio.sleep(0.01)
            await asyncio.sleep(1)
            assert count.running == count.most == 4
            assert server.stats()["datagrams_dropped"] == 16
            count.go.set()
            await asyncio.sleep(1)
            conn.send_datagram(b"x")
            await asyncio.sleep(1)
            assert count.ends == ["datagram done"] * 5

    run_sim(main)


def test_plain_datagram_handlers_are_called_while_tasks_wait(run_sim: OnSim, bench: Bench) -> None:
    heard: list[bytes] = []

    async def main() -> None:
        count = Count()
        app = naquid.Handlers()

        @app.datagram  # type: ignore[type-var]
        def datagram(conn: naquid.Connection, data: bytes) -> bool:
            heard.append(data)
            return True

        @app.rpc("work")
        async def request(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
            return await count.work("request")

        limits = naquid.Limits(max_handler_tasks=1)
        async with bench.pair(app, server={"limits": limits}) as (_, conn):
            rpc = await conn.open_rpc("work")
            call = asyncio.ensure_future(rpc.call(1))
            await asyncio.sleep(1)
            for _ in range(3):  # a result that nobody can await makes no task of it
                conn.send_datagram(b"x")
                await asyncio.sleep(1)
            assert heard == [b"x"] * 3
            count.go.set()
            assert await call == b"request"

    run_sim(main)


# ---- the end ----


@pytest.mark.parametrize("end", ["reset", "abort"])
def test_what_nobody_waits_for_is_cancelled(run: Variant, bench: Bench, end: str) -> None:
    """When the peer resets the stream, or its connection has ended; handlers that opted out go on."""

    async def main() -> None:
        count = Count()
        async with bench.serve(app_of(count)) as server:
            conn = await bench.connect(server.port)
            work, on = await conn.open_rpc("work"), await conn.open_rpc("on")
            for rpc in (work, on):
                for _ in range(3):
                    rpc.call_soon(1, b"", lambda result, payload: None)
            work.notify(1)
            await until(lambda: count.running == 7)
            if end == "abort":
                conn.abort()
            else:
                work.reset(3)
                on.reset(3)
            await until(lambda: count.running == 3)
            assert sorted(count.ends) == ["notification cancelled"] + ["request cancelled"] * 3
            await until(lambda: len(server._tasks) == 3)
            count.go.set()
            await until(lambda: not server._tasks)
            assert sorted(count.ends[4:]) == ["kept on done"] * 3
            await conn.close()

    run(main)


def test_a_lost_connection_ends_its_tasks(run_sim: OnSim, bench: Bench) -> None:
    async def main() -> None:
        count = Count()
        limits = naquid.Limits(idle_timeout=10)
        async with bench.serve(app_of(count), limits=limits) as server:
            conn = await bench.connect(server.port, limits=limits)
            (await conn.open_rpc("work")).call_soon(1, b"", lambda result, payload: None)
            stream = await conn.open_stream("stream")
            stream.send_nowait(b"")
            conn.send_datagram(b"x")
            await until(lambda: count.running == 3)
            run_sim.network.link(cut=True)
            await asyncio.sleep(60)
            assert sorted(count.ends) == ["datagram cancelled", "request cancelled", "stream cancelled"]
            assert not server._tasks
            run_sim.network.link(cut=False)
            await conn.close()

    run_sim(main)


def test_after_a_close_in_order_handlers_have_a_second(run_sim: OnSim, bench: Bench) -> None:
    """What was sent before a close in order is handled, though the connection has ended. Requests are not: nobody can
    have their replies."""

    async def main() -> None:
        ends: list[str] = []
        app = naquid.Handlers()

        async def take(name: str, seconds: float) -> None:
            try:
                await asyncio.sleep(seconds)
                ends.append(f"{name} done")
            except asyncio.CancelledError:
                ends.append(f"{name} cancelled")
                raise

        @app.rpc("x")
        async def request(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
            await take("request", 0.5)
            return b""

        @app.rpc_notify("x")
        async def notification(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
            await take(payload.decode(), type / 10)

        async with bench.serve(app) as server:
            conn = await bench.connect(server.port)
            rpc = await conn.open_rpc("x")
            rpc.call_soon(1, b"", lambda result, payload: None)
            rpc.notify(5, b"short")
            rpc.notify(50, b"long")
            await conn.close()
            await asyncio.sleep(3)
            assert ends == ["request cancelled", "short done", "long cancelled"]
            assert not server._tasks

    run_sim(main)


def test_a_handler_that_was_told_of_the_end_tidies_up(run: Variant, bench: Bench) -> None:
    """An exception tells it, or what it waits for: it is not cancelled as well."""

    async def main() -> None:
        ends: list[str] = []
        may_end = asyncio.Event()
        app = naquid.Handlers()

        async def tidy_up(name: str) -> None:
            try:
                await may_end.wait()
                ends.append(name)
            except asyncio.CancelledError:
                ends.append(f"{name} cancelled")
                raise

        @app.stream("reads")
        async def reads(stream: naquid.Stream) -> None:
            try:
                async for _ in stream:
                    pass
            except naquid.ConnectionLost:
                await tidy_up("read")

        @app.stream("reads in a task")
        async def reads_in_a_task(stream: naquid.Stream) -> None:
            try:
                await asyncio.gather(stream.recv(), return_exceptions=False)
                await asyncio.gather(stream.recv(), return_exceptions=False)
            except naquid.ConnectionLost:
                await tidy_up("read in a task")

        @app.stream("waits")
        async def waits(stream: naquid.Stream) -> None:
            await stream.connection.wait_closed()
            await tidy_up("waited")

        @app.stream("sleeps")
        async def sleeps(stream: naquid.Stream) -> None:
            await tidy_up("slept")

        names = ("reads", "reads in a task", "waits", "sleeps")
        async with bench.serve(app) as server:
            conn = await bench.connect(server.port)
            for name in names:
                (await conn.open_stream(name)).send_nowait(b"")
            await until(lambda: len(server._tasks) == 4)
            conn.abort(9)
            await until(lambda: ends)
            for _ in range(20):
                await asyncio.sleep(0)
            assert ends == ["slept cancelled"]
            assert len(server._tasks) == 3
            may_end.set()
            await until(lambda: not server._tasks)
            assert sorted(ends) == ["read", "read in a task", "slept cancelled", "waited"]

    run(main)


def test_a_stream_that_is_reset_ends_its_handler(run: Variant, bench: Bench) -> None:
    """By either side; a handler that resets its own stream goes on."""

    async def main() -> None:
        ends: list[str] = []
        streams: dict[str, naquid.Stream] = {}
        app = naquid.Handlers()

        @app.stream("sleeps")
        async def sleeps(stream: naquid.Stream) -> None:
            name = (await stream.recv() or b"").decode()
            streams[name] = stream
            try:
                if name == "own":
                    stream.reset(1)
                    await asyncio.sleep(0.01)
                    ends.append("own went on")
                else:
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append(name)
                raise

        async with bench.pair(app) as (server, conn):
            opened = {}
            for name in ("peer", "local", "own"):
                opened[name] = await conn.open_stream("sleeps")
                opened[name].send_nowait(name.encode())
            await until(lambda: "own went on" in ends)
            await until(lambda: len(streams) == 3)
            opened["peer"].reset(5)
            await until(lambda: "peer" in ends)
            streams["local"].reset(5)
            await until(lambda: "local" in ends)
            await until(lambda: not server._tasks)

    run(main)


def test_a_reset_of_one_direction_leaves_the_other(run: Variant, bench: Bench) -> None:
    """To a handler that waits for the end of both, while another task uses the stream."""

    async def main() -> None:
        taken: list[naquid.RawStream] = []
        ends: list[str] = []
        app = naquid.Handlers()

        @app.raw_stream("both")
        async def take(stream: naquid.RawStream) -> None:
            taken.append(stream)
            await asyncio.gather(stream.wait_closed())
            ends.append("closed")

        async with bench.pair(app) as (_, conn):
            for resets in ("peer", "local"):
                stream = await conn.open_raw_stream("both")
                stream.write(b"x")
                await until(lambda: taken)
                other = taken.pop()
                resetter, writer = (stream, other) if resets == "peer" else (other, stream)
                resetter.reset(7)
                with pytest.raises(naquid.StreamReset):
                    await writer.read(-1)
                writer.write(b"the other direction")
                writer.write_eof()
                got = await resetter.read(-1)
                assert got.removeprefix(b"x") == b"the other direction"
                await until(lambda: ends == ["closed"])
                ends.clear()

    run(main)


def test_a_stream_that_has_ended_in_order_lets_its_handler_work(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        got: list[bytes] = []
        may_end = asyncio.Event()
        app = naquid.Handlers()

        @app.raw_stream("upload")
        async def upload(stream: naquid.RawStream) -> None:
            data = await stream.read(-1)
            stream.close()
            await may_end.wait()
            got.append(data)

        async with bench.serve(app) as server:
            async with bench.connect(server.port) as conn:
                stream = await conn.open_raw_stream("upload")
                stream.write(b"all of it")
                stream.write_eof()
                await stream.wait_closed()
                assert len(server._tasks) == 1
            await until(lambda: not server.connections)
            may_end.set()
            await until(lambda: not server._tasks)
            assert got == [b"all of it"]

    run(main)


def test_a_reset_that_came_with_the_stream(run: Variant, bench: Bench) -> None:
    """One direction ended before the handler took its first step: who then waits for the end of both goes on."""
    ended: list[str] = []
    app = naquid.Handlers()

    @app.raw_stream("half")
    async def half(stream: naquid.RawStream) -> None:
        stream.write(b"answer")
        try:
            await stream.wait_closed()
            ended.append("closed")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            for _ in range(20):
                stream = await conn.open_raw_stream("half")
                stream.write(b"x")
                conn.flush()
                stream.reset(7)
                assert await stream.readexactly(6) == b"answer"
                stream.stop_sending(1)
            await until(lambda: len(ended) == 20)
            assert set(ended) == {"closed"}

    run(main)
