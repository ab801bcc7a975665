"""`naquid demo`: the main job, shown and checked."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Commands, add_command, add_json, positive
from .console import is_drawn, micros, number, progress, table
from .errors import EXIT_FAILED, EXIT_OK
from .stdio import say

if TYPE_CHECKING:
    from naquid.bench.load import RpcOptions, RpcResult
    from naquid.bench.process import Files

EPILOG = """\
A certificate is made, a server process and a client process are started, and every connection keeps WINDOW requests of
8 bytes outstanding on one RPC stream until all were answered; a Python function answers each. Every reply is compared.
Exit code 1 when a reply was wrong or missing.

examples:
  naquid demo
  naquid demo --connections 10 --requests 1000 --window 1
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    about = "run requests over many connections through a Python handler, checked and measured"
    command = add_command(commands, "demo", about, run, EPILOG)
    command.add_argument("--connections", type=positive(int), default=100, metavar="N", help="default: 100")
    command.add_argument(
        "--requests", type=positive(int), default=5000, metavar="M", help="of each connection; default: 5000"
    )
    command.add_argument(
        "--window", type=positive(int), default=64, metavar="W", help="outstanding on each connection; default: 64"
    )
    command.add_argument("--no-more", action="store_true", help="leave out the runs with windows of 1, 16 and 5,000")
    add_json(command, "print one JSON object: the results in the order of the runs")


def run(options: argparse.Namespace) -> int:
    """Runs the job, prints the tables; 1 when a reply was wrong or missing."""
    from naquid.bench.load import RpcOptions

    from .certificates import create

    quiet = options.json and not is_drawn()
    main = RpcOptions(connections=options.connections, requests=options.requests, window=options.window)
    others: list[RpcOptions] = []
    if not options.no_more:
        fewer = max(1, min(options.requests, 500))  # one at a time is slow by nature
        others = [replace(main, window=1, requests=fewer)]
        others += [replace(main, window=w) for w in (16, 5000) if w <= options.requests]
    with tempfile.TemporaryDirectory(prefix="naquid-") as folder:
        files = create(Path(folder))
        result = _measure(main, files, quiet)
        if not options.json:
            _show(result)
        results = [result]
        for other in others:
            if not results[-1].errors:
                results.append(_measure(other, files, quiet))
    if len(results) > 1 and not options.json:
        _compare(results)
    if options.json:
        runs = [{"window": r.options.window, **r.as_dict()} for r in results]
        print(json.dumps({"connections": main.connections, "runs": runs}))
    errors = sum(r.errors for r in results)
    for text in [text for r in results for text in r.first_errors][:10]:
        say(f"naquid: {text}", sys.stderr)
    wanted = sum(r.options.total for r in results)
    if errors:
        say(f"naquid: {errors:,} of {wanted:,} replies were wrong or missing", sys.stderr)
        return EXIT_FAILED
    if not options.json:
        say(f"All {wanted:,} replies were compared with what was asked: no error.")
    return EXIT_OK


def _measure(options: RpcOptions, files: Files, quiet: bool) -> RpcResult:
    from naquid.bench import rpc

    what = f"{options.connections} connections x {options.requests:,} requests, {options.window:,} outstanding"
    with progress(what, options.total, quiet) as update:
        return rpc.run(options, files, lambda snapshot: update(snapshot.done))


def _per(count: int, calls: int) -> str:
    return f"{count / calls:.1f}" if calls else "-"


def _show(r: RpcResult) -> None:
    client, server = r.client_loop, r.server_loop

    def both(name: str, form: str = ",") -> list[str]:
        return [format(loop.get(name, 0), form) for loop in (client, server)]

    def per(what: str, calls: str) -> list[str]:
        return [_per(loop.get(what, 0), loop.get(calls, 0)) for loop in (client, server)]

    def switches(name: str) -> list[str]:
        return ["on" if loop.get(name) else "off" for loop in (client, server)]

    options = r.options
    table(
        f"naquid {r.naquid_version}: {options.connections} connections x {options.requests:,} requests of "
        f"{options.payload} bytes, {options.window:,} outstanding on each; encrypted UDP on loopback",
        ["", "result"],
        [
            ["requests/s", number(r.requests_per_second)],
            ["latency p50", micros(r.p50_us)],
            ["latency p99", micros(r.p99_us)],
            ["handshakes/s", number(r.handshakes_per_second)],
            ["wrong or missing", number(r.errors) if r.errors else "0"],
        ],
    )
    table(
        "Both sides, each one process",
        ["", "client", "server"],
        [
            ["datagrams sent", *both("tx_datagrams")],
            ["datagrams received", *both("rx_datagrams")],
            ["datagrams per send call", *per("tx_datagrams", "tx_calls")],
            ["datagrams per receive call", *per("rx_datagrams", "rx_calls")],
            ["GSO (one send, many datagrams)", *switches("gso")],
            ["GRO (one receive, many datagrams)", *switches("gro")],
            ["processor seconds", f"{r.client_cpu_s:.2f}", f"{r.server_cpu_s:.2f}"],
            ["memory, MiB", f"{r.client_rss_kb / 1024:.0f}", f"{r.server_rss_kb / 1024:.0f}"],
        ],
    )


def _compare(results: list[RpcResult]) -> None:
    rows = [
        [f"{r.options.window:,}", f"{r.requests:,}", number(r.requests_per_second), micros(r.p50_us), micros(r.p99_us)]
        for r in sorted(results, key=lambda r: r.options.window)
    ]
    table("By requests outstanding on each connection", ["outstanding", "requests", "requests/s", "p50", "p99"], rows)
