"""Draws the results of a comparison: python plot.py results.json folder. Needs matplotlib."""

from __future__ import annotations

import json
import math
import sys
from itertools import chain, cycle
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


def shown(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def bars(axes: Any, rows: dict[str, Any], title: str, label: str, more: bool, log: bool) -> None:
    """Horizontal bars, the best on top."""
    names = sorted(
        (name for name in rows if rows[name]["median"]), key=lambda name: rows[name]["median"], reverse=not more
    )
    values = [rows[name]["median"] for name in names]
    axes.barh(names, values, color=[colour(name) for name in names], height=0.7)
    low = [v - rows[name]["min"] for name, v in zip(names, values, strict=True)]
    high = [rows[name]["max"] - v for name, v in zip(names, values, strict=True)]
    axes.errorbar(values, names, xerr=[low, high], fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
    if log:
        axes.set_xscale("log")
    left, right = min(values), max(values)
    axes.set_xlim(left / 3 if log else 0, right * (6 if log else 1.25))
    for y, (name, value) in enumerate(zip(names, values, strict=True)):
        edge = rows[name]["max"]
        note = f" {shown(value)}" + (" (errors)" if rows[name]["errors"] else "")
        axes.text(edge * (1.08 if log else 1.01), y, note, va="center", fontsize=8)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


# Shades around the three colours, for curves that cross each other.
SHADES = {
    OURS: (OURS, "#0b3c5d", "#2fa4c7", "#3c8d5a"),
    LIMIT: (LIMIT, "#6b757a", "#3f464a"),
    OTHERS: (OTHERS, "#a8501f", "#7a5c2e", "#c8443f", "#e98a15", "#8a3b5c", "#a39128", "#d98880", "#4f4136"),
}


def line_styles(names: list[str]) -> dict[str, dict[str, Any]]:
    """A colour of its own for each; naquid's lines are thicker, those of the limits dashed."""
    left = {base: cycle(shades) for base, shades in SHADES.items()}
    width = {OURS: 2.6, LIMIT: 1.4, OTHERS: 1.2}
    return {
        name: {
            "color": next(left[base]),
            "linewidth": width[base],
            "linestyle": "--" if base == LIMIT else "-",
            "zorder": 3 if base == OURS else 2,
        }
        for name in names
        for base in [colour(name)]
    }


def footer_of_curves(facts: dict[str, str]) -> str:
    return f"{facts['processor']}, {facts['cores']} cores, {facts['system']}, Python {facts['Python']}"


def finish(figure: Any, file: Path, heading: str, footer: str, colours: int = 48) -> None:
    figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.supxlabel(footer, x=0.01, ha="left", fontsize=7, color="#555555")
    figure.savefig(file, dpi=110)
    plt.close(figure)
    with Image.open(file) as image:  # few colours: a quarter of the bytes
        small = image.convert("RGB").quantize(colours)
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
            one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value) if value else "0"))
            one.set_ylabel(label, fontsize=8)
            values = [point[key] for point in curve["points"]]
            if max(values) > 30 * min(values):
                one.set_yscale("log")
                one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
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
            style: dict[str, Any] = {"color": LIMIT, "linestyle": "--"} if name == "alone" else {}
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


def spread(places: list[float], gap: float) -> list[float]:
    """Near these places, which ascend from 0 to 1: others, at least `gap` apart. There must be room for all."""

    def upwards(places: list[float]) -> list[float]:
        found, least = [], 0.0
        for index, place in enumerate(places):
            most = 1 - gap * (len(places) - 1 - index)
            found.append(min(max(place, least), most))
            least = found[-1] + gap
        return found

    downwards = [1 - place for place in reversed(upwards([1 - place for place in reversed(places)]))]
    return [(up + down) / 2 for up, down in zip(upwards(places), downwards, strict=True)]


def latencies(report: dict[str, Any], workloads: list[str], file: Path, footer: str) -> None:
    """The percentiles of every contender that has them, a curve each; no plot where none has."""
    panels = {
        workload: {name: row for name, row in report["results"][workload].items() if row.get("percentiles_us")}
        for workload in workloads
    }
    panels = {workload: rows for workload, rows in panels.items() if rows}
    if not panels:
        return
    untimed = sorted({name for workload in panels for name in report["results"][workload]} - {*chain(*panels.values())})
    styles = line_styles([*dict.fromkeys(chain(*panels.values()))])
    x = [math.log10(p / (100 - p)) for p in report["percentiles"]]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(9, 0.8 + 4.4 * len(panels)), squeeze=False, layout="constrained"
    )
    for one, (workload, rows) in zip(axes[:, 0], panels.items(), strict=True):
        names = sorted(rows, key=lambda name: rows[name]["percentiles_us"][-1])
        for name in names:
            one.plot(x, rows[name]["percentiles_us"], **styles[name])
        one.set_yscale("log")
        one.set_xlim(x[0], x[-1])
        one.set_xticks(x, [f"{p:g}" for p in report["percentiles"]])
        one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        one.set_xlabel("percentile", fontsize=8)
        one.set_ylabel("µs, logarithmic; less is better", fontsize=8)
        one.set_title(report["workloads"][workload]["title"], loc="left", fontsize=10)
        plain(one)
        low, high = map(math.log10, one.get_ylim())
        ends = [(math.log10(rows[name]["percentiles_us"][-1]) - low) / (high - low) for name in names]
        for name, end, place in zip(names, ends, spread(ends, 0.047), strict=True):
            line = {"arrowstyle": "-", "color": styles[name]["color"], "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
            one.annotate(
                name + (" (errors)" if rows[name]["errors"] else ""),
                (1, end),
                (1.05, place),
                "axes fraction",
                arrowprops=line | {"relpos": (0, 0.5)},
                va="center",
                fontsize=8,
                color=styles[name]["color"],
                fontweight="bold" if name.startswith("naquid") else "normal",
            )
    if untimed:
        footer += f"; {', '.join(untimed)}: no request is timed"
    finish(figure, file, "Percentiles of latency", footer, colours=160)


def main() -> None:
    report = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    if "cases" in report:
        tail(report, folder / "tail.png", f"{report['seconds']:g} s of calls beside each")
        return
    facts = report["machine"]
    medians = f"{footer_of_curves(facts)}; medians of up to {facts['rounds']} interleaved rounds"

    def save(name: str, panels: list[tuple[str, str, bool]], heading: str) -> None:
        panels = [panel for panel in panels if any(row["median"] for row in report["results"][panel[0]].values())]
        if not panels:
            return
        heights = [1 + 0.28 * len(report["results"][panel[0]]) for panel in panels]
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(8, sum(heights) + 1), height_ratios=heights, squeeze=False, layout="constrained"
        )
        for panel, one in zip(panels, axes[:, 0], strict=True):
            workload, label, log = panel
            about = report["workloads"][workload]
            bars(one, report["results"][workload], about["title"], label, about["better"] == "more", log)
        finish(figure, folder / name, heading, f"{medians}, lines from lowest to highest")

    if report.get("tail"):
        tail(report["tail"], folder / "tail.png", footer_of_curves(facts))
    if report.get("scaling"):
        curves(report["scaling"], folder / "scaling.png", footer_of_curves(facts))
    if any("trouble" not in one for name, one in report.get("game", {}).items() if name != "about"):
        game(report["game"], folder / "game.png", footer_of_curves(facts))
    rpc = [name for name in report["workloads"] if name.startswith("rpc")]
    save(
        "throughput.png",
        [(w, "requests/s, logarithmic", True) for w in rpc],
        "Requests of 8 bytes per second",
    )
    latencies(report, [w for w in ("rpc W=1", "rpc W=16") if w in rpc], folder / "latency.png", medians)
    units = {
        w: about["unit"] + ("; less is better" if about["better"] == "less" else "")
        for w, about in report["workloads"].items()
    }
    rest = [(w, units[w], False) for w in report["workloads"] if w not in rpc]
    save("other.png", rest, "Bulk, handshakes, memory")


if __name__ == "__main__":
    main()
