"""Instruction counts of the engine's hot path: they do not drift as times do, so that a step back is seen at once.

    python -m bench.counts [--record] [--profile NAME] [--room 0.05]

Runs `bench/engine/hot_path.c` (client and server in one process over the simulated network; the engine
with -O3 and without link-time optimisation, the vendored release libraries) under valgrind's callgrind and compares
with bench/counts.json. Exit code 1 when something takes more than 5 % more instructions than recorded. Recorded values
are for the compiler and valgrind named in the file: with others the counts are shown, and nothing is compared. Exit
code 1 with any of them when a request costs more than 5 % more beside 10,000 idle connections than beside 100: then a
turn of the loop walks them. Without valgrind it says so and ends well. All counts are of both ends together, network of
the simulation included.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import prepare
from .prepare import HERE, Missing

RECORDED = HERE / "counts.json"
ROOM = 0.05

# How often each is done while it is counted: enough that what happens now and then is in it.
OPERATIONS = {
    "request": 16_000,
    "request, one outstanding": 1_000,
    "record of 8 bytes": 8_000,
    "record of 1,000 bytes": 1_500,
    "datagram": 1_500,
    "handshake": 6,
    "beside 100 idle": 1_000,
    "beside 10,000 idle": 1_000,
    "timers, 1": 50_000,
    "timers, 10,000": 50_000,
    "connection IDs, 1": 20_000,
    "connection IDs, 10,000": 20_000,
    "handlers, 1": 20_000,
    "handlers, 10,000": 20_000,
}

# The first may cost so many times the second, and no more: one request with one outstanding, beside idle connections.
FLAT = ("beside 10,000 idle", "beside 100 idle", 1.05)


def surroundings() -> dict[str, str]:
    """What the counts depend on, besides the code."""
    compiler = prepare.run([prepare.compiler(), "--version"], "asking the compiler").splitlines()[0]
    valgrind = prepare.run(["valgrind", "--version"], "asking valgrind").strip()
    record = json.loads((prepare.native_libraries() / "versions.json").read_text())
    libraries = ", ".join(f"{part['name']} {part['version']}" for part in record["parts"] if part["name"] != "c-ares")
    flags = " ".join(prepare.HOT_PATH_FLAGS)
    machine = os.uname().machine
    return {"compiler": compiler, "valgrind": valgrind, "libraries": libraries, "flags": flags, "machine": machine}


def count(program: Path, name: str, operations: int, profile: bool = False) -> float:
    """Instructions of one operation."""
    with tempfile.TemporaryDirectory(prefix="naquid-") as folder:
        out = Path(folder) / "out"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--toggle-collect=measured"]
        command += [f"--callgrind-out-file={out}"]
        prepare.run([*command, program, name, str(operations)], f"counting {name}")
        found = re.search(r"^totals: (\d+)$", out.read_text(), re.MULTILINE)
        if found is None:
            raise Missing(f"callgrind said no total of {name}")
        if profile:
            shown = prepare.run(["callgrind_annotate", "--show-percs=yes", out], "callgrind_annotate")
            print(re.sub(r" /\S*/", " ", "\n".join(shown.splitlines()[:60])))
        if not int(found.group(1)):
            raise Missing("callgrind counted nothing: bench needs valgrind/callgrind.h (apt-get install valgrind)")
        return int(found.group(1)) / operations


def measure(names: Sequence[str]) -> dict[str, float]:
    """Each in a valgrind of its own, as many at once as there are processors."""
    program = prepare.hot_path()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = pool.map(lambda name: count(program, name, OPERATIONS[name]), names)
        return dict(zip(names, counted, strict=True))


def load() -> dict[str, Any]:
    loaded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    assert isinstance(loaded, dict)
    return loaded


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.counts", description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name} anew")
    parser.add_argument("--profile", metavar="NAME", choices=OPERATIONS, help="the functions of one of them")
    parser.add_argument("--room", type=float, default=ROOM, help="how much more is no failure; default: 0.05")
    parser.add_argument("--only", help="names, separated by semicolons")
    options = parser.parse_args(arguments)
    names = [name.strip() for name in options.only.split(";")] if options.only else list(OPERATIONS)
    if unknown := set(names) - set(OPERATIONS):
        parser.error(f"nothing is called {', '.join(sorted(unknown))}; there are: {'; '.join(OPERATIONS)}")
    if not shutil.which("valgrind"):
        print("counts: skipped: there is no valgrind here (apt-get install valgrind)")
        return 0
    begin = time.monotonic()
    try:
        if options.profile:
            count(prepare.hot_path(), options.profile, OPERATIONS[options.profile], True)
            return 0
        now, found = surroundings(), measure(names)
    except (Missing, subprocess.SubprocessError) as reason:
        print(f"counts: {reason}", file=sys.stderr)
        return 1
    recorded = load()
    if options.record:
        values = {**recorded.get("values", {}), **{name: round(value, 1) for name, value in found.items()}}
        RECORDED.write_text(json.dumps({"for": now, "values": values}, indent=1) + "\n")
        recorded = load()
    other = {key: value for key, value in now.items() if recorded.get("for", {}).get(key) != value}
    slower = []
    print(f"{'instructions of one':<28}{'now':>12}{'recorded':>12}")
    for name, value in found.items():
        before = recorded.get("values", {}).get(name)
        change = "" if before is None else f"{value / before - 1:+8.1%}"
        print(f"{name:<28}{value:>12,.1f}{before if before is not None else float('nan'):>12,.1f} {change}")
        if before is not None and value > before * (1 + options.room):
            slower.append(name)
    print(f"counts: {time.monotonic() - begin:.0f} s")
    many, few, most = FLAT
    if found.get(many, 0) > found.get(few, math.inf) * most:
        print(f"counts: FAILED: a request {many} takes {found[many] / found[few]:.2f} times one {few}, above {most}")
        return 1
    if other:
        print(f"counts: recorded with another {', '.join(other)}: nothing is compared")
        return 0
    if slower:
        print(f"counts: FAILED: more than {options.room:.0%} above what is recorded: {'; '.join(slower)}")
        print("counts: when that is wanted: python -m bench.counts --record, and say why in the commit")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
