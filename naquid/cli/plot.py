"""Plots of `naquid bench`, by matplotlib, which is imported when one is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import CommandError

COLOUR = "#1f6f8b"
PERCENTILES = (0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 99.999)
FORMATS = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """Raises CommandError when nothing could be drawn there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("plots are drawn by the package matplotlib: pip install matplotlib")
    if path.suffix.lower() not in FORMATS:
        raise CommandError(f"{path}: give the plot a name that ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"{path}: there is no such folder")


def draw(path: Path, title: str, unit: str, rates: Sequence[tuple[float, float]], latencies: Sequence[int]) -> None:
    """rates: seconds, and `unit` then. latencies: ns; without any there is no second panel."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    plt: Any = importlib.import_module("matplotlib.pyplot")
    panels = 2 if latencies else 1
    figure, axes = plt.subplots(panels, 1, figsize=(8, 3 * panels), squeeze=False, layout="constrained")
    over_time = axes[0][0]
    over_time.plot([at for at, _ in rates], [rate for _, rate in rates], color=COLOUR, marker=".", linewidth=1.5)
    over_time.set_ylim(bottom=0)
    over_time.set_xlim(left=0)
    over_time.set_xlabel("seconds")
    over_time.set_ylabel(unit)
    over_time.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}")
    if latencies:
        _percentiles(axes[1][0], sorted(latencies))
    for one in axes[:, 0]:
        one.grid(alpha=0.3)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _percentiles(axes: Any, ordered: Sequence[int]) -> None:
    """Latency over percentiles, the tail stretched: one step right is a tenth of what was left."""
    shown = [p for p in PERCENTILES if (1 - p / 100) * len(ordered) >= 1]
    values = [ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] / 1e3 for p in shown]
    scale = 1e3 if values[-1] >= 1e4 else 1.0
    unit = "ms" if scale == 1e3 else "µs"
    left = [1 / (1 - p / 100) for p in shown]
    axes.plot(left, [value / scale for value in values], color=COLOUR, marker="o", markersize=4, linewidth=1.5)
    axes.set_xscale("log")
    axes.set_xticks(left, [f"{p:g}" for p in shown])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("percentile")
    axes.set_ylabel(f"latency, {unit}")
