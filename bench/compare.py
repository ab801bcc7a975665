"""Compares naquid with its peers and with the ceiling, in interleaved rounds on this machine.

    python -m bench [--quick] [--rounds R] [--only NAME,...] [--out FOLDER]

A round runs every contender once, so that what the machine does meanwhile hits all alike; only the ratios of one
comparison mean something. Writes results.json, results.md and plots to the folder and prints the table. Exit code 1
when a naquid run failed or answered wrongly, 2 for wrong usage; a peer that is missing is named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import prepare
from .prepare import HERE, Missing

CONNECTIONS = 100
LIMIT = 30  # seconds for one run of a peer
NAQUID = [sys.executable, "-m", "naquid", "bench"]
WINDOWS = {"rpc W=1": 1, "rpc W=16": 16, "rpc W=5000": 5000}


@dataclass(frozen=True)
class Workload:
    """metric: the key of a run's JSON that is compared. better: "more" or "less"."""

    name: str
    title: str
    metric: str
    unit: str
    better: str = "more"


WORKLOADS = [
    Workload("rpc W=1", "1 request outstanding on each of 100 connections", "requests_per_second", "requests/s"),
    Workload("rpc W=16", "16 requests outstanding on each of 100 connections", "requests_per_second", "requests/s"),
    Workload("rpc W=5000", "5,000 requests of each of 100 connections at once", "requests_per_second", "requests/s"),
    Workload("bulk", "one stream, one direction", "gbit_per_second", "Gbit/s"),
    Workload("handshake", "connections opened", "handshakes_per_second", "handshakes/s"),
    Workload("memory", "server memory per idle connection", "kb_per_connection", "KiB", "less"),
]

Command = Callable[[str, float], list[str] | None]
"""The command line for a workload, or None; the number scales the length of a run."""


@dataclass
class Contender:
    name: str
    command: Command
    ours: bool = False
    reasons: dict[str, str] = field(default_factory=dict)  # workload -> why it is not run any more


@dataclass
class Series:
    """The runs of one contender at one workload."""

    values: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    errors: int = 0

    def median(self) -> float:
        return statistics.median(self.values)

    def as_dict(self) -> dict[str, object]:
        return {
            "median": self.median(),
            "min": min(self.values),
            "max": max(self.values),
            "values": self.values,
            "p50_us": statistics.median(self.p50) if self.p50 else None,
            "p99_us": statistics.median(self.p99) if self.p99 else None,
            "errors": self.errors,
        }


def load(workload: str, scale: float, per_second: Sequence[float], window_flag: str) -> list[str]:
    """-r and -w for a contender that answers about so many requests in a second at W = 1, 16, 5000: a second's worth,
    at most 5,000 of each connection."""
    window = WINDOWS[workload]
    rate = per_second[list(WINDOWS).index(workload)]
    requests = min(5000, max(window if window < 5000 else 5000, int(rate * scale / CONNECTIONS)))
    return [requests_flag(window_flag), str(requests), window_flag, str(window)]


def requests_flag(window_flag: str) -> str:
    return "-r" if window_flag == "-w" else "--requests"


def naquid(mode: str) -> Command:
    def command(workload: str, scale: float) -> list[str] | None:
        if workload in WINDOWS:
            if mode == "asyncio" and workload == "rpc W=5000":
                return None  # half a million tasks measure asyncio, not us
            flags = load(workload, scale, (60e3, 600e3, 2e6), "--window")
            return [*NAQUID, "rpc", "--connections", str(CONNECTIONS), "--mode", mode, "--json", *flags]
        if mode != "asyncio":
            return None
        if workload == "bulk":
            return [*NAQUID, "bulk", "--seconds", str(2 * scale), "--json"]
        if workload == "handshake":
            return [*NAQUID, "handshake", "--count", str(int(2000 * scale)), "--json"]
        return [*NAQUID, "idle", "--connections", str(int(4000 * scale)), "--json"]

    return command


def ceiling(program: Path, *flags: str) -> Command:
    def command(workload: str, scale: float) -> list[str] | None:
        start = [str(program), "rpc", "-n", str(CONNECTIONS), "-t", str(LIMIT), *flags]
        if workload in WINDOWS:
            return start + load(workload, scale, (150e3, 3e6, 10e6), "-w")
        if flags:
            return None
        if workload == "bulk":
            return [str(program), "bulk", "-s", str(2 * scale)]
        return [str(program), "conns", "-n", str(int((2000 if workload == "handshake" else 4000) * scale))]

    return command


def enet(program: Path) -> Command:
    def command(workload: str, scale: float) -> list[str] | None:
        if workload not in WINDOWS:
            return None
        limit = 3 if workload == "rpc W=5000" else LIMIT  # it collapses there: do not wait for it
        flags = load(workload, scale, (100e3, 1e6, 500e3), "-w")
        return [str(program), "-n", str(CONNECTIONS), "-t", str(limit), *flags]

    return command


def peer(python: Path, script: str, per_second: tuple[float, float, float], *flags: str) -> Command:
    def command(workload: str, scale: float) -> list[str] | None:
        if workload not in WINDOWS or not per_second[list(WINDOWS).index(workload)]:
            return None
        size = load(workload, scale, per_second, "--window")
        limits = ["--connections", str(CONNECTIONS), "--seconds", str(LIMIT)]
        return [str(python), str(prepare.PEERS / script), *limits, *flags, *size]

    return command


def contenders(say: Callable[[str], None]) -> tuple[list[Contender], dict[str, str]]:
    """Those that could be had, and for the others why not."""
    modes = {"naquid": "python", "naquid.capi": "capi", "naquid asyncio": "asyncio"}
    found = [Contender(name, naquid(mode), True) for name, mode in modes.items()]
    missing: dict[str, str] = {}

    def add(names: Sequence[str], make: Callable[[], Sequence[Command]]) -> None:
        say(f"preparing {', '.join(names)}")
        try:
            found.extend(Contender(name, command) for name, command in zip(names, make(), strict=True))
        except Missing as reason:
            missing.update((name, str(reason)) for name in names)

    def with_ceiling() -> list[Command]:
        program = prepare.ceiling()
        return [ceiling(program), ceiling(program, "-X")]

    def with_python() -> list[Command]:
        python = prepare.peer_python()
        return [
            peer(python, "tls_rpc.py", (30e3, 600e3, 1e6), "--loop", "uvloop"),
            peer(python, "tls_rpc.py", (60e3, 600e3, 1e6)),
            peer(python, "aioquic_rpc.py", (5e3, 80e3, 5e5)),
            peer(python, "grpc_unary.py", (2e3, 4e3, 0)),
        ]

    add(["ceiling", "ceiling (trains)"], with_ceiling)
    add(["ENet"], lambda: [enet(prepare.enet())])
    add(["uvloop TLS", "asyncio TLS", "aioquic", "grpc.aio"], with_python)
    add(["aiopquic"], lambda: [peer(prepare.aiopquic_python(), "aiopquic_rpc.py", (30e3, 300e3, 1e6))])
    return found, missing


def run_once(command: list[str]) -> dict[str, float]:
    """The JSON line of one run; Missing when there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"it did not end within {4 * LIMIT} s") from None
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            result = json.loads(line)
            assert isinstance(result, dict)
            return result
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    raise Missing(f"exit code {done.returncode}: {lines[-1].strip() if lines else 'no message'}")


Results = dict[str, dict[str, Series]]  # workload -> contender -> runs


def measure(found: list[Contender], rounds: int, scale: float, patience: float, say: Callable[[str], None]) -> Results:
    """All rounds of all workloads. A contender that has taken `patience` seconds for a workload is not run again."""
    spent: dict[tuple[str, str], float] = {}
    results: Results = {workload.name: {} for workload in WORKLOADS}
    jobs = [
        (number, workload, contender)
        for workload in WORKLOADS
        for number in range(rounds if workload.name != "memory" else 1)
        for contender in found
        if contender.command(workload.name, scale)
    ]
    for done, (number, workload, contender) in enumerate(jobs):
        key = (workload.name, contender.name)
        if workload.name in contender.reasons or spent.get(key, 0.0) > patience:
            continue
        command = contender.command(workload.name, scale)
        assert command is not None
        say(f"[{100 * done // len(jobs):3d} %] {workload.name}, round {number + 1}: {contender.name}")
        begin = time.monotonic()
        try:
            one = run_once(command)
        except Missing as reason:
            contender.reasons[workload.name] = str(reason)
            continue
        spent[key] = spent.get(key, 0.0) + time.monotonic() - begin
        if workload.metric == "kb_per_connection":
            one.setdefault(workload.metric, one.get("server_kb_per_connection", 0.0))
        series = results[workload.name].setdefault(contender.name, Series())
        series.values.append(float(one[workload.metric]))
        series.errors += int(one.get("errors", 0)) + (one.get("verified", True) is False)
        for name, values in (("p50_us", series.p50), ("p99_us", series.p99)):
            if name in one:
                values.append(float(one[name]))
    return results


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio(workload: Workload, value: float, other: Series | None) -> str:
    if other is None or other.errors or not other.median():  # a collapse is no measure
        return ""
    return f"{value / other.median():.2f}"


def markdown(results: Results, found: list[Contender], missing: dict[str, str], facts: dict[str, str]) -> str:
    """The report."""
    text = ["# Comparison", "", ", ".join(f"{name}: {value}" for name, value in facts.items()) + ".", ""]
    text += ["Median of the rounds and lowest to highest; x columns are ratios of medians of this comparison.", ""]
    for workload in WORKLOADS:
        rows = results[workload.name]
        if not rows:
            continue
        references = {"x ceiling": rows.get("ceiling")}
        if workload.name in WINDOWS:
            references |= {"x ENet": rows.get("ENet"), "x uvloop TLS": rows.get("uvloop TLS")}
        latency = ["p50 µs", "p99 µs"] if workload.name in WINDOWS else []
        header = [workload.unit, "median", "lowest-highest", *references, *latency, "errors"]
        text += [f"## {workload.title}", "", "| " + " | ".join(header) + " |"]
        text.append("|" + "|".join(["---"] + ["---:"] * (len(header) - 1)) + "|")
        order = sorted(rows.items(), key=lambda item: item[1].median(), reverse=workload.better == "more")
        for name, series in order:
            shown = f"**{name}**" if any(c.ours and c.name == name for c in found) else name
            cells = [shown, number(series.median()), f"{number(min(series.values))}-{number(max(series.values))}"]
            cells += [ratio(workload, series.median(), other) for other in references.values()]
            if latency:
                cells += [number(statistics.median(v)) if v else "" for v in (series.p50, series.p99)]
            text.append("| " + " | ".join([*cells, f"{series.errors:,}"]) + " |")
        text.append("")
    notes = [f"* {name}: {reason}" for name, reason in missing.items()]
    notes += [f"* {c.name}, {workload}: {why}" for c in found for workload, why in c.reasons.items()]
    if notes:
        text += ["## Left out", "", *notes, ""]
    return "\n".join(text)


def machine() -> dict[str, str]:
    """What a reader needs to place the figures."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    load_average = f"{os.getloadavg()[0]:.1f}"
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load before": load_average,
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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 short rounds: less than 3 minutes")
    parser.add_argument("--rounds", type=int, help="default: 5, or 3 with --quick")
    parser.add_argument("--scale", type=float, help="seconds of work in a run, about; default: 1, or 0.4 with --quick")
    parser.add_argument("--only", help="contenders, separated by commas")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: bench/results")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (3 if options.quick else 5)
    scale = options.scale or (0.4 if options.quick else 1.0)
    facts = machine() | {"rounds": str(rounds)}
    found, missing = contenders(status)
    if options.only:
        names = {name.strip() for name in options.only.split(",")}
        unknown = names - {c.name for c in found} - missing.keys()
        if unknown:
            parser.error(f"no contender is called {', '.join(sorted(unknown))}")
        found = [c for c in found if c.name in names]
        missing = {name: reason for name, reason in missing.items() if name in names}
    results = measure(found, rounds, scale, 4.0 if options.quick else 120.0, status)
    status("")
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": facts,
        "workloads": {w.name: {"title": w.title, "unit": w.unit, "better": w.better} for w in WORKLOADS},
        "results": {w: {name: s.as_dict() for name, s in rows.items()} for w, rows in results.items()},
        "missing": missing | {f"{c.name}, {w}": why for c in found for w, why in c.reasons.items()},
    }
    (options.out / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(results, found, missing, facts)
    (options.out / "results.md").write_text(text)
    print(text)
    trouble = plot(options.out)
    print(f"written to {options.out}{f'; {trouble}' if trouble else ', with plots'}", file=sys.stderr)
    ours = {c.name for c in found if c.ours}
    wrong = any(s.errors for rows in results.values() for name, s in rows.items() if name in ours)
    return 1 if wrong or any(c.reasons for c in found if c.ours) else 0
