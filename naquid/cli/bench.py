"""`naquid bench ...`: the workloads, each with its own server process."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from naquid.bench.points import PERCENTILES

from .arguments import Commands, add_busy_poll, add_json, positive, seconds
from .console import Live, is_drawn, micros, number, progress, spark, table
from .errors import EXIT_CODES, EXIT_FAILED, EXIT_OK, UsageError
from .stdio import say

if TYPE_CHECKING:
    from naquid.bench.load import RpcOptions, Snapshot
    from naquid.bench.process import Files

EPILOG = f"""\
Client and server are two processes on this machine; the server is started by the command. While it runs, a terminal
shows rates and latencies. Errors are counted, printed, and make the exit code 1.

examples:
  naquid bench rpc --connections 100 --requests 5000 --window 16
  naquid bench rpc --mode asyncio --json
  naquid bench rpc --window 1 --plot rpc.png
  naquid bench bulk --seconds 5
  naquid bench handshake --count 2000
  naquid bench idle --connections 2000

{EXIT_CODES}"""

RPC_EPILOG = f"""\
JSON keys: requests, seconds, requests_per_second, p50_us, p99_us, percentiles_us, errors, handshake_seconds,
client_cpu_s, server_cpu_s, client_rss_kb, server_rss_kb, gso, gro, naquid_version; percentiles_us are those at
{", ".join(map(str, PERCENTILES))}; all three are null with native handlers

examples:
  naquid bench rpc --window 1
  naquid bench rpc --connections 10 --requests 20000 --payload 1024 --mode asyncio
  naquid bench rpc --plot rpc.png"""

BULK_EPILOG = """\
JSON keys: bytes, seconds, gbit_per_second, verified

examples:
  naquid bench bulk --seconds 10
  naquid bench bulk --json --plot bulk.png"""

HANDSHAKE_EPILOG = """\
64 at a time; each is a full handshake. The first verifies the server's certificate chain, the others know it and verify
that the server has its key. JSON keys: count, seconds, handshakes_per_second, and errors when there were any

example:
  naquid bench handshake --count 5000"""

IDLE_EPILOG = """\
JSON keys: connections, kb_per_connection, client_kb_per_connection, server_kb_before, server_kb_after,
handshake_seconds

example:
  naquid bench idle --connections 10000 --json"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    about = "measure requests, bulk transfer, handshakes or memory"
    bench = commands.add_parser("bench", help=about, description=about, epilog=EPILOG)
    kinds = bench.add_subparsers(title="workloads", metavar="WORKLOAD", required=True)

    def workload(
        name: str, about: str, run: Callable[[argparse.Namespace], int], epilog: str, plot: str = ""
    ) -> argparse.ArgumentParser:
        parser = kinds.add_parser(name, help=about, description=about, epilog=f"{epilog}\n\n{EXIT_CODES}")
        add_json(parser)
        if plot:
            parser.add_argument("--plot", type=Path, metavar="PNG", help=f"draw {plot}; needs matplotlib")
        parser.set_defaults(run=run)
        return parser

    both = "the rate over time and the percentiles of latency"
    rpc = workload("rpc", "requests and replies on one RPC stream of each connection", run_rpc, RPC_EPILOG, both)
    rpc.add_argument("--connections", type=positive(int), default=100, metavar="N", help="default: 100")
    rpc.add_argument("--requests", type=positive(int), default=5000, metavar="M", help="of each stream; default: 5000")
    rpc.add_argument(
        "--window", type=positive(int), default=16, metavar="W", help="outstanding on each stream; default: 16"
    )
    rpc.add_argument(
        "--payload", type=positive(int, 0), default=8, metavar="B", help="bytes of a request and a reply; default: 8"
    )
    rpc.add_argument(
        "--mode",
        choices=["python", "asyncio", "batch", "native", "capi"],
        default="python",
        metavar="MODE",
        help="python: rpc.call_soon, a callback for each reply; asyncio: await rpc.call(...); batch: await "
        "rpc.call_many(...) and a batch handler; native: native handlers on both sides; capi: naquid.capi",
    )
    rpc.add_argument("--streams", type=positive(int), default=1, metavar="S", help="of each connection; default: 1")
    rpc.add_argument("--workers", type=positive(int), default=1, metavar="T", help="server threads, for capi")
    rpc.add_argument("--native", type=Path, metavar="FILE", help="the built extension of examples/native, for native")
    rpc.add_argument("--limit", type=seconds, default=120.0, metavar="S", help="give up after S seconds; default: 120")

    add_busy_poll(rpc)

    bulk = workload(
        "bulk", "one stream in one direction, every byte compared", run_bulk, BULK_EPILOG, "the rate over time"
    )
    bulk.add_argument("--seconds", type=positive(float, 0.1), default=5.0, metavar="S", help="default: 5")
    add_busy_poll(bulk)

    handshake = workload("handshake", "connections opened and closed", run_handshake, HANDSHAKE_EPILOG, both)
    handshake.add_argument("--count", type=positive(int), default=2000, metavar="K", help="default: 2000")
    add_busy_poll(handshake)

    idle = workload("idle", "server memory per connection that does nothing", run_idle, IDLE_EPILOG)
    idle.add_argument("--connections", type=positive(int), default=2000, metavar="N", help="default: 2000")


@contextmanager
def _files() -> Iterator[Files]:
    from .certificates import create

    with tempfile.TemporaryDirectory(prefix="naquid-") as folder:
        yield create(Path(folder))


def _quiet(options: argparse.Namespace) -> bool:
    return bool(options.json) and not is_drawn()


class Monitor:
    """Shows a run while it goes, and keeps how it went for the plot. scale: from what is done to `unit`."""

    def __init__(self, unit: str, scale: float = 1.0) -> None:
        self.unit = unit
        self.scale = scale
        self.timeline: list[tuple[float, float]] = [(0.0, 0.0)]
        self._recent: deque[int] = deque(maxlen=20_000)
        self._drawn = 0.0

    @contextmanager
    def shown(self, title: str, quiet: bool) -> Iterator[Callable[[Snapshot], None]]:
        """Gives the function to be called with snapshots."""
        with Live(title, quiet) as live:

            def see(snapshot: Snapshot) -> None:
                self.timeline.append((snapshot.seconds, snapshot.done * self.scale))
                self._recent.extend(snapshot.latencies)
                if snapshot.share >= 1 or snapshot.seconds - self._drawn > 0.1:
                    self._drawn = snapshot.seconds
                    live.show(snapshot.share, self.rows())

            yield see

    def rows(self) -> list[list[str]]:
        """What a person wants to see now."""
        from naquid.bench.load import percentile

        elapsed, done = self.timeline[-1]
        rates = self.rates()
        rows = [
            ["elapsed", f"{elapsed:.1f} s"],
            [f"{self.unit}/s now", number(rates[-1][1]) if rates else "-"],
            [f"{self.unit}/s so far", number(done / elapsed) if elapsed > 0 else "-"],
        ]
        if self._recent:
            rows += [[f"latency p{p}", micros(percentile(self._recent, p))] for p in (50, 99)]
            self._recent.clear()
        return [*rows, ["", spark([value for _, value in rates])]]

    def rates(self, step: float = 0.1) -> list[tuple[float, float]]:
        """Points of the rate over time: at least `step` seconds apart, each over the time since the one before."""
        points: list[tuple[float, float]] = []
        begin = next((i for i, (_, done) in enumerate(self.timeline) if done), 1) - 1  # nothing was sent before
        at, was = self.timeline[begin]
        for now, done in self.timeline[begin + 1 :]:
            if now - at >= step or (now > at and not points and now == self.timeline[-1][0]):
                points.append((now, (done - was) / (now - at)))
                at, was = now, done
        return points


def _finish(
    options: argparse.Namespace, title: str, rows: Mapping[str, str], fields: Mapping[str, object], errors: list[str]
) -> int:
    """Prints the result, then the errors; the exit code."""
    if options.json:
        print(json.dumps(fields))
    else:
        table(title, ["", "result"], list(rows.items()))
    for text in errors:
        say(f"naquid: {text}", sys.stderr)
    return EXIT_FAILED if errors else EXIT_OK


def _draw(options: argparse.Namespace, title: str, monitor: Monitor, latencies: list[int]) -> None:
    if options.plot is not None:
        from .plot import draw

        draw(options.plot, title, f"{monitor.unit}/s", monitor.rates(), latencies)
        if not options.json:
            say(f"drawn: {options.plot}")


def _ready(options: argparse.Namespace) -> None:
    """Finds out now rather than after the run that there can be no plot."""
    if options.plot is not None:
        from .plot import check

        check(options.plot)


def _check(work: RpcOptions) -> None:
    """Raises UsageError for what does not go together."""
    if work.mode == "native" and work.native is None:
        raise UsageError("--mode native needs --native FILE: build examples/native and name the result")
    if work.mode == "native" and work.payload != 8:
        raise UsageError("--mode native has payloads of 8 bytes")
    if work.mode == "capi" and work.streams != 1:
        raise UsageError("--mode capi has one stream on each connection")
    if work.mode != "capi" and work.workers != 1:
        raise UsageError("--workers is for --mode capi")


def run_rpc(options: argparse.Namespace) -> int:
    from naquid.bench import rpc
    from naquid.bench.load import RpcOptions

    _ready(options)
    names = ("connections", "requests", "window", "payload", "mode", "limit", "streams", "workers", "native")
    work = RpcOptions(**{name: getattr(options, name) for name in (*names, "busy_poll")})
    _check(work)
    streams = f" with {work.streams:,} streams" if work.streams > 1 else ""
    title = f"{work.connections:,} connections{streams}, {work.window:,} requests of {work.payload} bytes "
    title += f"outstanding on each ({work.mode})"
    monitor = Monitor("requests")
    with _files() as files, monitor.shown(title, _quiet(options)) as see:
        r = rpc.run(work, files, see)
    rows = {
        "requests/s": number(r.requests_per_second),
        "latency p50": micros(r.p50_us),
        "latency p99": micros(r.p99_us),
        "requests": f"{r.requests:,}",
        "errors": f"{r.errors:,}",
        "handshakes/s": number(r.handshakes_per_second),
        "processor seconds, client": f"{r.client_cpu_s:.2f}",
        "processor seconds, server": f"{r.server_cpu_s:.2f}",
        "memory, client": f"{r.client_rss_kb / 1024:.0f} MiB",
        "memory, server": f"{r.server_rss_kb / 1024:.0f} MiB",
        "GSO, GRO": f"{'on' if r.gso else 'off'}, {'on' if r.gro else 'off'}",
    }
    errors = [*r.first_errors, f"{r.errors:,} of {work.total:,} replies were wrong or missing"] if r.errors else []
    code = _finish(options, title, rows, r.as_dict(), errors)
    _draw(options, title, monitor, r.latencies)
    return code


def run_bulk(options: argparse.Namespace) -> int:
    from naquid.bench import bulk

    _ready(options)
    title = "One stream, one direction"
    monitor = Monitor("Gbit", 8e-9)
    with _files() as files, monitor.shown(title, _quiet(options)) as see:
        r = bulk.run(files, options.seconds, see, options.busy_poll)
    rows = {
        "Gbit/s": f"{r.gbit_per_second:.2f}",
        "bytes": f"{r.bytes:,}",
        "seconds": f"{r.seconds:.2f}",
        "every byte compared": "equal" if r.verified else "DIFFERENT",
        "processor seconds, client": f"{r.client_cpu_s:.2f}",
        "processor seconds, server": f"{r.server_cpu_s:.2f}",
    }
    errors = [] if r.verified else ["the bytes that arrived are not those that were sent"]
    code = _finish(options, title, rows, r.as_dict(), errors)
    _draw(options, title, monitor, [])
    return code


def run_handshake(options: argparse.Namespace) -> int:
    from naquid.bench import handshake
    from naquid.bench.load import percentile

    _ready(options)
    title = "Connections opened and closed"
    monitor = Monitor("handshakes")
    with _files() as files, monitor.shown(title, _quiet(options)) as see:
        r = handshake.run(files, options.count, see, options.busy_poll)
    rows = {
        "handshakes/s": number(r.handshakes_per_second),
        "latency p50, opened and closed": micros(percentile(r.latencies, 50)),
        "latency p99, opened and closed": micros(percentile(r.latencies, 99)),
        "completed": f"{r.count:,}",
        "failed": f"{r.errors:,}",
        "seconds": f"{r.seconds:.2f}",
        "processor seconds, client": f"{r.client_cpu_s:.2f}",
        "processor seconds, server": f"{r.server_cpu_s:.2f}",
    }
    errors = [f"{r.errors:,} of {options.count:,} connections could not be opened"] if r.errors else []
    code = _finish(options, title, rows, r.as_dict(), errors)
    _draw(options, title, monitor, r.latencies)
    return code


def run_idle(options: argparse.Namespace) -> int:
    from naquid.bench import handshake

    with _files() as files, progress("connections", options.connections, _quiet(options)) as update:
        r = handshake.run_idle(files, options.connections, update)
    rows = {
        "server memory per connection": f"{r.kb_per_connection:.1f} KiB",
        "client memory per connection": f"{r.client_kb_per_connection:.1f} KiB",
        "server memory before": f"{r.server_kb_before / 1024:.1f} MiB",
        "server memory after": f"{r.server_kb_after / 1024:.1f} MiB",
    }
    return _finish(options, f"{r.connections:,} idle connections", rows, r.as_dict(), [])
