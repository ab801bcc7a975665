"""Writes what repeats the engine's limits: the fields of `naquid.Limits`, between two marks in naquid/config.py, and
the table of docs/limits.md.

    python scripts/gen_limits.py           write both
    python scripts/gen_limits.py --check   exit 1 when one of them is not what would be written

A limit is a row of src_cython/engine/base/limit.h: its field, default, range, unit and text, as the extension that was
built from it says (`naquid.limits_table()`). What a user of Python should know besides stands in MORE.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

import naquid

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "limits.md"
CONFIG = ROOT / "naquid" / "config.py"
BEGIN = "    # ---- written by scripts/gen_limits.py ----\n"
END = "    # ---- end of what is written ----\n"
WIDTH = 120

# Sentences behind that of limit.h, by field.
MORE = {
    "stream_window": "See RFC 9000 4.1; it begins with 512 KiB, or with this.",
    "connection_window": "See RFC 9000 4.1; larger than `stream_window`, so that a stream that is not read leaves "
    "something to the others.",
    "max_streams_bidi": "See RFC 9000 4.6.",
    "max_streams_uni": "See RFC 9000 4.6.",
    "send_high": "Above it `send()` and `drain()` wait.",
    "send_low": "There `send()` and `drain()` go on.",
    "max_send_queue": "Above it sending raises QueueFull.",
    "max_pending_calls": "Above it calling raises QueueFull.",
    "max_udp_payload": "See RFC 9000 14.3, and 18.2 for what the peer is told (`max_udp_payload_size`). At most 1452 "
    "until there is bulk to send.",
    "max_half_open": "See RFC 9000 8.1.2.",
}

HEAD = """\
# Limits

Nothing grows without a bound. Those that can be set are the fields of [`naquid.Limits`](reference/config.md), for
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

# Of the facade alone: field, default, smallest, largest, unit, text.
FACADE = [("max_handler_tasks", 1024, 1, 1 << 20, "tasks", "coroutine handlers of one connection that run at once")]


def number(value: int | float, unit: str) -> str:
    """As a person would write it: 2 MiB, 1048576, 0.5."""
    if unit == "bytes":
        for size, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if value >= size and value % size == 0:
                return f"{int(value) // size} {name}"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return str(value)


def python_number(value: int, unit: str) -> str:
    """As a default is written in Python: 10.0 seconds, 16 << 20, 1024."""
    if unit == "ns":
        return repr(value / 1e9)
    for shift, least in ((20, 1 << 20), (10, 1 << 17)):
        if value >= least and value % (1 << shift) == 0:
            return f"{value >> shift} << {shift}"
    return str(value)


def fields() -> str:
    """The fields of naquid.Limits."""
    lines = []
    for name, default, smallest, largest, unit, text in naquid.limits_table():
        kind = "float" if unit == "ns" else "int"
        low, high = (number(value / 1e9 if unit == "ns" else value, unit) for value in (smallest, largest))
        shown = {"ns": "Seconds", "bytes": "Bytes"}.get(unit, unit.capitalize())
        said = f"{text[0].upper()}{text[1:]}. {shown}, {low} to {high}."
        if name in MORE:
            said += f" {MORE[name]}"
        lines.append(f"    {name}: {kind} = {python_number(default, unit)}\n")
        lines += [f"    {line}\n" for line in textwrap.wrap(f'"""{said}"""', WIDTH - 4)]
    return "".join(lines)


def config() -> str:
    """The text of naquid/config.py."""
    text = CONFIG.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + fields() + END + after


def page() -> str:
    """The text of docs/limits.md."""
    lines = []
    for name, default, smallest, largest, unit, text in [*naquid.limits_table(), *FACADE]:
        values = [value / 1e9 if unit == "ns" else value for value in (default, smallest, largest)]
        cells = [f"`{name}`", *(number(value, unit) for value in values), "s" if unit == "ns" else unit, text]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return HEAD + "".join(lines) + TAIL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    old = 0
    for path, text in ((CONFIG, config()), (PAGE, page())):
        if not check:
            path.write_text(text)
        elif path.read_text() != text:
            print(f"{path.relative_to(ROOT)} is old: run python scripts/gen_limits.py", file=sys.stderr)
            old = 1
    return old


if __name__ == "__main__":
    sys.exit(main())
