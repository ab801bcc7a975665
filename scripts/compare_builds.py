#!/usr/bin/env python3
"""Compares two built trees of naquid on this machine, in interleaved rounds, and prints a table in Markdown.

    scripts/compare_builds.py BASE HEAD [--rounds 7] [--seconds 2]

Both must have been built (`make build`). Each round runs both, first one and then the other in turn, so that what the
machine does meanwhile hits both alike; only the ratio means something.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

METRICS = {
    "rpc": ("requests_per_second", "requests/s"),
    "bulk": ("gbit_per_second", "Gbit/s"),
    "handshake": ("handshakes_per_second", "handshakes/s"),
}


def command(tree: Path, workload: str) -> list[str]:
    """A benchmark of a tree."""
    return [str(tree.absolute() / ".venv" / "bin" / "python"), "-m", "naquid", "bench", workload]


def measure(tree: Path, workload: str, seconds: float) -> float:
    """One run."""
    argv = [*command(tree, workload), "--json", *length(tree, workload, seconds)]
    done = subprocess.run(argv, cwd=tree, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"compare: error: {workload} failed in {tree}: {done.stderr.strip()[-500:]}")
    return float(json.loads(done.stdout)[METRICS[workload][0]])


def length(tree: Path, workload: str, seconds: float) -> list[str]:
    """The option that sets how long a run is, where this version has one."""
    known = subprocess.run([*command(tree, workload), "--help"], cwd=tree, capture_output=True, text=True).stdout
    return ["--seconds", str(seconds)] if "--seconds" in known else []


def table(found: dict[str, tuple[list[float], list[float]]], rounds: int) -> str:
    """Medians, and the median of the ratios of each round with its lowest and highest."""
    lines = [f"Median of {rounds} interleaved rounds on one machine; only the ratio means something.", "",
             "| workload | base | head | head / base |", "|---|---:|---:|---:|"]  # fmt: skip
    for workload, (base, head) in found.items():
        ratios = [h / b for b, h in zip(base, head, strict=True)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})"
        unit = METRICS[workload][1]
        medians = " | ".join(f"{statistics.median(values):,.4g} {unit}" for values in (base, head))
        lines.append(f"| {workload} | {medians} | {spread} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare two built trees.")
    parser.add_argument("base", type=Path)
    parser.add_argument("head", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in METRICS}
    for number in range(options.rounds):
        for workload, results in found.items():
            sides = [(options.base, results[0]), (options.head, results[1])]
            for tree, values in sides if number % 2 else reversed(sides):
                values.append(measure(tree, workload, options.seconds))
    print(table(found, options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
