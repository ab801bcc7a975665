"""Everything: naquid beside its peers and the ceiling, the game, the curves, the tail, imports, the table of targets.

    python -m bench [--quick] [--out FOLDER] [--rounds R] [--scale S] [--only NAME,...] [--part NAME,...]

Writes results.json, results.md and plots to the folder, ready for the documentation, and prints the report. Exit code 1
when a naquid run failed or answered wrongly, 2 for wrong usage; a peer that is missing is named and left out. A target
that is not met is no failure: the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from naquid.bench.points import PERCENTILES

from . import compare, games, imports, prepare, scaling, tail, targets
from .contenders import FULL, WORKLOADS, Contender, contenders
from .prepare import HERE, Missing

PARTS = ("compare", "game", "scaling", "tail", "import")


def machine() -> dict[str, str]:
    """What a reader needs to place the figures."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "date": time.strftime("%Y-%m-%d"),
    }


def status(text: str) -> None:
    """One line that is replaced on a terminal; a line each elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def plot(folder: Path) -> str | None:
    """Draws the plots with the peers' Python; what went wrong, or None."""
    try:
        prepare.run([prepare.peer_python(), HERE / "plot.py", folder / "results.json", folder], "drawing the plots")
    except Missing as reason:
        return str(reason)
    return None


def chosen(only: str | None, parser: argparse.ArgumentParser) -> tuple[list[Contender], dict[str, str]]:
    try:
        return contenders(status, [name.strip() for name in only.split(",")] if only else [])
    except LookupError as error:
        parser.error(str(error))


def counts() -> dict[str, Any]:
    """The recorded instruction counts."""
    file = HERE / "counts.json"
    loaded = json.loads(file.read_text()) if file.exists() else {}
    assert isinstance(loaded, dict)
    return loaded


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 short rounds: less than 3 minutes")
    parser.add_argument("--rounds", type=int, help="default: 4, or 2 with --quick")
    parser.add_argument(
        "--scale", type=float, help=f"seconds of work in a run, about; default: {FULL}, or 0.25 with --quick"
    )
    parser.add_argument("--only", help="contenders, separated by commas")
    parser.add_argument("--part", default=",".join(PARTS), help=f"of {','.join(PARTS)}; default: all of them")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: bench/results")
    options = parser.parse_args(arguments)
    quick, begin = options.quick, time.monotonic()
    rounds, scale = options.rounds or (2 if quick else 4), options.scale or (0.25 if quick else FULL)
    parts = [part.strip() for part in options.part.split(",")]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    facts = machine() | {"rounds": str(rounds)}
    found, missing = chosen(options.only, parser) if "compare" in parts else ([], {})
    results = compare.measure(found, rounds, scale, 3.0 if quick else 12.0, status)
    played = games.play(3.0 if quick else 10.0, status) if "game" in parts else {}
    curves: dict[str, Any] = {}
    if "scaling" in parts:
        sizes = (20_000, 1, 1000) if quick else (100_000, 3, 10_000)
        curves = scaling.measure(sizes[0], sizes[1], status, sizes[2])
    tails = tail.measure(3.0 if quick else 10.0, status) if "tail" in parts else {}
    imported = imports.measure(5 if quick else 20, status) if "import" in parts else {}
    facts["load after"] = f"{os.getloadavg()[0]:.1f}"
    facts["took"] = f"{time.monotonic() - begin:.0f} s"
    status("")
    named = {f"{one.name}, {w}": why for one in found for w, why in one.reasons.items()}
    report: dict[str, Any] = {
        "machine": facts,
        "workloads": {w.name: {"title": w.title, "unit": w.unit, "better": w.better} for w in WORKLOADS},
        "percentiles": PERCENTILES,
        "results": {w: {name: s.as_dict() for name, s in rows.items()} for w, rows in results.items()},
        "missing": missing | named,
        "game": played,
        "scaling": curves,
        "tail": tails,
        "imports": imported,
    }
    rows = [*targets.from_comparison(report["results"])] if "compare" in parts else []
    rows += [*targets.from_curves(curves)] if curves else []
    rows += [*targets.from_tail(tails)] if tails else []
    rows += [*targets.from_imports(imported)] if imported else []
    rows += [*targets.from_counts(counts())]
    report["targets"] = [row.as_dict() for row in rows]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = ["# Comparison", "", ", ".join(f"{name}: {value}" for name, value in facts.items()) + ".", ""]
    lines += ["## Targets", "", *targets.table(rows)]
    if "compare" in parts:
        lines += compare.tables(results, found, missing)
    lines += ["## A game", "", *games.table(played)] if played else []
    lines += ["## Latency beside others", "", *tail.table(tails)] if tails else []
    lines += ["## Imports", "", *imports.table(imported)] if imported else []
    lines += ["## Scaling", "", *scaling.tables(curves)] if curves else []
    text = "\n".join(lines).rstrip() + "\n"
    (options.out / "results.md").write_text(text)
    print(text)
    trouble = plot(options.out)
    print(f"written to {options.out}{f'; {trouble}' if trouble else ', with plots'}", file=sys.stderr)
    ours = {one.name for one in found if one.ours}
    wrong = any(s.errors for of_one in results.values() for name, s in of_one.items() if name in ours)
    wrong |= any(one.reasons for one in found if one.ours) or any(curve["trouble"] for curve in curves.values())
    wrong |= bool(tails) and tail.failed(tails)
    wrong |= bool(played) and games.failed(played)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
