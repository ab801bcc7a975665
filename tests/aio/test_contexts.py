"""Every handler of a connection runs in the `contextvars` context of that connection."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
from harness import HOST, Bench, OnSim, Variant, until

import naquid

user = contextvars.ContextVar("user", default="nobody")


def whose_app(seen: list[tuple[str, str]]) -> naquid.Handlers:
    """Handlers of all kinds, each of which tells whom it sees."""
    app = naquid.Handlers()

    def note(kind: str) -> None:
        seen.append((kind, user.get()))

    @app.on_connect
    def connected(conn: naquid.Connection) -> None:
        note("on_connect")
        user.set("connected")

    @app.on_disconnect
    async def gone(conn: naquid.Connection, error: Exception | None) -> None:
        note("on_disconnect")

    @app.rpc("plain")
    def plain(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        note("plain")
        user.set(payload.decode())
        return b""

    @app.rpc("coroutine")
    async def coroutine(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        note("coroutine")
        user.set("coroutine")
        await asyncio.sleep(0)
        assert user.get() == "coroutine"
        return b""

    @app.rpc_notify("plain")
    def news(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        note("notification")

    @app.rpc_batch("batch")
    def batch(batch: naquid.RpcBatch) -> list[bytes]:
        note("batch")
        return [b""] * len(batch)

    @app.stream("stream")
    async def stream(stream: naquid.Stream) -> None:
        note("stream")

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        note("datagram")

    return app


def test_a_connection_has_one_context_for_all_its_handlers(run: Variant, bench: Bench) -> None:
    seen: list[tuple[str, str]] = []

    async def main() -> None:
        user.set("server")
        async with bench.serve(whose_app(seen)) as server:
            user.set("client")
            conn = await bench.connect(server.port)
            plain = await conn.open_rpc("plain")
            await plain.call(1, b"alice")
            for name in ("coroutine", "batch"):
                await (await conn.open_rpc(name)).call(1)
            plain.notify(1)
            stream = await conn.open_stream("stream")
            await stream.send(b"")
            conn.send_datagram(b"x")
            await until(lambda: len(seen) == 7)
            other = await bench.connect(server.port)
            await (await other.open_rpc("plain")).call(1, b"bob")
            await other.close()
            await until(lambda: ("on_disconnect", "bob") in seen)
            await conn.close()
            await until(lambda: len(seen) == 11)

    run(main)
    assert seen[:4] == [
        ("on_connect", "server"),
        ("plain", "connected"),
        ("coroutine", "alice"),
        ("batch", "alice"),
    ]
    assert sorted(seen[4:7]) == [("datagram", "alice"), ("notification", "alice"), ("stream", "alice")]
    assert seen[7:] == [
        ("on_connect", "server"),
        ("plain", "connected"),
        ("on_disconnect", "bob"),
        ("on_disconnect", "alice"),
    ]
    assert user.get() == "nobody"


def test_the_context_is_an_argument(run: Variant, bench: Bench) -> None:
    """A copy of it is made for each connection; what a client's callbacks of replies see is their connection's."""
    seen: list[tuple[str, str]] = []
    replies: list[str] = []

    async def main() -> None:
        given = contextvars.Context()
        given.run(user.set, "given")
        serving = naquid.serve(whose_app(seen), HOST, 0, cert=bench.leaf.cert, key=bench.leaf.key, context=given)
        async with serving as server, naquid.connect(HOST, server.port, ca=bench.ca.ca, context=given) as conn:
            rpc = await conn.open_rpc("plain")
            user.set("caller")
            given.run(user.set, "changed")

            def on_reply(result: int, payload: bytes) -> None:
                replies.append(user.get())
                user.set("replied")

            rpc.call_soon(1, b"x", on_reply)
            await until(lambda: len(replies) == 1)
            rpc.call_soon(1, b"x", on_reply)
            await until(lambda: len(replies) == 2)
            assert user.get() == "caller"
            assert given.run(user.get) == "changed"
            async with bench.connect(server.port) as other:
                await (await other.open_rpc("plain")).call(1, b"")
        with pytest.raises(naquid.ConfigError, match="context"):
            naquid.connect(HOST, 1, context={})  # type: ignore[arg-type]

    run(main)
    assert replies == ["given", "replied"]
    assert [who for kind, who in seen if kind == "on_connect"] == ["given", "changed"]


def test_no_handler_sees_the_task_that_began_the_turn(run: Variant, bench: Bench) -> None:
    """A handler that sends begins a turn of the engine, in which what came meanwhile is handled, too."""
    seen: dict[str, str] = {}
    app = naquid.Handlers()
    other_side_may_send = threading.Event()
    other_side_has_sent = threading.Event()

    @app.rpc("first")
    async def first(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        user.set("alice")
        other_side_may_send.set()
        other_side_has_sent.wait(30)  # the event loop stands still: what comes now is found by the turn that follows
        rpc.notify(1, b"progress")
        await asyncio.sleep(0)
        return b""

    @app.rpc("coroutine")
    async def coroutine(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        seen["coroutine"] = user.get()
        return b""

    @app.rpc("plain")
    def plain(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        seen["plain"] = user.get()
        return b""

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        seen["datagram"] = user.get()

    def other_side(port: int) -> None:
        async def go() -> None:
            async with bench.connect(port) as one, bench.connect(port) as two:
                rpc = await one.open_rpc("first")
                coroutine, plain = await two.open_rpc("coroutine"), await two.open_rpc("plain")
                answer = asyncio.ensure_future(rpc.call(1))
                await asyncio.to_thread(other_side_may_send.wait, 30)
                calls = [asyncio.ensure_future(rpc.call(1)) for rpc in (coroutine, plain)]
                two.send_datagram(b"x")
                await asyncio.sleep(0)
                two.flush()
                other_side_has_sent.set()
                await asyncio.gather(answer, *calls)

        asyncio.run(go())

    async def main() -> None:
        async with bench.serve(app) as server:
            await asyncio.to_thread(other_side, server.port)
            await until(lambda: len(seen) == 3)

    run(main)
    assert seen == {"coroutine": "nobody", "plain": "nobody", "datagram": "nobody"}


def test_a_batch_of_several_connections_has_the_context_of_none(run_sim: OnSim, bench: Bench) -> None:
    """It is that of the server, anew each time."""
    seen: list[tuple[int, str]] = []
    app = naquid.Handlers()

    @app.on_connect
    def connected(conn: naquid.Connection) -> None:
        user.set("connection")

    @app.rpc_batch("batch")
    def batch(batch: naquid.RpcBatch) -> list[bytes]:
        seen.append((len(batch), user.get()))
        user.set("batch")
        return [b""] * len(batch)

    async def main() -> None:
        user.set("server")
        async with bench.serve(app) as server, bench.connect(server.port) as a, bench.connect(server.port) as b:
            first, second = await a.open_rpc("batch"), await b.open_rpc("batch")
            await first.call(1)
            await first.call(1)
            for _ in range(2):
                await asyncio.gather(first.call(1), second.call(1))
            await second.call(1)

    run_sim(main)
    assert seen == [(1, "connection"), (1, "batch"), (2, "server"), (2, "server"), (1, "connection")]


def test_a_task_that_goes_on_with_a_reply_keeps_its_context(run: Variant, bench: Bench) -> None:
    """It goes on inside the dispatch, between handlers of connections."""
    app = naquid.Handlers()
    app.rpc("echo")(lambda rpc, type, payload: payload)
    heard: list[str] = []
    peer = naquid.Handlers()

    @peer.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        heard.append(user.get())
        user.set("peer")

    @app.datagram
    def back(conn: naquid.Connection, data: bytes) -> None:
        conn.send_datagram(data)

    async def main() -> None:
        user.set("before")
        async with bench.pair(app, peer) as (_, conn):
            rpc = await conn.open_rpc("echo")

            async def ask(name: str) -> None:
                user.set(name)
                for number in range(50):
                    conn.send_datagram(b"x")
                    assert await rpc.call(1, b"%d" % number) == b"%d" % number
                    assert user.get() == name

            await asyncio.gather(*(ask(f"task {number}") for number in range(8)))
            assert user.get() == "before"

    run(main)
    assert heard[0] == "before"
    assert set(heard[1:]) == {"peer"}
