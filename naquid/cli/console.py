"""Progress and tables: by rich where it is installed and a terminal is there, as plain lines otherwise.

Progress goes to stderr and tables to stdout, so that results can be piped.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .stdio import say

Update = Callable[[float], None]
Rows = Sequence[Sequence[str]]

_drawing = False  # is there a bar now?


def has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


def is_drawn() -> bool:
    """Can stderr show what moves?"""
    return sys.stderr.isatty() and has_rich()


@contextmanager
def progress(what: str, total: float, quiet: bool = False) -> Iterator[Update]:
    """Gives a function to be called with what is done so far, out of `total`."""
    if quiet:
        yield lambda done: None
    elif is_drawn():
        with _bar(what, total) as update:
            yield update
    else:
        yield _Lines(what, total).update


@contextmanager
def _bar(what: str, total: float) -> Iterator[Update]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(escape(what), total=total)
        yield lambda done: bar.update(task, completed=min(done, total))


@contextmanager
def transferred(what: str, total: int | None, quiet: bool = False) -> Iterator[Update]:
    """The same for bytes, with their rate; total None: nobody knows. Leaves nothing on a terminal, which has room for
    one bar: of several at once the first is shown."""
    global _drawing
    if (quiet and not is_drawn()) or _drawing:
        yield lambda done: None
    elif is_drawn():
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), DownloadColumn(True)]
        columns += [TransferSpeedColumn(), TimeRemainingColumn(compact=True)]
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(escape(what), total=total)
            _drawing = True
            try:
                yield lambda done: bar.update(task, completed=done)
            finally:
                _drawing = False
    else:
        yield _Lines(what, total, "bytes", brief=True).update


class _Lines:
    """A line when it begins, then at most one a second, and one when it is done. brief: only those in between."""

    def __init__(self, what: str, total: float | None, unit: str = "", brief: bool = False) -> None:
        self._what, self._total, self._unit, self._brief = what, total, unit, brief
        self._last = time.monotonic()
        self._complete = False
        if not brief:
            print(f"{what} ...", file=sys.stderr, flush=True)

    def update(self, done: float) -> None:
        now = time.monotonic()
        complete = not self._brief and self._total is not None and done >= self._total
        if self._complete or (not complete and now - self._last < 1):
            return
        self._last, self._complete = now, complete
        share = f"{100 * done / self._total:3.0f} %" if self._total else f"{done:,.0f} {self._unit}".rstrip()
        print(f"{self._what}: {share}", file=sys.stderr, flush=True)


class Live:
    """A table that changes in place while something runs, above a bar; lines of progress where it cannot be drawn."""

    def __init__(self, title: str, quiet: bool) -> None:
        self._title = title
        self._lines: _Lines | None = None
        self._live: Any = None
        if quiet:
            return
        if is_drawn():
            from rich.console import Console
            from rich.live import Live as RichLive

            self._live = RichLive(console=Console(stderr=True), transient=True, refresh_per_second=10)
        else:
            self._lines = _Lines(title, 1.0)

    def __enter__(self) -> Live:
        if self._live is not None:
            self._live.start()
            self.show(0.0, [])
        return self

    def __exit__(self, *why: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, share: float, rows: Rows) -> None:
        """share: 0 to 1, what is done. rows: name and value."""
        if self._lines is not None:
            self._lines.update(share)
        if self._live is None:
            return
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column()
        grid.add_column(justify="right", min_width=14)
        for row in rows:
            grid.add_row(*(Text(cell) for cell in row))
        bar = ProgressBar(total=1.0, completed=min(share, 1.0), width=50)
        self._live.update(Group(Text(self._title), grid, bar))


SPARKS = "▁▂▃▄▅▆▇█"


def spark(values: Sequence[float], width: int = 40) -> str:
    """The last values as a line of little bars, the highest full."""
    last = list(values[-width:])
    top = max(last, default=0.0)
    return "".join(SPARKS[min(7, int(8 * value / top))] for value in last) if top > 0 else ""


def table(title: str, header: Sequence[str], rows: Rows, text_columns: Sequence[int] = (0,)) -> None:
    """Prints a table; `text_columns` are text, the others are numbers."""
    if sys.stdout.isatty() and has_rich():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table()
        for i, name in enumerate(header):
            drawn.add_column(name, justify="left" if i in text_columns else "right")
        for row in rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console = Console(highlight=False)
        console.print(title, markup=False)
        console.print(drawn)
        return
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    say(title)
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if i in text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say("  " + "  ".join(cells).rstrip())
    print()


def number(value: float) -> str:
    """1234567.8 -> 1,234,568; 12.34 -> 12.3"""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def micros(us: float | None) -> str:
    """A duration in µs in the unit that reads best; None: it was not measured."""
    if us is None:
        return "not timed"
    return f"{us:.0f} µs" if us < 1000 else f"{us / 1000:.1f} ms" if us < 1e6 else f"{us / 1e6:.2f} s"
