"""Draws the results of a comparison: python plot.py results.json folder. Needs matplotlib."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullLocator
from PIL import Image

OURS, LIMIT, OTHERS = "#1f6f8b", "#9aa5ab", "#d9a566"


def colour(name: str) -> str:
    return OURS if name.startswith("naquid") else LIMIT if name.startswith(("ceiling", "plain")) else OTHERS


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


def footer_of_curves(facts: dict[str, str]) -> str:
    return f"{facts['processor']}, {facts['cores']} cores, {facts['system']}, Python {facts['Python']}"


def finish(figure: Any, file: Path, heading: str, footer: str) -> None:
    figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.supxlabel(footer, x=0.01, ha="left", fontsize=7, color="#555555")
    figure.savefig(file, dpi=110)
    plt.close(figure)
    with Image.open(file) as image:  # few colours: a quarter of the bytes
        small = image.convert("RGB").quantize(48)
    small.save(file, optimize=True)


def plain(axes: Any) -> None:
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def curves(report: dict[str, Any], file: Path, footer: str) -> None:
    """For each curve the rate and, beside it, the processor time of a request."""
    size = (9, 1 + 2.1 * len(report))
    figure, axes = plt.subplots(len(report), 2, figsize=size, squeeze=False, layout="constrained")
    for row, curve in zip(axes, report.values(), strict=True):
        x = [point["x"] for point in curve["points"]]
        for one, key, label in (
            (row[0], "requests_per_second", "requests/s"),
            (row[1], "cpu_us", "CPU of a request, µs"),
        ):
            one.plot(x, [point[key] for point in curve["points"]], marker="o", color=OURS, markersize=4)
            one.set_xscale("log")
            one.set_xticks(x, [f"{value:,}" for value in x])
            one.xaxis.set_minor_locator(NullLocator())
            one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, "") if value else "0"))
            one.set_ylabel(label, fontsize=8)
            values = [point[key] for point in curve["points"]]
            if max(values) > 30 * min(values):
                one.set_yscale("log")
                one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, "")))
            else:
                one.set_ylim(0, 1.15 * max(values))
            plain(one)
        row[0].set_title(curve["title"], loc="left", fontsize=9)
    finish(figure, file, "Scaling", footer)


def game(report: dict[str, Any], file: Path, footer: str) -> None:
    """Delays, bytes and processor time of each library."""
    names = [name for name, one in report.items() if name != "about" and "trouble" not in one]
    panels = [
        ("Delay, ms", [f"{what}_p{p}_ms" for what in ("position", "event") for p in (50, 90, 99)], 1.0),
        ("KB for each player, second", ["bytes_up", "bytes_down"], 1e-3),
        ("CPU, ms, the same", ["server_cpu_us", "client_cpu_us"], 1e-3),
    ]
    words = {"bytes_up": "up", "bytes_down": "down", "server_cpu_us": "server", "client_cpu_us": "players"}
    widths = [len(keys) for _, keys, _ in panels]
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 3.6), width_ratios=widths, layout="constrained")
    for one, (title, keys, scale) in zip(axes, panels, strict=True):
        for index, name in enumerate(names):
            at = [k + 0.4 * index for k in range(len(keys))]
            one.bar(at, [report[name][key] * scale for key in keys], 0.38, label=name, color=(OURS, OTHERS)[index % 2])
        shown_keys = [words.get(key, key.replace("_ms", "").replace("_", "\n")) for key in keys]
        one.set_xticks([k + 0.2 * (len(names) - 1) for k in range(len(keys))], shown_keys)
        one.set_title(title, loc="left", fontsize=9)
        plain(one)
    axes[0].legend(fontsize=8, frameon=False)
    about = report["about"]
    heading = f"A game: {about['players']} players, {about['loss']:.0%} loss, {1e3 * about['delay']:g} ms each way"
    finish(figure, file, heading, footer)


def tail(report: dict[str, Any], file: Path, footer: str) -> None:
    """Percentiles of latency beside each load; the axis gives each further nine the same room."""
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for name, case in report["cases"].items():
        if "trouble" not in case:
            x = [-math.log10(1 - share / 100) for share, _ in case["curve"]]
            style = {"color": LIMIT, "linestyle": "--"} if name == "alone" else {}
            axes.plot(x, [value for _, value in case["curve"]], label=report["titles"][name], **style)
    axes.axhline(5, color="#333333", linewidth=0.8, linestyle=":", label="the target for the 99th percentile")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xticks(range(5), ["0", "90", "99", "99.9", "99.99"])
    axes.set_xlabel("percentile", fontsize=8)
    axes.set_ylabel("ms from call to reply, logarithmic", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    plain(axes)
    finish(figure, file, f"Calls of one client, {report['rate']:,.0f} a second, beside others", footer)


def main() -> None:
    report = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    if "cases" in report:
        tail(report, folder / "tail.png", f"{report['seconds']:g} s of calls beside each")
        return
    facts = report["machine"]
    medians = f"{footer_of_curves(facts)}; medians of up to {facts['rounds']} interleaved rounds"

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
        lines = any(panel[1] == "median" for panel in panels)
        finish(figure, folder / name, heading, f"{medians}{', lines from lowest to highest' if lines else ''}")

    if report.get("tail"):
        tail(report["tail"], folder / "tail.png", footer_of_curves(facts))
    if report.get("scaling"):
        curves(report["scaling"], folder / "scaling.png", footer_of_curves(facts))
    if any("trouble" not in one for name, one in report.get("game", {}).items() if name != "about"):
        game(report["game"], folder / "game.png", footer_of_curves(facts))
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
