"""How many connections can be opened in a second, and what one that does nothing costs the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import naquid

from .load import INTERVAL, Progress, Snapshot, clock, no_progress
from .process import HOST, BenchError, Files, ServerProcess, cpu_seconds, rss_kb

AT_ONCE = 64


@dataclass
class HandshakeResult:
    """Full handshakes with verification of the certificate; both ends are on this machine."""

    count: int
    seconds: float
    errors: int
    client_cpu_s: float
    server_cpu_s: float
    latencies: list[int] = field(default_factory=list, repr=False)

    @property
    def handshakes_per_second(self) -> float:
        return self.count / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, object]:
        """The documented keys of `naquid bench handshake --json`, and `errors` when there were any."""
        fields: dict[str, object] = {
            "count": self.count,
            "seconds": round(self.seconds, 6),
            "handshakes_per_second": round(self.handshakes_per_second, 6),
        }
        return {**fields, "errors": self.errors} if self.errors else fields


@dataclass
class IdleResult:
    """kb: resident memory of the server process, in KiB."""

    connections: int
    server_kb_before: int
    server_kb_after: int
    client_kb_per_connection: float
    handshake_seconds: float

    @property
    def kb_per_connection(self) -> float:
        return (self.server_kb_after - self.server_kb_before) / self.connections

    def as_dict(self) -> dict[str, object]:
        fields = {**asdict(self), "kb_per_connection": self.kb_per_connection}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}


Opened = Callable[[int], None]
Handshaken = Callable[[int, int], None]  # how many so far, and how long this one took, ns


async def _open(port: int, files: Files, count: int, opened: Handshaken, busy_poll: int = 0) -> int:
    """Opens and closes `count` connections, AT_ONCE at a time. Returns how many failed."""
    left, config = iter(range(count)), naquid.ClientConfig(busy_poll=busy_poll)
    failed = done = 0

    async def work() -> None:
        nonlocal failed, done
        for _ in left:
            begin = clock()
            try:
                async with naquid.connect(HOST, port, ca=str(files.ca), config=config):
                    done += 1
                    opened(done, clock() - begin)
            except naquid.Error:
                failed += 1

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return failed


def run(files: Files, count: int = 2000, progress: Progress = no_progress, busy_poll: int = 0) -> HandshakeResult:
    """`count` connections, each opened and closed. busy_poll: µs, of both ends."""
    latencies: list[int] = []
    begin = shown = time.perf_counter()
    seen = 0

    def opened(done: int, took: int) -> None:
        nonlocal seen, shown
        latencies.append(took)
        now = time.perf_counter()
        if now - shown > INTERVAL or done == count:
            progress(Snapshot(now - begin, done, done / count, latencies[seen:]))
            seen, shown = len(latencies), now

    with ServerProcess(files, busy_poll=busy_poll) as server:
        before, cpu = server.usage(), cpu_seconds()
        begin = time.perf_counter()
        failed = asyncio.run(_open(server.port, files, count, opened, busy_poll))
        seconds = time.perf_counter() - begin
        after = server.usage()
    return HandshakeResult(
        count=count - failed,
        seconds=seconds,
        errors=failed,
        latencies=latencies,
        client_cpu_s=cpu_seconds() - cpu,
        server_cpu_s=after.cpu_seconds - before.cpu_seconds,
    )


async def _hold(server: ServerProcess, files: Files, connections: int, opened: Opened) -> IdleResult:
    config = naquid.ClientConfig(limits=naquid.Limits(idle_timeout=600.0))  # the first wait for the last
    left = iter(range(connections))
    before, own = server.usage().rss_kb, rss_kb()
    begin = time.perf_counter()
    conns: list[naquid.Connection] = []

    async def work() -> None:
        for _ in left:
            conns.append(await naquid.connect(HOST, server.port, ca=str(files.ca), config=config))
            opened(len(conns))

    try:
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        seconds = time.perf_counter() - begin
        await asyncio.sleep(0.5)  # until the last handshake is confirmed and its memory given back
        usage = server.usage()
        alive = usage.loop["connections"]
        if alive < connections:
            raise BenchError(f"only {alive} of {connections} connections were alive when memory was read")
        return IdleResult(
            connections=connections,
            server_kb_before=before,
            server_kb_after=usage.rss_kb,
            client_kb_per_connection=(rss_kb() - own) / connections,
            handshake_seconds=seconds,
        )
    finally:
        await asyncio.gather(*(conn.close() for conn in conns))


def run_idle(files: Files, connections: int = 2000, opened: Opened = lambda done: None) -> IdleResult:
    """Opens the connections, keeps them and reads the server's memory."""
    with ServerProcess(files, idle_timeout=600.0) as server:
        # The first connections pay for buffers and lazy imports that the others share.
        asyncio.run(_open(server.port, files, 4, lambda done, took: None))
        return asyncio.run(_hold(server, files, connections, opened))
