"""The cases of test_user_code.py: what a method calls of the user's closes the engine of the event loop.

Arguments: certificate, key, authority, then the methods whose cases are to run. A line is told for each case.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import user_code
from aio_apps import never
from harness import Bench, engine

import naquid

GC_STEPS = 7
Act = Callable[[], object]
Case = tuple[str, Callable[..., Any], tuple[Any, ...]]


class Seconds:
    """A float of the user's own kind."""

    def __init__(self, act: Act) -> None:
        self.act = act

    def __float__(self) -> float:
        self.act()
        return 30.0


class Name(str):
    act: Act

    def encode(self, *args: Any) -> bytes:
        self.act()
        return str(self)[:].encode()


class Issued:
    def __init__(self, cert: str, key: str, ca: str) -> None:
        self.cert = cert
        self.key = key
        self.ca = ca


class World:
    """Both ends of a connection with a stream of each kind, in one event loop."""

    def __init__(self, conn: naquid.Connection) -> None:
        self.conn = conn
        self.acted = 0
        self.replies: list[int] = []
        self.loop = engine()

    async def open(self, asked: asyncio.Queue[Any]) -> None:
        self.rpc = await self.conn.open_rpc("silent")
        self.stream = await self.conn.open_stream("sink")
        self.raw = await self.conn.open_raw_stream()
        self.rpc.call_soon(1, b"to be replied to", lambda result, data: None)
        self.peer, self.msgid, self.deferred = await asked.get()
        self.loop = engine()

    def act(self) -> None:
        self.acted += 1
        if self.acted == 1:
            self.loop.close()

    def on_reply(self, result: int, data: bytes) -> None:
        self.replies.append(result)


def payload_cases(w: World, fn: Callable[..., Any], *before: Any, after: tuple[Any, ...] = ()) -> Iterator[Case]:
    yield "get", fn, (*before, user_code.buffer(get=w.act), *after)
    yield "release", fn, (*before, user_code.buffer(release=w.act), *after)
    yield "gc", fn, (*before, b"x", *after)


def cases(name: str, w: World) -> Iterator[Case]:
    rpc, conn = w.rpc, w.conn
    get = user_code.buffer(get=w.act)
    release = user_code.buffer(release=w.act)

    def lazily() -> Iterator[bytes]:
        yield b"a"
        w.act()
        yield b"b"

    if name == "call":
        yield from payload_cases(w, rpc.call, 1)
        yield "float", rpc.call, (1, b"x", Seconds(w.act))
    elif name == "call_soon":
        yield from payload_cases(w, rpc.call_soon, 1, after=(w.on_reply,))
        yield "float", rpc.call_soon, (1, b"x", w.on_reply, Seconds(w.act))
    elif name == "call_many":
        rows = [b"r"] * 70  # more than are given to the engine at once
        yield "get", rpc.call_many, (1, [*rows, get, b"c"])
        yield "release", rpc.call_many, (1, [*rows, release, b"c"])
        yield "release last", rpc.call_many, (1, [release])
        yield "gc", rpc.call_many, (1, [*rows, b"b"])
        yield "none gc", rpc.call_many, (1, [])
        yield "iterator", rpc.call_many, (1, lazily())
        yield "float", rpc.call_many, (1, [b"a"], Seconds(w.act))
    elif name == "notify":
        yield from payload_cases(w, rpc.notify, 1)
    elif name == "reply":
        too_big = b"x" * 3000
        for fn in (w.peer.reply, w.peer.reply_error):
            yield from ((f"{way} {fn.__name__}", fn, args) for way, fn, args in payload_cases(w, fn, w.msgid))
            yield f"hook {fn.__name__}", fn, (w.msgid, too_big)
        for fn in (w.deferred.reply, w.deferred.error):
            yield from ((f"{way} deferred {fn.__name__}", fn, args) for way, fn, args in payload_cases(w, fn))
            yield f"hook deferred {fn.__name__}", fn, (too_big,)
    elif name == "send_nowait":
        yield from payload_cases(w, w.stream.send_nowait)
    elif name == "write":
        yield from payload_cases(w, w.raw.write)
    elif name == "send_datagram":
        yield from payload_cases(w, conn.send_datagram)
    elif name == "open":
        evil = Name("sink")
        evil.act = w.act
        kinds = ((naquid.RawStream, 0, None), (naquid.Stream, 1, "sink"), (naquid.Rpc, 2, "silent"))
        for cls, kind, known in kinds:
            yield f"gc {kind}", conn._open_stream, (cls, kind, known, False, 30.0)
            if kind:
                yield f"name {kind}", conn._open_stream, (cls, kind, evil, False, 30.0)
                yield f"float {kind}", conn._open_stream, (cls, kind, known, False, Seconds(w.act))
        yield "gc uni", conn._open_stream, (naquid.RawStream, 0, None, True, 30.0)
    elif name == "other":
        yield "ping gc", conn._ping, ()
        yield "reset gc", w.raw.reset, ()
        yield "stop gc", w.raw.stop_sending, ()
        yield "close gc", w.stream.close, ()
        yield "conn close gc", conn._close, (0, "", False)
        yield "flush gc", conn.flush, ()
        yield "info gc", conn._info, ()
    else:
        raise ValueError(name)


async def run(bench: Bench, name: str, wanted: int, step: int) -> str | None:
    """Runs the wanted case of the method; its way, None when there is no such case."""
    asked: asyncio.Queue[Any] = asyncio.Queue()
    hooked = False
    app = naquid.Handlers()

    @app.rpc("silent")
    def silent(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        asked.put_nowait((rpc, rpc.current_msgid, rpc.defer()))

    @app.on_error
    def failed(error: Exception, info: naquid.ErrorInfo) -> None:
        if hooked:
            w.act()

    @app.stream("sink")
    async def sink(stream: naquid.Stream) -> None:
        async for _ in stream:
            pass

    @app.raw_stream
    async def raw_sink(stream: naquid.RawStream) -> None:
        while await stream.read():
            pass

    app.datagram(lambda conn, data: None)
    limits = naquid.Limits(max_message_size=2000)
    server = await bench.serve(app, limits=limits)
    conn = await bench.connect(server.port, limits=limits)
    try:
        w = World(conn)
        await w.open(asked)
        chosen = next((case for i, case in enumerate(cases(name, w)) if i == wanted), None)
        if chosen is None:
            return None
        way, fn, args = chosen
        raised = later = None
        result: Any = None

        def call(*args: Any) -> None:
            nonlocal result
            result = fn(*args)

        await asyncio.sleep(0)  # a new turn of the event loop, which the call begins
        try:
            hooked = way.startswith("hook")
            if "gc" in way:
                user_code.at_allocation(step, w.act, call, *args)
            else:
                call(*args)
        except naquid.Error as error:
            raised = type(error).__name__
        except TypeError as error:
            raised = repr(error)
        finally:
            hooked = False
        if name in ("call", "call_many") and result is not None:
            try:
                later = repr(await asyncio.wait_for(result, 20))
            except naquid.Error as error:
                later = type(error).__name__
        for _ in range(3):
            await asyncio.sleep(0)
        user_code.report(f"{name} {way} {step}", [raised, later, w.replies, w.acted > 0, w.loop.closed])
    finally:
        engine().close()  # as an event loop's end does it: nobody waits for anything
        server._end_all()
    return way


async def race(bench: Bench, pause: float) -> None:
    """Another thread closes the engine while this one begins turns."""
    app = naquid.Handlers()
    app.rpc("silent")(never)
    server = await bench.serve(app)
    conn = await bench.connect(server.port)
    rpc = await conn.open_rpc("silent")
    loop = engine()
    replies: list[int] = []
    sent = 0

    def close() -> None:
        time.sleep(pause)
        loop.close()

    thread = threading.Thread(target=close)
    thread.start()
    raised = None
    while raised is None:
        try:
            rpc.call_soon(1, b"x", lambda result, data: replies.append(result))
            sent += 1
        except naquid.Error as error:
            raised = type(error).__name__
        await asyncio.sleep(0)
    thread.join()
    server._end_all()
    user_code.report(f"race {pause}", [raised, set(replies) <= {naquid.EGOAWAY}, len(replies) == sent, loop.closed])


def main(cert: str, key: str, ca: str, names: list[str]) -> None:
    issued = Issued(cert, key, ca)
    bench = Bench(issued, issued)
    for name in names:
        if name == "race":
            for i in range(20):
                asyncio.run(race(bench, i * 0.0005))
            continue
        i = 0
        while (way := asyncio.run(run(bench, name, i, 0))) is not None:
            if "gc" in way:
                for step in range(1, GC_STEPS):
                    asyncio.run(run(bench, name, i, step))
            i += 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
