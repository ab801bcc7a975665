"""Progress and tables: by rich where it is installed and a terminal is there, as plain lines otherwise.

Progress goes to stderr and tables to stdout, so that results can be piped.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Update = Callable[[float], None]


def positive(kind: Callable[[str], Any], least: float = 1) -> Callable[[str], Any]:
    """An argparse type: a number of at least `least`."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not value >= least or value == float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {least:g}")
        return value

    convert.__name__ = getattr(kind, "__name__", "number")
    return convert


def has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


@contextmanager
def progress(what: str, total: float, quiet: bool = False) -> Iterator[Update]:
    """Gives a function to be called with what is done so far, out of `total`."""
    if quiet:
        yield lambda done: None
    elif sys.stderr.isatty() and has_rich():
        with _bar(what, total) as update:
            yield update
    else:
        yield _Lines(what, total).update


@contextmanager
def _bar(what: str, total: float) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=min(done, total))


class _Lines:
    """A line when it begins, then at most one a second, and one when it is done."""

    def __init__(self, what: str, total: float) -> None:
        self._what, self._total = what, total
        self._last = time.monotonic()
        self._complete = False
        print(f"{what} ...", file=sys.stderr, flush=True)

    def update(self, done: float) -> None:
        now = time.monotonic()
        complete = done >= self._total
        if self._complete or (not complete and now - self._last < 1):
            return
        self._last, self._complete = now, complete
        print(f"{self._what}: {100 * done / self._total:3.0f} %", file=sys.stderr, flush=True)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; the first column is text, the others are numbers."""
    if sys.stdout.isatty() and has_rich():
        from rich.console import Console
        from rich.table import Table

        drawn = Table()
        for i, name in enumerate(header):
            drawn.add_column(name, justify="right" if i else "left")
        for row in rows:
            drawn.add_row(*row)
        console = Console(highlight=False)
        console.print(title, markup=False)
        console.print(drawn)
        return
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print(title)
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
    print()


def number(value: float) -> str:
    """1234567.8 -> 1,234,568; 12.34 -> 12.3"""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def micros(us: float) -> str:
    """A duration in µs in the unit that reads best."""
    return f"{us:.0f} µs" if us < 1000 else f"{us / 1000:.1f} ms" if us < 1e6 else f"{us / 1e6:.2f} s"
