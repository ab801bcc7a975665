#!/usr/bin/env python3
"""Measures which lines of the engine (C) and of the facade (Python) the tests run, and shows them by folder.

    scripts/measure_coverage.py [--suites tests/aio,tests/capi,...] [--report]

The engine's lines are counted by gcov in a build of its own: in the tests in C, and in the extension, which the Python
suites use. The facade's are counted by coverage.py, in child processes, too. Below FLOOR per cent of either the exit
code is 1. --report: only shows what the last run has measured. At the end the tree has its usual build again.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOOR = 90.0
WORST = 15
ENGINE = ROOT / "src_cython" / "engine"
FACADE = ROOT / "naquid"
DATA = ROOT / "build" / "coverage"
C_TESTS = ROOT / "build" / "engine-coverage"
OBJECTS = ROOT / "build" / "objects-coverage"
SUITES = [
    f"tests/{name}"
    for name in ("unit", "aio", "capi", "testing", "cli", "extras", "hostile", "interop", "native", "bench", "threads")
]

LEFT_OUT = ["tests/capi/test_capi_memory.py", "tests/aio/test_memory.py"]
"""They let allocations fail, those of coverage.py as well."""

Lines = dict[Path, dict[int, bool]]
"""File -> line that can run -> whether it did."""


def run(*command: object, env: dict[str, str] | None = None, may_fail: bool = False) -> None:
    done = subprocess.run([str(word) for word in command], cwd=ROOT, env={**os.environ, **(env or {})}, check=False)
    if done.returncode and not may_fail:
        sys.exit(f"coverage: error: {command[0]} ended with exit code {done.returncode}")


def measure(suites: Iterable[str]) -> None:
    for folder in (DATA, C_TESTS):
        shutil.rmtree(folder, ignore_errors=True)
    for old in OBJECTS.glob("**/*.gcda"):
        old.unlink()
    DATA.mkdir(parents=True)
    make = ["make", "--no-print-directory", "-C", "tests/engine", f"B={C_TESTS}", f"PYTHON={sys.executable}"]
    run(*make, "CFLAGS=-O0 --coverage", "LDFLAGS=--coverage", "SAN=none", "run")
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    run(*build, env={"NAQUID_VARIANT": "coverage"})
    try:
        # Counting makes everything several times slower: what waits for it, waits longer. Whether the tests pass is
        # for `make test` to say; here they are told, and what they ran counts.
        run(
            sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider",
            "-o", "timeout=600", "-o", "faulthandler_timeout=0", *(f"--ignore={path}" for path in LEFT_OUT), *suites,
            may_fail=True,
        )  # fmt: skip
    finally:
        run(*build)


def engine_lines() -> Lines:
    found: Lines = collections.defaultdict(dict)
    counts = [*C_TESTS.glob("**/*.gcda"), *OBJECTS.glob("**/*.gcda")]
    for at in range(0, len(counts), 50):
        command = ["gcov", "--json-format", "--stdout", *map(str, counts[at : at + 50])]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for document in filter(str.strip, output.splitlines()):
            report = json.loads(document)
            for file in report["files"]:
                path = (Path(report["current_working_directory"]) / file["file"]).resolve()
                if ENGINE in path.parents:
                    for line in file["lines"]:
                        number = int(line["line_number"])
                        found[path][number] = found[path].get(number, False) or line["count"] > 0
    return found


def facade_lines() -> Lines:
    run(sys.executable, "-m", "coverage", "combine", "--quiet", "--append", may_fail=True)  # nothing new: --report
    target = DATA / "facade.json"
    run(sys.executable, "-m", "coverage", "json", "--quiet", "-o", target)
    report = json.loads(target.read_text())
    return {
        (ROOT / name).resolve(): dict.fromkeys(file["executed_lines"], True)
        | dict.fromkeys(file["missing_lines"], False)
        for name, file in report["files"].items()
    }


def share(lines: Iterable[dict[int, bool]]) -> tuple[int, int, float]:
    """Lines that ran, all lines, per cent."""
    ran = total = 0
    for file in lines:
        ran += sum(file.values())
        total += len(file)
    return ran, total, 100.0 * ran / total if total else 100.0


def show(found: Lines, base: Path, title: str) -> float:
    folders: dict[Path, list[dict[int, bool]]] = collections.defaultdict(list)
    for path, lines in found.items():
        folders[path.parent].append(lines)
    print(f"\n{title:<44}{'lines':>8}{'ran':>8}{'':>9}")
    for folder, files in sorted(folders.items()):
        ran, total, percent = share(files)
        print(f"  {folder.relative_to(ROOT)!s:<42}{total:>8,}{ran:>8,}{percent:>8.1f}%")
    ran, total, percent = share(found.values())
    print(f"  {'all':<42}{total:>8,}{ran:>8,}{percent:>8.1f}%")
    print(f"  least covered of {base.relative_to(ROOT)}:")
    by_share = sorted(found, key=lambda path: share([found[path]])[2])
    for path in by_share[:WORST]:
        _, total, percent_of_file = share([found[path]])
        missing = [number for number, was_run in sorted(found[path].items()) if not was_run]
        print(f"    {path.relative_to(base)!s:<28}{percent_of_file:>6.1f}% of {total:>4}   {spans(missing)}")
    return percent


def spans(numbers: list[int]) -> str:
    """Line numbers as ranges, as far as they fit."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number <= parts[-1][1] + 2:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    text = [f"{first}" if first == last else f"{first}-{last}" for first, last in parts]
    shown = ", ".join(text[:8])
    return shown + (", ..." if len(text) > 8 else "")


def main() -> int:
    parser = argparse.ArgumentParser(description="Lines that the tests run.")
    parser.add_argument("--suites", default=",".join(SUITES), help="the Python suites, with commas between")
    parser.add_argument("--report", action="store_true", help="only show what the last run has measured")
    options = parser.parse_args()
    if shutil.which("gcov") is None:
        sys.exit("coverage: error: gcov is needed, which comes with GCC: install gcc, or set CC to it")
    if not options.report:
        measure(options.suites.split(","))
    shares = {
        "engine": show(engine_lines(), ENGINE, "engine (C)"),
        "facade": show(facade_lines(), FACADE, "facade (Python)"),
    }
    below = [f"{name} {percent:.1f} %" for name, percent in shares.items() if percent < FLOOR]
    if below:
        print(f"\ncoverage: error: below {FLOOR:g} %: {', '.join(below)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
