"""`naquid bench ...`: the workloads, each with its own server process."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .console import micros, number, positive, progress, table
from .errors import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from naquid.bench.process import Files

EPILOG = """\
Client and server are two processes on this machine; the server is started by the command. Errors are counted, printed,
and make the exit code 1.

examples:
  naquid bench rpc --connections 100 --requests 5000 --window 16
  naquid bench rpc --mode asyncio --json
  naquid bench bulk --seconds 5
  naquid bench handshake --count 2000
  naquid bench idle --connections 2000
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    bench = commands.add_parser(
        "bench",
        help="measure requests, bulk transfer, handshakes or memory",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = bench.add_subparsers(title="workloads", metavar="WORKLOAD", required=True)

    def workload(name: str, about: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        parser = kinds.add_parser(name, help=about, description=about)
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.set_defaults(run=run)
        return parser

    rpc = workload("rpc", "requests and replies on one RPC stream of each connection", run_rpc)
    rpc.add_argument("--connections", type=positive(int), default=100, metavar="N")
    rpc.add_argument("--requests", type=positive(int), default=5000, metavar="M", help="of each connection")
    rpc.add_argument("--window", type=positive(int), default=16, metavar="W", help="outstanding on each connection")
    rpc.add_argument("--payload", type=positive(int, 0), default=8, metavar="B", help="bytes of a request and a reply")
    rpc.add_argument(
        "--mode",
        choices=["python", "asyncio", "capi"],
        default="python",
        help="python: rpc.call_soon, a callback for each reply; asyncio: await rpc.call(...); capi: naquid.capi",
    )
    rpc.add_argument("--limit", type=positive(float), default=120.0, metavar="S", help="give up after S seconds")

    bulk = workload("bulk", "one stream in one direction, every byte compared", run_bulk)
    bulk.add_argument("--seconds", type=positive(float, 0.1), default=5.0, metavar="S")

    handshake = workload("handshake", "connections opened and closed", run_handshake)
    handshake.add_argument("--count", type=positive(int), default=2000, metavar="K")

    idle = workload("idle", "server memory per connection that does nothing", run_idle)
    idle.add_argument("--connections", type=positive(int), default=2000, metavar="N")


@contextmanager
def _files() -> Iterator[Files]:
    from .certificates import create

    with tempfile.TemporaryDirectory(prefix="naquid-") as folder:
        yield create(Path(folder))


def _quiet(options: argparse.Namespace) -> bool:
    return bool(options.json) and not sys.stderr.isatty()


def _finish(
    options: argparse.Namespace, title: str, rows: Mapping[str, str], fields: Mapping[str, object], errors: list[str]
) -> int:
    """Prints the result, then the errors; the exit code."""
    if options.json:
        print(json.dumps(fields))
    else:
        table(title, ["", "result"], list(rows.items()))
    for text in errors:
        print(f"naquid: {text}", file=sys.stderr)
    return EXIT_FAILED if errors else EXIT_OK


def run_rpc(options: argparse.Namespace) -> int:
    from naquid.bench import rpc
    from naquid.bench.load import RpcOptions

    names = ("connections", "requests", "window", "payload", "mode", "limit")
    work = RpcOptions(**{name: getattr(options, name) for name in names})
    with _files() as files, progress("requests", work.total, _quiet(options)) as update:
        r = rpc.run(work, files, lambda answered, total: update(answered))
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
    title = f"{work.connections} connections, {work.window:,} requests of {work.payload} bytes outstanding on each"
    return _finish(options, f"{title} ({work.mode})", rows, r.as_dict(), errors)


def run_bulk(options: argparse.Namespace) -> int:
    from naquid.bench import bulk

    with _files() as files, progress("bulk", options.seconds, _quiet(options)) as update:
        r = bulk.run(files, options.seconds, update)
    rows = {
        "Gbit/s": f"{r.gbit_per_second:.2f}",
        "bytes": f"{r.bytes:,}",
        "seconds": f"{r.seconds:.2f}",
        "every byte compared": "equal" if r.verified else "DIFFERENT",
        "processor seconds, client": f"{r.client_cpu_s:.2f}",
        "processor seconds, server": f"{r.server_cpu_s:.2f}",
    }
    errors = [] if r.verified else ["the bytes that arrived are not those that were sent"]
    return _finish(options, "One stream, one direction", rows, r.as_dict(), errors)


def run_handshake(options: argparse.Namespace) -> int:
    from naquid.bench import handshake

    with _files() as files, progress("handshakes", options.count, _quiet(options)) as update:
        r = handshake.run(files, options.count, update)
    rows = {
        "handshakes/s": number(r.handshakes_per_second),
        "completed": f"{r.count:,}",
        "failed": f"{r.errors:,}",
        "seconds": f"{r.seconds:.2f}",
        "processor seconds, client": f"{r.client_cpu_s:.2f}",
        "processor seconds, server": f"{r.server_cpu_s:.2f}",
    }
    errors = [f"{r.errors:,} of {options.count:,} connections could not be opened"] if r.errors else []
    return _finish(options, "Connections opened and closed", rows, r.as_dict(), errors)


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
