"""The targets: what naquid must reach beside the ceiling and its peers, and what a comparison says about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

MEMORY = 45.0  # KiB of server memory for an idle connection, everything included
ORIGINAL = 489e3  # requests/s of the original at W = 5000 with the handshakes in the clock; measured once, elsewhere
FLAT = 1.2
TAIL = 5.0  # ms, the 99th percentile of a client's calls beside what others do
IMPORT = 50.0  # ms from the start of an interpreter that imports naquid to its end
# No targets, but placed beside those of the plain ceiling: it does one thing more.
CEILINGS = {
    "ceiling (trains)": "no target, but what naquid does too",
    "ceiling (verifying)": "no target; it verifies every chain, naquid remembers those it has verified",
}

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]  # workload -> contender -> Series.as_dict()


@dataclass(frozen=True)
class Row:
    """One requirement. ratio: measured / reference, None when one of the two is missing; wanted: its bound, None when
    the row is only there to place another."""

    work: str
    against: str
    measured: float | None
    reference: float | None
    wanted: float | None
    unit: str
    at_most: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.measured / self.reference if self.measured is not None and self.reference else None

    @property
    def met(self) -> bool | None:
        if self.ratio is None or self.wanted is None:
            return None
        return self.ratio <= self.wanted if self.at_most else self.ratio >= self.wanted

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


# what, workload, contender, {reference: at least so many times as much}
RATIOS: list[tuple[str, str, str, dict[str, float]]] = [
    ("Python handlers, W = 1", "rpc W=1", "naquid", {"ceiling": 0.85, "ENet": 1.4, "uvloop TLS": 4, "aiopquic": 10}),
    ("Python handlers, W = 16", "rpc W=16", "naquid", {"ceiling": 0.55, "ENet": 1.4, "uvloop TLS": 4, "aiopquic": 6}),
    ("Python handlers, W = 5,000", "rpc W=5000", "naquid", {"uvloop TLS": 2.5, "aiopquic": 3.5}),
    ("batch handlers, W = 5,000", "rpc W=5000", "naquid batch", {"uvloop TLS": 5}),
    ("native handlers, W = 16", "rpc W=16", "naquid native", {"ceiling": 0.7}),
    ("native handlers, W = 5,000", "rpc W=5000", "naquid native", {"ceiling": 0.7}),
    ("asyncio, 16 tasks a connection", "rpc W=16", "naquid asyncio", {"aiopquic": 1.5, "grpc.aio": 50}),
    ("bulk, every byte compared", "bulk", "naquid asyncio", {"ceiling": 0.6, "aiopquic": 3}),
    ("handshakes", "handshake", "naquid asyncio", {"ceiling": 0.8}),
]
UNITS = {"bulk": "Gbit/s", "handshake": "handshakes/s"}


def _value(rows: Rows, workload: str, name: str, key: str = "median") -> float | None:
    series = rows.get(workload, {}).get(name)
    if series is None or series.get(key) is None:
        return None
    return float(series[key])


def from_comparison(rows: Rows) -> Iterator[Row]:
    """The rows that a comparison answers, in the order of the table of targets."""
    for what, workload, name, references in RATIOS:
        for reference, wanted in references.items():
            series = rows.get(workload, {}).get(reference, {})
            broken = "it lost replies" if series.get("errors") else ""  # a collapse is no measure
            value = None if broken else _value(rows, workload, reference)
            unit = UNITS.get(workload, "requests/s")
            yield Row(what, reference, _value(rows, workload, name), value, wanted, unit, note=broken)
            for other in CEILINGS:
                if reference != "ceiling" or other not in rows.get(workload, {}):
                    continue
                mine, its = _value(rows, workload, name), _value(rows, workload, other)
                yield Row(what, other, mine, its, None, unit, note=CEILINGS[other])
        if what == "Python handlers, W = 5,000":
            clock = _value(rows, workload, name, "with_handshakes")
            note = "handshakes in the clock; the original was measured on another day, at 489k requests/s"
            yield Row(what, "the original", clock, ORIGINAL, 4, "requests/s", note=note)
    memory = _value(rows, "memory", "naquid asyncio")
    yield Row("memory of an idle connection", "45 KiB", memory, MEMORY, 1, "KiB", at_most=True)


def from_curves(curves: Mapping[str, Any]) -> Iterator[Row]:
    """What must not grow: processor time of a request, both ends, by the number of connections and streams."""
    for name, most in (("connections", 1000), ("streams", 10_000)):
        points = [p for p in curves.get(name, {}).get("points", []) if p["x"] <= most and p.get("cpu_us")]
        costs = [p["cpu_us"] for p in points]
        last = costs[-1] if costs and points[-1]["x"] == most else None
        what = f"cost of a request, 1 to {most:,} {name}"
        note = "the largest number against the cheapest"
        yield Row(what, "the lowest", last, min(costs, default=0.0) or None, FLAT, "µs of CPU", True, note)


def from_counts(counts: Mapping[str, Any]) -> Iterator[Row]:
    """The same of what the engine looks up, in instructions: bench/counts.json."""
    for name in ("timers", "connection IDs", "handlers"):
        few, many = (counts.get("values", {}).get(f"{name}, {size}") for size in ("1", "10,000"))
        yield Row(f"cost of {name}, 1 to 10,000", "of 1", many, few, FLAT, "instructions", at_most=True)


def from_tail(report: Mapping[str, Any]) -> Iterator[Row]:
    """The 99th percentile of one client's calls beside each load: `tail.measure`."""
    for name, case in report.get("cases", {}).items():
        value = case.get("ms", {}).get("99")
        yield Row(f"p99 of calls beside {report['titles'][name]}", "5 ms", value, TAIL, 1, "ms", at_most=True)


def from_imports(report: Mapping[str, Mapping[str, float]]) -> Iterator[Row]:
    """The start of a program: `imports.measure`."""
    value = report.get("import naquid", {}).get("ms")
    yield Row("interpreter, import naquid, end", "50 ms", value, IMPORT, 1, "ms", at_most=True)


def shown(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    return f"{value / 1e3:.0f}k" if value >= 1e4 else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def table(rows: list[Row]) -> list[str]:
    """Markdown."""
    text = ["| work | measured | against | its value | ratio | wanted | |", "|---|---:|---|---:|---:|---:|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        unknown = row.note or "not measured" if row.measured is None or row.reference is None else row.note
        verdict = {True: "met", False: "**not met**", None: unknown}[row.met]
        measured = "" if row.measured is None else f"{shown(row.measured)} {row.unit}"
        cells = [row.work, measured, row.against, shown(row.reference), ratio]
        wanted = "" if row.wanted is None else f"{'≤' if row.at_most else '≥'} {row.wanted:g}"
        if row.note and row.met is not None:
            verdict = f"{verdict}; {row.note}"
        text.append("| " + " | ".join([*cells, wanted, verdict or ""]) + " |")
    return [*text, ""]
