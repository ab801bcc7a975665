"""Writes the docstrings of naquid/_naquid.pyi, so that an editor shows them: they are those of the compiled module.

    python scripts/gen_stubs_docs.py --write    write them
    python scripts/gen_stubs_docs.py            exit 1 when one is missing, or is not what the compiled module says

What a method does is said once, in its .pyx file, and the extension that was built from it is asked. Of what has no
docstring there (fields of a `cdef class` cannot have one, nor can constants), the stub's own text stays, and must be
there. Names that begin with `_` have none in the stub.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import naquid._naquid as compiled

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "naquid" / "_naquid.pyi"
WIDTH = 120

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Place:
    """A public name that the stub declares, with the text that it has there and the one that it should have."""

    name: str
    node: Definition | ast.AnnAssign
    written: str | None
    wanted: str | None
    end: int = 0  # the last line of the text behind a field

    @property
    def trouble(self) -> str:
        """What is wrong with it, "" when nothing is."""
        if self.wanted is None:
            return f"{self.name}: no docstring, neither in the compiled module nor in the stub"
        same = self.written is not None and self.written.split() == self.wanted.split()  # lines may be broken otherwise
        return "" if same else f"{self.name}: the stub has not the text of the compiled module"


def said(name: str) -> str | None:
    """What the compiled module says of a name with dots; None when nothing."""
    found: Any = compiled
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None)
    if found is None or isinstance(found, int | str | bytes) or not (text := getattr(found, "__doc__", None)):
        return None
    return inspect.cleandoc(text)


def text_after(body: list[ast.stmt], at: int) -> tuple[str | None, int]:
    """The string that stands behind a field or a constant, and its last line."""
    following = body[at + 1] if at + 1 < len(body) else None
    if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
        return inspect.cleandoc(str(following.value.value)), following.end_lineno or 0
    return None, 0


def places(body: list[ast.stmt], inside: str = "") -> Iterator[Place]:
    """The public names of a module or class, with what is in them."""
    for at, node in enumerate(body):
        if isinstance(node, Definition) and not node.name.startswith("_"):
            name = inside + node.name
            written = ast.get_docstring(node)
            yield Place(name, node, written, said(name) or written)
            if isinstance(node, ast.ClassDef):
                yield from places(node.body, f"{name}.")
        elif isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
            written, end = text_after(body, at)
            name = inside + ast.unparse(node.target)
            yield Place(name, node, written, said(name) or written, end)


def quoted(text: str, indent: int) -> list[str]:
    """A docstring's lines."""
    mark = 'r"""' if "\\" in text else '"""'
    end = '\\"""' if text.endswith('"') else '"""'
    lines = []
    for line in f"{mark}{text}{end}".split("\n"):
        inside = " " * (indent + len(line) - len(line.lstrip()))
        lines += textwrap.wrap(line.strip(), WIDTH, initial_indent=inside, subsequent_indent=inside) or [""]
    return lines


def put(lines: list[str], place: Place, text: str) -> None:
    """Writes a text where it belongs; what stands above keeps its line numbers."""
    node = place.node
    if isinstance(node, ast.AnnAssign):
        end = node.end_lineno or node.lineno
        lines[end : place.end or end] = quoted(text, node.col_offset)
        return
    first = node.body[0]
    start, end = first.lineno - 1, first.end_lineno or first.lineno
    head = lines[start][: first.col_offset].rstrip()
    replaced = ast.get_docstring(node) is not None or (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and first.value.value is Ellipsis
    )
    if isinstance(first, Definition) and first.decorator_list:
        start = first.decorator_list[0].lineno - 1
        head = ""
    made = [head] if head else []
    made += quoted(text, node.col_offset + 4)
    lines[start : end if replaced else start] = made


def renewed(source: str) -> str:
    """The stub with the docstrings of the compiled module."""
    lines = source.splitlines()
    for place in sorted(places(ast.parse(source).body), key=lambda place: -place.node.lineno):
        if place.wanted is not None:
            put(lines, place, place.wanted)
    command = (sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(STUB), "-")
    text = "\n".join(lines) + "\n"
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def troubles(source: str) -> list[str]:
    """What is wrong with the docstrings of a stub, a line each."""
    return [place.trouble for place in places(ast.parse(source).body) if place.trouble]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write them")
    if parser.parse_args().write:
        STUB.write_text(renewed(STUB.read_text()))
    wrong = troubles(STUB.read_text())
    for line in wrong:
        print(f"{STUB.relative_to(ROOT)}: {line}", file=sys.stderr)
    if wrong:
        print("run python scripts/gen_stubs_docs.py --write after a build; what is missing, write", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
