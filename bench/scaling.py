"""How the cost of a request follows the number of connections, streams, requests outstanding, bytes and workers.

    python -m bench.scaling [--quick] [--only connections,streams] [--out FOLDER]

Each point is a run of `naquid bench rpc`, several times in interleaved passes: the rate is the median, the processor
time of a request (both ends) the lowest, as what the machine does meanwhile can only add to it. Writes scaling.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .compare import run_once
from .contenders import NAQUID
from .prepare import HERE, Missing


@dataclass(frozen=True)
class Curve:
    """flags: for a point x and about so many requests in all."""

    name: str
    title: str
    points: tuple[int, ...]
    flags: Callable[[int, int], dict[str, int | str]]


def _each(total: int, lines: int) -> int:
    """Requests of each: enough that what a connection does once does not count, but for the largest numbers."""
    return max(50 if lines > 1000 else 300, min(40_000, total // lines))


CURVES = [
    Curve(
        "connections",
        "connections, 16 requests outstanding on each",
        (1, 10, 100, 1000, 10_000),
        lambda x, total: {"connections": x, "requests": _each(total, x)},
    ),
    Curve(
        "streams",
        "streams of one connection, 16 requests outstanding on each",
        (1, 10, 100, 1000, 10_000),
        lambda x, total: {"connections": 1, "streams": x, "requests": _each(total, x)},
    ),
    Curve(
        "window",
        "requests outstanding on each of 100 connections",
        (1, 4, 16, 64, 256, 1000, 5000),
        lambda x, total: {"window": x, "requests": max(x, _each(total if x > 4 else total // 4, 100))},
    ),
    Curve(
        "payload",
        "bytes of a request and of its reply, 10 connections, 16 outstanding",
        (1, 16, 256, 4096, 65_536, 1 << 20),
        lambda x, total: {
            "connections": 10,
            "payload": x,
            "requests": max(20, min(total // 10, (total * 256) // x // 10)),
        },
    ),
    Curve(
        "workers",
        "worker threads of the server (naquid.capi), 100 connections",
        (1, 2, 4),
        lambda x, total: {"mode": "capi", "workers": x, "requests": _each(total, 100)},
    ),
]


def measure(
    total: int, passes: int, say: Callable[[str], None], most: int = 10_000, names: Sequence[str] = ()
) -> dict[str, Any]:
    """All curves, up to `most` connections or streams. What failed at a point stands in its "trouble"."""
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    trouble: dict[tuple[str, int], str] = {}
    jobs = [
        (curve, x)
        for number in range(passes)
        for curve in CURVES
        if not names or curve.name in names
        for x in curve.points
        if x <= most or curve.name == "payload"
        if number == 0 or x < 10_000 or curve.name != "connections"  # once: its handshakes take seconds
    ]
    for done, (curve, x) in enumerate(jobs):
        say(f"[{100 * done // len(jobs):3d} %] scaling: {x:,} {curve.name}")
        flags = [word for name, value in curve.flags(x, total).items() for word in (f"--{name}", str(value))]
        try:
            one = run_once([*NAQUID, "rpc", "--json", "--limit", "60", *flags])
        except Missing as reason:
            trouble[curve.name, x] = str(reason)
            continue
        if one["errors"]:
            trouble[curve.name, x] = f"{one['errors']:,.0f} replies were wrong or missing"
        runs.setdefault((curve.name, x), []).append(one)
    report: dict[str, Any] = {}
    for curve in CURVES:
        points = []
        for x in curve.points:
            ended = [one for one in runs.get((curve.name, x), []) if not one["errors"]]
            if ended:
                point = {
                    "x": x,
                    "requests_per_second": statistics.median(one["requests_per_second"] for one in ended),
                    "cpu_us": min((one["client_cpu_s"] + one["server_cpu_s"]) / one["requests"] for one in ended) * 1e6,
                    "p99_us": statistics.median(one["p99_us"] for one in ended),
                }
                points.append(point)
        if points:
            report[curve.name] = {"title": curve.title, "points": points}
            report[curve.name]["trouble"] = {str(x): why for (name, x), why in trouble.items() if name == curve.name}
    return report


def tables(curves: dict[str, Any]) -> list[str]:
    """Markdown."""
    text: list[str] = []
    for name, curve in curves.items():
        text += [f"**{curve['title']}**", ""]
        text += [f"| {name} | requests/s | CPU of a request, both ends, µs | p99 |", "|---:|---:|---:|---:|"]
        for point in curve["points"]:
            p99 = f"{point['p99_us'] / 1e3:,.1f} ms"
            text.append(f"| {point['x']:,} | {point['requests_per_second']:,.0f} | {point['cpu_us']:.2f} | {p99} |")
        text += ["", *(f"* {x} {name}: {why}" for x, why in curve["trouble"].items()), ""]
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--total", type=int, help="requests of a point, about")
    parser.add_argument("--most", type=int, default=10_000, help="connections and streams; default: 10000")
    parser.add_argument("--only", default="", help=f"of {','.join(curve.name for curve in CURVES)}")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args(arguments)
    total = options.total or (20_000 if options.quick else 100_000)
    names = [name.strip() for name in options.only.split(",") if name.strip()]
    if unknown := set(names) - {curve.name for curve in CURVES}:
        parser.error(f"no curve is called {', '.join(sorted(unknown))}")
    curves = measure(total, 1 if options.quick else 3, lambda t: print(t, file=sys.stderr), options.most, names)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling.json").write_text(json.dumps(curves, indent=1) + "\n")
    print("\n".join(tables(curves)))
    return 1 if any(curve["trouble"] for curve in curves.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
