"""The load of one RPC run: what is asked, what must come back, how long it took. Knows no network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from naquid import Error

TYPE = 1  # of the requests
SAMPLE_MOST = 16  # reading the clock costs: of a wide window's requests, one of up to 16 is timed
STEP = 61  # how far apart the payloads of two connections start
PAYLOAD_MEMORY = 32 << 20  # the payloads of a run are made beforehand; at most so many bytes of them

INTERVAL = 0.05  # seconds between two looks at a run


@dataclass(frozen=True)
class Snapshot:
    """A run now. seconds: since its begin. done: in its own unit (answers, bytes, connections). share: 0 to 1.
    latencies: what was measured since the last snapshot, ns."""

    seconds: float
    done: int
    share: float
    latencies: Sequence[int] = ()


Progress = Callable[[Snapshot], None]
"""Called now and then, and at the end."""

clock = time.perf_counter_ns


def no_progress(snapshot: Snapshot) -> None:
    """Shows nothing."""


def percentile(latencies: Sequence[int], p: float) -> float:
    """Of latencies in ns, as µs; 0 without any."""
    if not latencies:
        return 0.0
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] / 1e3


@dataclass(frozen=True)
class RpcOptions:
    """requests: of each stream. window: requests outstanding on each. payload: bytes. limit: seconds, after which the
    run is ended and what is missing counts as errors. streams: RPC streams of each connection. workers: threads of the
    server, for mode "capi". native: the built extension of examples/native, for mode "native". busy_poll: µs, of both
    ends."""

    connections: int = 100
    requests: int = 5000
    window: int = 16
    payload: int = 8
    mode: str = "python"
    limit: float = 120.0
    streams: int = 1
    workers: int = 1
    native: Path | None = None
    busy_poll: int = 0

    @property
    def lines(self) -> int:
        """RPC streams of all connections."""
        return self.connections * self.streams

    @property
    def total(self) -> int:
        return self.lines * self.requests


@dataclass
class RpcResult:
    """What came out of a run. Seconds are wall time; the handshakes are not in `seconds`. p50_us, p99_us and
    percentiles_us, which are those at `points.PERCENTILES`: None when no request was timed, as with native handlers."""

    requests: int
    seconds: float
    p50_us: float | None
    p99_us: float | None
    percentiles_us: list[float] | None
    errors: int
    handshake_seconds: float
    client_cpu_s: float
    server_cpu_s: float
    client_rss_kb: int
    server_rss_kb: int
    gso: bool
    gro: bool
    naquid_version: str
    options: RpcOptions
    first_errors: list[str] = field(default_factory=list)
    client_loop: dict[str, int] = field(default_factory=dict)
    server_loop: dict[str, int] = field(default_factory=dict)
    latencies: list[int] = field(default_factory=list, repr=False)

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds if self.seconds > 0 else 0.0

    @property
    def handshakes_per_second(self) -> float:
        return self.options.connections / self.handshake_seconds if self.handshake_seconds > 0 else 0.0

    def as_dict(self) -> dict[str, object]:
        """The documented keys of `naquid bench rpc --json`."""
        names = """requests seconds requests_per_second p50_us p99_us percentiles_us errors handshake_seconds
            client_cpu_s server_cpu_s client_rss_kb server_rss_kb gso gro naquid_version"""
        return {name: round(v, 6) if isinstance(v := getattr(self, name), float) else v for name in names.split()}


def differs(got: bytes, expected: bytes) -> str:
    """Says how, in a line."""
    return f"got {len(got)} bytes {got[:32]!r} for {len(expected)} bytes {expected[:32]!r}"


class Load:
    """Payloads, latencies and errors of one run, shared by its lines: the RPC streams of its connections."""

    def __init__(self, options: RpcOptions) -> None:
        self.options = options
        self.window = min(options.window, options.requests)
        self.sample_every = max(n for n in range(1, SAMPLE_MOST + 1) if self.window % n == 0)
        self.latencies: list[int] = []
        self.answered: list[Callable[[], int]] = []  # of each line, or of some
        self.first_errors: list[str] = []
        self.wrong = 0
        self.finished = 0
        self.on_end: Callable[[], None] = lambda: None
        self.pool = self._payloads()  # the requests of all lines: line n has those from n * STEP on
        self.stamps: list[int] = []  # when the requests that are timed were sent
        self._seen = 0  # latencies that were in a snapshot
        self._begin = time.perf_counter()

    def _payloads(self) -> list[bytes]:
        """Counters. Line n starts at n * STEP, so that what is outstanding on a line is distinct, and a reply that
        reached the wrong line is seen."""
        size = self.options.payload
        count = self.options.requests + STEP * self.options.lines
        distinct = max(16, min(count, PAYLOAD_MEMORY // (size + 48)))
        if size < 8:
            made = [(k % (1 << 8 * size)).to_bytes(size, "big") for k in range(distinct)]
        else:
            filler = bytes(range(256)) * (size // 256 + 1)
            made = [k.to_bytes(8, "big") + filler[: size - 8] for k in range(distinct)]
        return (made * (count // distinct + 1))[:count]

    def payloads(self, number: int) -> list[bytes]:
        """The requests of line `number`, in order."""
        return self.pool[number * STEP : number * STEP + self.options.requests]

    def room_for_stamps(self) -> int:
        """Where in `stamps` the next line's are."""
        begin = len(self.stamps)
        self.stamps += [0] * (self.window // self.sample_every)
        return begin

    def total_answered(self) -> int:
        return sum(count() for count in self.answered)

    def begin(self) -> None:
        """The first request is about to be sent."""
        self._begin = time.perf_counter()

    def snapshot(self) -> Snapshot:
        answered = self.total_answered()
        new, self._seen = self.latencies[self._seen :], len(self.latencies)
        return Snapshot(time.perf_counter() - self._begin, answered, answered / self.options.total, new)

    def error(self, text: str, count: int = 1) -> None:
        self.wrong += count
        if len(self.first_errors) < 10:
            self.first_errors.append(text)

    def finish(self) -> None:
        """A line has nothing more to wait for."""
        self.finished += 1
        if self.finished == self.options.lines:
            self.on_end()

    @property
    def ended(self) -> bool:
        return self.finished >= self.options.lines

    def errors(self, answered: int) -> int:
        """Wrong replies, and requests without one."""
        missing = self.options.total - answered
        if missing > 0 and not self.first_errors:
            self.first_errors.append(f"{missing} requests were not answered within {self.options.limit:g} s")
        return self.wrong + missing


Reply = Callable[[int, bytes], None]
"""Takes a result (0: OK) and the payload of a reply."""


class Line:
    """The callback form of one line: `start` sends the first window; from there each reply is compared and sends the
    next request. Replies of one RPC stream come in order, as the handler is a plain function; one out of order counts
    as wrong. call: takes a type, a payload and what to call with the reply. adapt: makes of a Reply what `call` wants.

    One object with slots, and no container beside it: a program with 10,000 streams would keep its own as small, as
    the interpreter's garbage collection looks at all of them."""

    __slots__ = (
        "_at",
        "_call",
        "_first",
        "_last",
        "_load",
        "_pool",
        "_receive",
        "_refill",
        "_sample",
        "_stamps",
        "_window",
        "number",
    )

    def __init__(
        self,
        load: Load,
        number: int,
        call: Callable[[int, bytes, Callable[..., object]], object],
        adapt: Callable[[Reply], Callable[..., object]] = lambda reply: reply,
    ) -> None:
        self.number = number
        self._load = load
        self._call = call
        self._receive = adapt(self._on_reply)
        self._pool = load.pool
        self._window = load.window
        self._at = self._first = self._sample = number * STEP  # in the pool: the next reply; the next one that is timed
        self._last = self._first + load.options.requests - 1
        self._refill = self._last + 1 - load.window  # below it a reply sends the request that is one window later
        self._stamps = load.room_for_stamps()

    @property
    def answered(self) -> int:
        return self._at - self._first

    def start(self) -> None:
        call, receive, pool, stamps = self._call, self._receive, self._pool, self._load.stamps
        every = self._load.sample_every
        for slot in range(self._window // every):
            begin = self._first + slot * every
            stamps[self._stamps + slot] = clock()
            for payload in pool[begin : begin + every]:
                call(TYPE, payload, receive)

    def _on_reply(self, result: int, payload: bytes) -> None:
        at, pool = self._at, self._pool
        if payload != pool[at] or result:
            if result:
                self._stop(f"ended with result {result}")
                return
            self._load.error(f"stream {self.number}, request {self.answered}: {differs(payload, pool[at])}")
        self._at = at + 1
        if at == self._sample:
            self._timed(at)
        if at < self._refill:
            try:
                self._call(TYPE, pool[at + self._window], self._receive)
            except Error as error:
                self._stop(str(error))
        elif at == self._last:
            self._load.finish()

    def _timed(self, at: int) -> None:
        """The request at this place is one of those that are timed: so is the one that is one window later."""
        load = self._load
        every = load.sample_every
        slot = self._stamps + (at - self._first) % self._window // every
        now = clock()
        load.latencies.append(now - load.stamps[slot])
        load.stamps[slot] = now
        self._sample = at + every

    def _stop(self, why: str) -> None:
        """A call cannot be made or was lost: nothing more is asked here. What is missing is counted in the end."""
        if self._last >= 0:
            self._load.error(f"stream {self.number}, request {self.answered}: {why}", count=0)
            self._last = self._refill = -1
            self._load.finish()
