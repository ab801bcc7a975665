"""Draws the results of a comparison: python plot.py results.json folder. Needs matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

OURS, LIMIT, OTHERS = "#1f6f8b", "#9aa5ab", "#d9a566"


def colour(name: str) -> str:
    return OURS if name.startswith("naquid") else LIMIT if name.startswith("ceiling") else OTHERS


def shown(value: float, key: str) -> str:
    if key == "p99_us":
        return f"{value:.3g} µs" if value < 1e3 else f"{value / 1e3:.3g} ms" if value < 1e6 else f"{value / 1e6:.3g} s"
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def bars(axes: Any, rows: dict[str, Any], key: str, title: str, label: str, more: bool, log: bool) -> None:
    """Horizontal bars, the best on top."""
    names = sorted((name for name in rows if rows[name][key]), key=lambda name: rows[name][key], reverse=not more)
    values = [rows[name][key] for name in names]
    axes.barh(names, values, color=[colour(name) for name in names], height=0.7)
    if key == "median":
        low = [v - rows[name]["min"] for name, v in zip(names, values, strict=True)]
        high = [rows[name]["max"] - v for name, v in zip(names, values, strict=True)]
        axes.errorbar(values, names, xerr=[low, high], fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
    if log:
        axes.set_xscale("log")
    left, right = min(values), max(values)
    axes.set_xlim(left / 3 if log else 0, right * (6 if log else 1.25))
    for y, (name, value) in enumerate(zip(names, values, strict=True)):
        edge = rows[name]["max"] if key == "median" else value
        note = f" {shown(value, key)}" + (" (errors)" if rows[name]["errors"] else "")
        axes.text(edge * (1.08 if log else 1.01), y, note, va="center", fontsize=8)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main() -> None:
    report = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    facts = report["machine"]
    footer = f"{facts['processor']}, {facts['cores']} cores, {facts['system']}, Python {facts['Python']}; median of "
    footer += f"{facts['rounds']} interleaved rounds, lines from lowest to highest"

    def save(name: str, panels: list[tuple[str, str, str, bool]], heading: str) -> None:
        panels = [panel for panel in panels if any(row[panel[1]] for row in report["results"][panel[0]].values())]
        if not panels:
            return
        heights = [1 + 0.28 * len(report["results"][panel[0]]) for panel in panels]
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(8, sum(heights) + 1), height_ratios=heights, squeeze=False, layout="constrained"
        )
        for panel, one in zip(panels, axes[:, 0], strict=True):
            workload, key, label, log = panel
            about = report["workloads"][workload]
            more = about["better"] == "more" and key == "median"
            bars(one, report["results"][workload], key, about["title"], label, more, log)
        figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.supxlabel(footer, x=0.01, ha="left", fontsize=7, color="#555555")
        figure.savefig(folder / name, dpi=130)
        plt.close(figure)

    rpc = [name for name in report["workloads"] if name.startswith("rpc")]
    save(
        "throughput.png",
        [(w, "median", "requests/s, logarithmic", True) for w in rpc],
        "Requests of 8 bytes per second",
    )
    save(
        "latency.png",
        [(w, "p99_us", "µs, logarithmic; less is better", True) for w in rpc],
        "99th percentile of latency",
    )
    units = {
        w: about["unit"] + ("; less is better" if about["better"] == "less" else "")
        for w, about in report["workloads"].items()
    }
    rest = [(w, "median", units[w], False) for w in report["workloads"] if w not in rpc]
    save("other.png", rest, "Bulk, handshakes, memory")


if __name__ == "__main__":
    main()
