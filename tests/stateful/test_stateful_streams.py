"""Streams against a model: random writes, reads, ends, resets and cancellations on both sides, over a bad network.

The model keeps what each side has written and read of each direction of each stream, and what may come next. Everything
is driven one step at a time, but both sides and the network go on between the steps whenever a step waits.

NAQUID_STATEFUL_EXAMPLES: runs of up to 50 steps (default 100, always the same ones; any other number: random ones).
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

import pytest
from harness import HOST, noise, settled, until
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

import naquid
import naquid.event_loop
from naquid.testing import Authority, Relay

PATIENCE = 20.0
T = TypeVar("T")
EXAMPLES = int(os.environ.get("NAQUID_STATEFUL_EXAMPLES", "0"))
LIMITS = naquid.Limits(
    stream_window=32 << 10,
    connection_window=128 << 10,
    send_high=24 << 10,
    send_low=8 << 10,
    max_streams_bidi=10,
    idle_timeout=300,
)
"""Small, so that what takes megabytes elsewhere happens here: full windows, full queues."""
SPEAKING = dataclasses.replace(LIMITS, keep_alive=0.02)
"""The client's: it tells the server of its new port also when it has nothing else to say."""
HELLO = 4  # bytes
MOST_QUEUED = 1 << 20  # of one direction: bounds the time a run takes
CALM = {"loss": 0.0, "duplicate": 0.0, "reorder": 0.0, "delay": 0.0}
CODES = st.sampled_from([0, 1, 7, 0x1234, (1 << 62) - 1])
SIZES = st.sampled_from([0, 1, 2, 100, 1200, 5000, 16384, 40_000, 70_000])

certificates: Authority
leaf: Any


@pytest.fixture(scope="module", autouse=True)
def made(tmp_path_factory: pytest.TempPathFactory) -> None:
    global certificates, leaf
    certificates = Authority(tmp_path_factory.mktemp("stateful"))
    leaf = certificates.issue()


class Way:
    """The model of one direction of a stream: `writer` writes to `reader`, both are streams of naquid."""

    def __init__(self, stream: Both, writer: int) -> None:
        self.stream = stream
        self.writer = writer
        self.sent: list[bytes] = []  # raw: pieces; records: records
        self.raw = stream.kind != "record"
        self.written = 0
        self.read = 0  # bytes, or records
        self.data = bytearray()
        self.finished = False
        self.reset: set[int] = set()  # the codes that the reader may see instead of the rest
        self.stopped: int | None = None  # the reader asked to stop
        self.closed_by_reader = False
        self.over = False  # the reader has seen the end

    @property
    def left(self) -> int:
        """What the reader has not got yet: bytes or records."""
        return (len(self.data) if self.raw else len(self.sent)) - self.read

    @property
    def broken(self) -> bool:
        """The rest need not arrive."""
        return bool(self.reset) or self.stopped is not None or self.closed_by_reader

    @property
    def may_write(self) -> bool:
        return not self.finished and not self.reset

    def wrote(self, piece: bytes) -> None:
        self.sent.append(piece)
        self.data += piece if self.raw else b""
        self.written += len(piece)

    def got(self, piece: bytes) -> None:
        """The next of what was written, exactly."""
        if self.raw:
            assert piece == self.data[self.read : self.read + len(piece)], f"at {self.read} of {self}"
            self.read += len(piece)
        else:
            assert self.left > 0, f"a record that was never sent on {self}: {len(piece)} bytes"
            assert piece == self.sent[self.read], f"record {self.read} of {self}"
            self.read += 1

    def ended(self) -> None:
        assert self.finished, f"an end that nobody sent on {self}"
        assert self.left == 0, f"an end with {self.left} left on {self}"
        self.over = True

    def failed(self, error: Exception) -> None:
        """The reader's read raised: was there reason to?"""
        if self.stopped is not None or self.closed_by_reader:
            self.over = True
            return
        assert isinstance(error, naquid.StreamReset), f"{error!r} on {self}"
        assert error.code in self.reset, f"{error!r} instead of {self.reset} on {self}"
        self.over = True

    def __repr__(self) -> str:
        return (
            f"<{self.stream.kind} {self.stream.number} from {'client' if self.writer == 0 else 'server'}: "
            f"{len(self.sent)} pieces of {self.written} bytes, {self.read} read, finished={self.finished} "
            f"reset={self.reset} stopped={self.stopped} closed={self.stream.closed}>"
        )


class Both:
    """A stream: its two ends (0 the client's, 1 the server's) and the model of its directions."""

    def __init__(self, number: int, kind: str, opener: int, stream: Any) -> None:
        self.number = number
        self.kind = kind
        self.opener = opener
        self.ends: list[Any] = [None, None]
        self.ends[opener] = stream
        self.arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ways = [Way(self, writer) for writer in ((0, 1) if kind != "uni" else (opener,))]
        self.closed = [False, False]

    def way(self, writer: int) -> Way | None:
        return next((way for way in self.ways if way.writer == writer), None)

    async def end(self, side: int) -> Any:
        """The stream object of a side. The other side's is there once the peer knows the stream."""
        if self.ends[side] is None:
            async with asyncio.timeout(PATIENCE):
                self.ends[side] = await asyncio.shield(self.arrived)
        return self.ends[side]


class World:
    """A client and a server in one event loop, and a relay between them in its own thread."""

    def __init__(self, seed: int) -> None:
        self.runner = asyncio.Runner()
        self.seed = seed
        self.streams: dict[int, Both] = {}

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE):
                return await what

        return self.runner.run(bounded())

    def app(self, side: int) -> naquid.Handlers:
        app = naquid.Handlers()

        async def take(stream: Any) -> None:
            if isinstance(stream, naquid.RawStream):
                number = await stream.readexactly(HELLO)
            else:
                number = await stream.recv()
                assert number is not None
            self.streams[int(number)].arrived.set_result(stream)
            await stream.wait_closed()

        app.stream("record")(take)
        app.raw_stream("raw")(take)
        app.uni_stream(take)
        return app

    async def start(self) -> None:
        self.server = await naquid.serve(
            self.app(1), HOST, 0, cert=leaf.cert, key=leaf.key, config=naquid.ServerConfig(limits=LIMITS)
        )
        self.relay = Relay(self.server, seed=self.seed)
        self.client = await naquid.connect(
            HOST, self.relay.port, ca=certificates.ca, app=self.app(0), config=naquid.ClientConfig(limits=SPEAKING)
        )
        await self.client.ping()
        await until(lambda: self.server.connections)
        (self.accepted,) = self.server.connections
        self.conns = [self.client, self.accepted]

    async def open(self, side: int, kind: str) -> Both:
        conn = self.conns[side]
        if kind == "raw":
            stream: Any = await conn.open_raw_stream("raw")
        elif kind == "record":
            stream = await conn.open_stream("record")
        else:
            stream = await conn.open_uni_stream()
        both = Both(len(self.streams), kind, side, stream)
        self.streams[both.number] = both
        # Its first bytes say to the peer which stream it is.
        (stream.send_nowait if kind == "record" else stream.write)(b"%0*d" % (HELLO, both.number))
        return both

    async def stop(self) -> None:
        await self.client.close()
        await self.server.shutdown(grace=0)
        self.relay.close()
        await settled()

    def close(self) -> None:
        self.relay.close()
        self.runner.close()


class Streams(RuleBasedStateMachine):
    ways = Bundle("ways")

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.world = World(seed)
        self.world.run(self.world.start())
        self.all: list[Both] = []

    # ---- opening ----

    def room(self) -> bool:
        return len(self.all) < LIMITS.max_streams_bidi  # opening never waits, whatever has ended by now

    @rule(target=ways, side=st.integers(0, 1), kind=st.sampled_from(["raw", "record", "uni"]), back=st.booleans())
    @precondition(room)
    def open(self, side: int, kind: str, back: bool) -> Way:
        both = self.world.run(self.world.open(side, kind))
        self.all.append(both)
        return both.way(1 - side if back else side) or both.ways[0]

    @rule(target=ways, way=consumes(ways))
    def turn_around(self, way: Way) -> Way:
        return way.stream.way(1 - way.writer) or way

    def writer(self, way: Way) -> Any:
        """The writing end; None when this side does not know the stream yet, and may never."""
        return self.end(way, way.writer)

    def reader(self, way: Way) -> Any:
        return self.end(way, 1 - way.writer)

    def end(self, way: Way, side: int) -> Any:
        both = way.stream
        opener = both.way(both.opener)
        if both.ends[side] is None and not both.arrived.done() and opener is not None and opener.reset:
            return None  # the peer may never hear of it
        return self.world.run(both.end(side))

    # ---- writing ----

    @rule(way=ways, size=SIZES, pieces=st.integers(1, 4))
    def write(self, way: Way, size: int, pieces: int) -> None:
        stream = self.writer(way)
        if stream is None or way.written > MOST_QUEUED:
            return

        async def act() -> None:
            for at in range(pieces):
                piece = noise(size, way.stream.number * 1000 + len(way.sent) + at)
                (stream.write if way.raw else stream.send_nowait)(piece)
                way.wrote(piece)

        error: naquid.Error | None = None
        try:
            self.world.run(act())
        except naquid.StreamError as raised:
            error = raised
        if isinstance(error, naquid.StreamReset):
            assert way.stopped == error.code or way.closed_by_reader, f"{error!r} on {way}"
        elif error is not None:
            assert not way.may_write or way.stopped is not None or way.closed_by_reader, f"{error!r} on {way}"
        else:
            assert way.may_write, f"a write that should have been refused on {way}"

    @rule(way=ways, turns=st.integers(0, 5))
    def drain_and_cancel(self, way: Way, turns: int) -> None:
        stream = self.writer(way)
        if stream is None:
            return

        async def act() -> None:
            tasks = [asyncio.ensure_future(stream.drain()) for _ in range(2)]
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks[0].cancel()
            if stream.queued == 0 or way.left == 0:
                await asyncio.wait(tasks)
            tasks[1].cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, naquid.StreamError):
                    assert way.broken or way.finished, f"{outcome!r} on {way}"
                else:
                    assert outcome is None or isinstance(outcome, asyncio.CancelledError), f"{outcome!r} on {way}"

        self.world.run(act())

    @rule(way=ways)
    def finish(self, way: Way) -> None:
        stream = self.writer(way)
        if stream is not None:
            self.in_loop(stream.write_eof if way.raw else stream.finish)
            if way.may_write:
                way.finished = True

    @rule(way=ways, code=CODES)
    def reset(self, way: Way, code: int) -> None:
        stream = self.writer(way)
        if stream is not None:
            self.in_loop(stream.reset, code)
            way.reset.add(code)  # a second one may or may not go before the first

    @rule(way=ways, code=CODES)
    def stop(self, way: Way, code: int) -> None:
        stream = self.reader(way)
        if stream is not None and way.stopped is None:
            self.in_loop(stream.stop_sending, code)
            way.stopped = code

    @rule(way=ways, side=st.integers(0, 1))
    def close(self, way: Way, side: int) -> None:
        both = way.stream
        stream = self.end(way, side)
        if stream is None:
            return
        self.in_loop(stream.close)
        both.closed[side] = True
        for each in both.ways:
            if each.writer == side:
                each.finished = each.finished or each.may_write
            else:
                each.closed_by_reader = True

    def in_loop(self, act: Any, *args: Any) -> None:
        async def call() -> None:
            act(*args)

        self.world.run(call())

    # ---- reading ----

    async def read_once(self, way: Way, stream: Any, n: int) -> None:
        """One read, which must not wait for ever: something is there, or will be."""
        try:
            if not way.raw:
                record = await stream.recv()
                if record is None:
                    way.ended()
                else:
                    way.got(record)
                return
            piece = await stream.read(n)
            if not piece:
                way.ended()
            way.got(piece)
        except naquid.StreamError as error:
            way.failed(error)

    @rule(way=ways, n=st.sampled_from([1, 100, 5000, 65536, 1 << 20]), times=st.integers(1, 4))
    def read(self, way: Way, n: int, times: int) -> None:
        stream = self.reader(way)
        for _ in range(times):
            if stream is None or way.over or not (way.left or way.finished or way.broken):
                return
            if way.closed_by_reader or way.stopped is not None:
                return  # what was refused may or may not have come before
            self.world.run(self.read_once(way, stream, n))

    @rule(way=ways, n=st.sampled_from([1, 1000, 20_000, 50_000]))
    def read_exactly(self, way: Way, n: int) -> None:
        stream = self.reader(way)
        if stream is None or not way.raw or way.over or way.broken or way.left < n:
            return
        piece = self.world.run(stream.readexactly(n))
        assert len(piece) == n
        way.got(piece)

    @rule(way=ways, turns=st.integers(0, 4), n=st.sampled_from([1, 5000, 100_000]))
    def read_and_cancel(self, way: Way, turns: int, n: int) -> None:
        """A cancelled read has either read or not: nothing is lost."""
        stream = self.reader(way)
        if stream is None or way.over:
            return

        async def act() -> None:
            if way.raw and n > 5000:
                task = asyncio.ensure_future(stream.readexactly(n))
            else:
                task = asyncio.ensure_future(stream.read(n) if way.raw else stream.recv())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            outcome: Any
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcome, asyncio.CancelledError):
                return
            if isinstance(outcome, asyncio.IncompleteReadError):
                way.got(outcome.partial)
                way.ended()
            elif isinstance(outcome, Exception):
                assert isinstance(outcome, naquid.StreamError), outcome
                way.failed(outcome)
            elif outcome is None or (outcome == b"" and way.raw):
                way.ended()
            else:
                way.got(outcome)

        self.world.run(act())

    # ---- the network, and time ----

    @rule(
        loss=st.sampled_from([0.0, 0.02, 0.1]),
        duplicate=st.sampled_from([0.0, 0.1]),
        reorder=st.sampled_from([0.0, 0.1]),
        delay=st.sampled_from([0.0, 0.0, 0.002]),
    )
    def weather(self, **conditions: float) -> None:
        self.world.relay.change(reorder_delay=0.003, **conditions)

    @rule()
    def rebind(self) -> None:
        self.world.relay.rebind()

    @rule(turns=st.integers(1, 20))
    def wait(self, turns: int) -> None:
        async def act() -> None:
            for _ in range(turns):
                await asyncio.sleep(0.0005)

        self.world.run(act())

    @rule(side=st.integers(0, 1))
    def ping(self, side: int) -> None:
        assert self.world.run(self.world.conns[side].ping()) > 0

    @invariant()
    def connected(self) -> None:
        world = getattr(self, "world", None)
        if world is not None:
            for conn in world.conns:
                assert conn.is_open, conn.error

    # ---- the end: everything that was promised arrives ----

    async def settle(self, both: Both) -> None:
        opener = both.way(both.opener)
        assert opener is not None

        def known(side: int) -> bool:
            return side == both.opener or both.arrived.done() or not opener.reset

        for way in both.ways:
            if way.may_write and way.stopped is None and not way.closed_by_reader and known(way.writer):
                stream = await both.end(way.writer)
                (stream.write_eof if way.raw else stream.finish)()
                way.finished = True
            if not known(1 - way.writer) or way.over or way.stopped is not None or way.closed_by_reader:
                continue
            stream = await both.end(1 - way.writer)
            while not way.over and (way.finished or way.broken):
                await self.read_once(way, stream, 1 << 20)
        for side in (0, 1):
            if known(side):
                (await both.end(side)).close()

    async def within(self, what: Awaitable[Any], otherwise: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE / 2):
                await what
        except TimeoutError:
            left = [(both.ways, both.ends) for both in self.all if not all(e and e.is_closed for e in both.ends)]
            raise AssertionError(f"{otherwise}: {left} {[conn.stats() for conn in self.world.conns]}") from None

    def teardown(self) -> None:
        world = getattr(self, "world", None)
        if world is None:
            return
        try:
            world.relay.change(**CALM)

            async def act() -> None:
                await self.within(asyncio.gather(*(self.settle(both) for both in self.all)), "the rest never arrived")
                ends = [stream for both in self.all for stream in both.ends if stream is not None]
                await self.within(asyncio.gather(*(stream.wait_closed() for stream in ends)), "streams do not close")
                for conn in world.conns:
                    assert conn.stats().queued == 0
                await world.stop()

            world.run(act())
        finally:
            world.close()


Streams.TestCase.settings = settings(
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    database=None,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.generate],  # time is real: what fails is rarely found again in a smaller form
)
TestStreams = pytest.mark.timeout(300 + 5 * EXAMPLES)(Streams.TestCase)
