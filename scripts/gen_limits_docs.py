"""Writes docs/limits.md: the table of every limit, with its default, range and unit.

    python scripts/gen_limits_docs.py           write it
    python scripts/gen_limits_docs.py --check   exit 1 when it is not what would be written

What a limit is comes from the engine's own table (`naquid.limits_table()`), its Python default from `naquid.Limits`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import naquid

PAGE = Path(__file__).resolve().parent.parent / "docs" / "limits.md"

HEAD = """\
# Limits

Nothing grows without a bound. Every bound is a field of [`naquid.Limits`](reference/config.md), for
`ServerConfig(limits=...)` and `ClientConfig(limits=...)`; a value out of its range raises `ConfigError` when the object
is made. Times are seconds, with fractions; sizes are bytes.

```python
import naquid

server = naquid.ServerConfig(limits=naquid.Limits(idle_timeout=60.0, max_connections=10_000))
```

| field | default | from | to | unit | what it bounds |
|---|---:|---:|---:|---|---|
"""

TAIL = """
Of the facade itself: at most 256 KiB or 1024 records of a stream wait to be read; then the peer is stopped by flow
control.
"""

FACADE = [("max_handler_tasks", 1, 1 << 20, "tasks", "coroutine handlers of one RPC stream that run at once")]


def number(value: int | float, unit: str) -> str:
    """As a person would write it: 2 MiB, 1048576, 0.5."""
    if unit == "bytes":
        for size, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if value >= size and value % size == 0:
                return f"{int(value) // size} {name}"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return str(value)


def page() -> str:
    """The text of docs/limits.md."""
    defaults = {item.name: item.default for item in dataclasses.fields(naquid.Limits)}
    rows = []
    for name, _, smallest, largest, unit, text in naquid.limits_table():
        low, high = (smallest / 1e9, largest / 1e9) if unit == "ns" else (smallest, largest)
        rows.append((name, low, high, "s" if unit == "ns" else unit, text))
    lines = []
    for name, low, high, unit, text in rows + FACADE:
        cells = [f"`{name}`", *(number(value, unit) for value in (defaults[name], low, high)), unit, text]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return HEAD + "".join(lines) + TAIL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    text = page()
    if parser.parse_args().check:
        if not PAGE.exists() or PAGE.read_text() != text:
            print("docs/limits.md is old: run python scripts/gen_limits_docs.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
