"""What a program attaches to connections and streams: conn.data, stream.data, rpc.data."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from harness import Bench, Variant, until

import naquid


class Thing:
    """Something that a weak reference can be made to."""

    def __init__(self) -> None:
        self.owner: Any = None


def app_that_counts() -> naquid.Handlers:
    """Its handlers keep their state in `data` only."""
    app = naquid.Handlers()

    @app.on_connect
    def hello(conn: naquid.Connection) -> None:
        assert conn.data is None
        conn.data = {"requests": 0}

    @app.rpc("count")
    def count(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        rpc.data = (rpc.data or 0) + 1
        rpc.connection.data["requests"] += 1
        return b"%d of %d" % (rpc.data, rpc.connection.data["requests"])

    @app.stream("seen")
    async def seen(stream: naquid.Stream) -> None:
        assert stream.data is None
        stream.data = []
        async for record in stream:
            stream.data.append(record)
            await stream.send(b",".join(stream.data))

    @app.raw_stream("bytes")
    async def raw(stream: naquid.RawStream) -> None:
        assert stream.data is None
        stream.data = await stream.read(-1)
        stream.write(stream.data[::-1])

    return app


def test_each_object_has_its_own(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app_that_counts()) as (server, conn):
            one, two = await conn.open_rpc("count"), await conn.open_rpc("count")
            assert conn.data is one.data is two.data is None
            conn.data, one.data, two.data = "conn", "one", two
            assert await one.call(1) == b"1 of 1"
            assert await two.call(1) == b"1 of 2"
            assert await one.call(1) == b"2 of 3"
            assert (conn.data, one.data, two.data) == ("conn", "one", two)
            two.data = None
            assert two.data is None
            records = await conn.open_stream("seen")
            raw = await conn.open_raw_stream("bytes")
            assert records.data is raw.data is None
            records.data, raw.data = 1, 2
            await records.send(b"a")
            await records.send(b"b")
            assert [await records.recv(), await records.recv()] == [b"a", b"a,b"]
            raw.write(b"abc")
            raw.write_eof()
            assert await raw.read(-1) == b"cba"
            assert (records.data, raw.data) == (1, 2)
            assert [each.data for each in server.connections] == [{"requests": 3}]

    run(main)


def test_it_is_there_until_the_end_and_freed_with_its_object(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    ends: list[object] = []
    things: list[weakref.ref[Thing]] = []

    @app.on_connect
    def hello(conn: naquid.Connection) -> None:
        conn.data = Thing()
        things.append(weakref.ref(conn.data))

    @app.on_disconnect
    def bye(conn: naquid.Connection, error: Exception | None) -> None:
        ends.append(type(conn.data))

    async def main() -> None:
        async with bench.serve(app) as server:
            conn = await bench.connect(server.port)
            await until(lambda: server.connections)
            await conn.close()
            await until(lambda: ends == [Thing])
            assert conn.data is None
            await until(lambda: gc.collect() >= 0 and things[0]() is None)

    run(main)
    assert ends == [Thing]


def test_what_refers_back_is_freed(run: Variant, bench: Bench) -> None:
    """Cycles through `data`, by an object and by a tuple, which only its owner's part can break."""

    async def main() -> None:
        async with bench.serve(app_that_counts()) as server:
            conn = await bench.connect(server.port)
            rpc = await conn.open_rpc("count")
            thing = Thing()
            thing.owner = conn
            conn.data = thing
            rpc.data = (rpc, conn)
            held = [weakref.ref(conn), weakref.ref(rpc), weakref.ref(thing)]
            await conn.close()
            del conn, rpc, thing
            await until(lambda: gc.collect() >= 0 and not any(ref() for ref in held))

    run(main)


def test_it_outlives_a_loss(run: Variant, bench: Bench) -> None:
    """A connection that comes back is the same object, and its RPC stream stands for the new one."""
    seen: list[object] = []
    client_app = naquid.Handlers()

    @client_app.rpc("count")
    def asked(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        seen.append(rpc.data)
        return b"here"

    app = naquid.Handlers()

    @app.rpc("count")
    async def ask_back(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return await rpc.call(1)

    async def main() -> None:
        async with bench.serve(app) as server:
            backoff = naquid.Backoff(initial=0.0, jitter=0.0)
            async with bench.connect(server.port, client_app, reconnect=backoff) as conn:
                rpc = await conn.open_rpc("count")
                conn.data, rpc.data = "conn", "before"
                assert await rpc.call(1) == b"here"
                lost = server.connections
                for each in lost:
                    each.abort(1)
                await until(lambda: server.connections - lost)
                assert await rpc.call(1) == b"here"
                rpc.data = "after"
                assert await rpc.call(1) == b"here"
                assert conn.data == "conn"

    run(main)
    assert seen == ["before", "before", "after"]
