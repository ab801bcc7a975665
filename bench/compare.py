"""The rounds: a round runs every contender once, so that what the machine does meanwhile hits all alike."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .contenders import LIMIT, WINDOWS, WORKLOADS, Contender, Workload
from .prepare import Missing


@dataclass
class Series:
    """The runs of one contender at one workload."""

    values: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    percentiles: list[list[float]] = field(default_factory=list)  # of each run
    with_handshakes: list[float] = field(default_factory=list)  # the handshakes in the clock, where they are known
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
            "percentiles_us": [statistics.median(at_one) for at_one in zip(*self.percentiles, strict=True)] or None,
            "with_handshakes": statistics.median(self.with_handshakes) if self.with_handshakes else None,
            "errors": self.errors,
        }


def run_once(command: list[str]) -> dict[str, Any]:
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
        if "handshake_seconds" in one and "requests" in one:
            series.with_handshakes.append(one["requests"] / (one["seconds"] + one["handshake_seconds"]))
        for name, values in (("p50_us", series.p50), ("p99_us", series.p99)):
            if one.get(name):
                values.append(float(one[name]))
        if one.get("percentiles_us"):
            series.percentiles.append(one["percentiles_us"])
    return results


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio(workload: Workload, value: float, other: Series | None) -> str:
    if other is None or other.errors or not other.median():  # a collapse is no measure
        return ""
    return f"{value / other.median():.2f}"


def tables(results: Results, found: list[Contender], missing: dict[str, str]) -> list[str]:
    """A table for each workload, and what was left out."""
    text = ["Median of the rounds and lowest to highest; x columns are ratios of medians of this comparison.", ""]
    for workload in WORKLOADS:
        rows = results[workload.name]
        if not rows:
            continue
        references = {"x ceiling": rows.get("ceiling")}
        if workload.name == "bulk":
            references |= {"x aiopquic": rows.get("aiopquic")}
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
    notes += [f"* {one.name}, {workload}: {why}" for one in found for workload, why in one.reasons.items()]
    if notes:
        text += ["## Left out", "", *notes, ""]
    return text
