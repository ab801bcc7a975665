"""Large bytes are sent without a copy: the stream holds a reference to them, as long as it needs it and no longer."""

from __future__ import annotations

import array
import asyncio
import gc
import mmap
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aio_apps import Held, raw_echo, record_echo
from harness import Bench, Variant, ends_well, noise, until

import naquid
from naquid.testing import Relay

KIB = 1 << 10
MIB = 1 << 20
LENT = 64 * KIB
"""Bytes from which on they are not copied."""
LIMITS = naquid.Limits(stream_window=128 * KIB, idle_timeout=20)
"""Of a receiver: more than this and the 256 KiB that may wait unread is not acknowledged."""


class References:
    """How many references to an object there are, beside those there were at `here()`."""

    def __init__(self, held: object) -> None:
        self.held = held
        self.before = 0

    def here(self) -> References:
        self.before = sys.getrefcount(self.held)
        return self

    @property
    def more(self) -> int:
        return sys.getrefcount(self.held) - self.before


def test_bytes_are_kept_until_acknowledged(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        held = Held()
        async with bench.pair(held.app, server={"limits": LIMITS}) as (_, conn):
            stream = await conn.open_raw_stream("raw held")
            data, small = noise(MIB), noise(LENT - 1)
            references, others = References(data).here(), References(small).here()
            stream.write(small)
            assert others.more == 0, "a copy"
            stream.write(data)
            stream.write(data)
            assert references.more == 2
            stream.write(memoryview(data)[7:])
            assert references.more == 3, "of the bytes, and not of the view"
            stream.write(memoryview(data)[: LENT - 1])
            stream.write_eof()
            assert references.more == 3
            for _ in range(20):
                await conn.ping()
            assert references.more == 3, "of none the last byte has arrived"
            peer = await held.first()
            received = await peer.readexactly(len(small) + len(data))
            assert received == small + data
            await until(lambda: references.more <= 2)
            assert await peer.read() == data + data[7:] + data[: LENT - 1]
            await until(lambda: stream.queued == 0)
            await until(lambda: references.more == 0)
            held.free()

    run(main)


@pytest.mark.parametrize("size", [LENT - 1, LENT, LENT + 1, MIB])
def test_records(run: Variant, bench: Bench, size: int) -> None:
    async def main() -> None:
        async with bench.pair(record_echo()) as (_, conn):
            stream = await conn.open_stream("echo")
            data = noise(size)
            view = memoryview(b"--" + data)[2:]
            references = References(data).here()
            for _ in range(3):
                stream.send_nowait(data)
                stream.send_nowait(b"between")
                stream.send_nowait(view)
            assert references.more == (3 if size >= LENT else 0)
            for _ in range(3):
                assert await stream.recv() == data
                assert await stream.recv() == b"between"
                assert await stream.recv() == data
            await until(lambda: stream.queued == 0)
            await until(lambda: references.more == 0)

    run(main)


class Subclass(bytes):
    pass


def mapped(data: bytes) -> mmap.mmap:
    area = mmap.mmap(-1, len(data))
    area[:] = data
    return area


CHANGEABLE: dict[str, Callable[[bytes], Any]] = {
    "bytearray": bytearray,
    "view": lambda data: memoryview(bytearray(data)),
    "read-only view": lambda data: memoryview(bytearray(data)).toreadonly(),
    "array": lambda data: array.array("B", data),
    "mmap": mapped,
}


@pytest.mark.parametrize("kind", CHANGEABLE)
def test_what_can_change_is_copied(run: Variant, bench: Bench, kind: str) -> None:
    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            data = noise(MIB)
            given = CHANGEABLE[kind](data)
            references = References(given).here()
            stream.write(given)
            assert references.more == 0
            base = given.obj if isinstance(given, memoryview) else given
            base[:] = type(base)("B", bytes(MIB)) if kind == "array" else bytes(MIB)  # type: ignore[call-arg, index]
            assert await stream.readexactly(MIB) == data

    run(main)


def test_a_subclass_is_copied(run_once: Variant, bench: Bench) -> None:
    """It may have a buffer of another kind one day; the plain type has not."""

    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            data = Subclass(noise(MIB))
            references = References(data).here()
            stream.write(data)
            assert references.more == 0
            assert await stream.readexactly(MIB) == data

    run_once(main)


def test_a_view_may_be_released(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(raw_echo()) as (_, conn):
            stream = await conn.open_raw_stream()
            view = memoryview(noise(MIB))
            stream.write(view)
            view.release()
            assert await stream.readexactly(MIB) == noise(MIB)

    run(main)


def test_what_is_refused_is_not_kept(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        client = naquid.Limits(max_send_queue=2 * MIB, max_message_size=MIB)
        held = Held()
        async with bench.pair(held.app, client={"limits": client}, server={"limits": LIMITS}) as (_, conn):
            raw = await conn.open_raw_stream("raw held")
            records = await conn.open_stream("held")
            data = noise(MIB + 1)
            references = References(data).here()
            with pytest.raises(naquid.MessageTooBig):
                records.send_nowait(data)
            assert references.more == 0
            raw.write(data)
            with pytest.raises(naquid.QueueFull):
                raw.write(data)
            assert references.more == 1
            raw.write_eof()
            with pytest.raises(naquid.StreamClosed):
                raw.write(data)
            assert references.more == 1
            conn.abort()
            await until(lambda: references.more == 0)
            with pytest.raises(naquid.ConnectionLost):
                records.send_nowait(data)
            assert references.more == 0
            held.free()

    run(main)


Ending = Callable[[Any, Any], object]
ENDINGS: dict[str, Ending] = {
    "reset": lambda ours, theirs: (ours.reset(), theirs.close()),
    "stop_sending": lambda ours, theirs: (theirs.stop_sending(), theirs.close()),
    "close": lambda ours, theirs: (ours.close(), theirs.close()),
    "abort": lambda ours, theirs: ours.connection.abort(),
    "aborted": lambda ours, theirs: theirs.connection.abort(),
    "closed": lambda ours, theirs: theirs.connection.close(5, "enough"),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["raw", "record"])
def test_every_ending_frees(run: Variant, bench: Bench, ending: str, kind: str) -> None:
    async def main() -> None:
        held = Held()
        data = noise(MIB)
        references = References(data).here()
        async with bench.pair(held.app, server={"limits": LIMITS}) as (_, conn):
            if kind == "raw":
                stream: Any = await conn.open_raw_stream("raw held")
                stream.write(b"first")
                stream.write(data)
                stream.write(memoryview(data))
            else:
                stream = await conn.open_stream("held")
                stream.send_nowait(b"first")
                stream.send_nowait(data)
                stream.send_nowait(memoryview(data))
            peer = await held.first()
            for _ in range(5):
                await conn.ping()
            assert references.more == 2 or (kind == "record" and references.more == 1), "one record may have arrived"
            result = ENDINGS[ending](stream, peer)
            if asyncio.iscoroutine(result):
                await result
            await until(lambda: references.more == 0)
            held.free()

    run(main)


def test_a_lost_connection_frees(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        held = Held()
        data = noise(MIB)
        references = References(data).here()
        async with bench.serve(held.app, limits=LIMITS) as listening:
            with Relay(("127.0.0.1", listening.port)) as relay:
                conn = await bench.connect(relay.address[1], limits=naquid.Limits(idle_timeout=0.5))
                stream = await conn.open_raw_stream("raw held")
                relay.cut()
                stream.write(data)
                assert references.more == 1
                await conn.wait_closed()
                await until(lambda: references.more == 0)
            held.free()

    run(main)


def test_the_end_of_the_loop_frees(run: Variant, bench: Bench) -> None:
    data = noise(MIB)
    references = References(data).here()

    async def main() -> None:
        held = Held()
        async with bench.pair(held.app, server={"limits": LIMITS}) as (_, conn):
            stream = await conn.open_raw_stream("raw held")
            stream.write(data)
            (await held.first()).write(data)
            assert references.more == 2
            held.free()

    run(main)
    assert references.more == 0


def test_what_is_passed_on(run: Variant, bench: Bench) -> None:
    """A proxy: views of what was received are sent without a copy as well, and go with it."""

    async def main() -> None:
        data = noise(2 * MIB)
        app = naquid.Handlers()

        @app.raw_stream
        async def echo(stream: naquid.RawStream) -> None:
            while view := await stream.read_view(1 << 18):
                stream.write(view)
                del view
                await stream.drain()

        async with bench.pair(app) as (_, conn):
            stream = await conn.open_raw_stream()
            stream.write(data)
            assert await stream.readexactly(len(data)) == data
            stream.write_eof()
            assert await stream.read() == b""
            await stream.wait_closed()
        gc.collect()

    def parts() -> int:
        return len([each for each in gc.get_objects() if type(each).__name__ == "ReceivedBytes"])

    before = parts()
    run(main)
    gc.collect()
    assert parts() == before


def test_callers_wait_as_before(run: Variant, bench: Bench) -> None:
    """The watermarks count what is lent."""

    async def main() -> None:
        held = Held()
        limits = naquid.Limits(send_high=MIB, send_low=MIB // 2)
        async with bench.pair(held.app, client={"limits": limits}, server={"limits": LIMITS}) as (_, conn):
            stream = await conn.open_raw_stream("raw held")
            data = noise(4 * MIB)
            stream.write(data)
            assert stream.queued >= 4 * MIB
            assert conn.stats().queued >= 4 * MIB
            draining: Awaitable[None] = asyncio.ensure_future(stream.drain())
            for _ in range(5):
                await conn.ping()
            assert not draining.done()  # type: ignore[attr-defined]
            peer = await held.first()
            assert await peer.readexactly(len(data)) == data
            await draining
            assert stream.queued <= MIB // 2
            held.free()

    run(main)


LEFT = """
import asyncio, random, sys
import naquid

async def main():
    app = naquid.Handlers()
    taken = []
    @app.raw_stream
    async def never(stream):
        taken.append(stream)
        await asyncio.sleep(1000)
    limits = naquid.Limits(stream_window=128 << 10)
    cert, key, ca = sys.argv[1:]
    server = await naquid.serve(app, "127.0.0.1", 0, cert=cert, key=key, config=naquid.ServerConfig(limits=limits))
    conn = await naquid.connect("127.0.0.1", server.port, ca=ca)
    stream = await conn.open_raw_stream()
    data = random.randbytes(1 << 20)
    before = sys.getrefcount(data)
    stream.write(data)
    stream.write(memoryview(data))
    for _ in range(5):
        await conn.ping()
    assert sys.getrefcount(data) == before + 2
    taken[0].write(data)
    return server, conn, stream

loop = asyncio.new_event_loop()
kept = loop.run_until_complete(main())
"""


def test_the_end_of_the_interpreter(leaf: Any, ca: Any) -> None:
    """Nothing is closed, nothing is waited for."""
    ends_well(LEFT, leaf.cert, leaf.key, ca.ca)
