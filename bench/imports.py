"""What it costs to import naquid.

    python -m bench.imports [--rounds 20]

Each round starts an interpreter for every case, one after the other, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

CASES = {
    "the interpreter": "",
    "import asyncio": "import asyncio",
    "import naquid": "import naquid",
    "import naquid.capi": "import naquid.capi",
    "import naquid, and connect named": "import naquid; naquid.connect",
}

Report = dict[str, dict[str, float]]  # case -> median ms of wall time and of processor time


def _run(code: str) -> tuple[float, float]:
    """ms of wall time and of processor time, from the start of an interpreter to its end."""
    begin = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", code])
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{code!r} ended with code {child.returncode}")
    return (time.perf_counter() - begin) * 1e3, (used.ru_utime + used.ru_stime) * 1e3


def measure(rounds: int, say: Callable[[str], None]) -> Report:
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for number in range(rounds + 1):
        say(f"imports, round {number} of {rounds}")
        for name, code in CASES.items():
            one = _run(code)
            if number:  # the first round reads files from the disk
                runs[name].append(one)
    medians = {name: [statistics.median(column) for column in zip(*of, strict=True)] for name, of in runs.items()}
    return {name: {"ms": wall, "cpu_ms": cpu} for name, (wall, cpu) in medians.items()}


def table(report: Report) -> list[str]:
    """Markdown."""
    text = ["| start to end of | ms | ms of processor time |", "|---|---:|---:|"]
    return [*text, *(f"| {name} | {row['ms']:.1f} | {row['cpu_ms']:.1f} |" for name, row in report.items()), ""]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench.imports", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    print("\n".join(table(measure(parser.parse_args(arguments).rounds, lambda text: None))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
