#!/usr/bin/env python3
"""Whether every source file has at most 600 lines, and every function at most 80.

    scripts/check_sizes.py [FOLDER or FILE ...]

C and Cython are read plainly, by the layout that clang-format and cython-lint keep: a function of C begins at the start
of a line and ends with a brace there, one of Cython ends where the indentation does. Python is parsed. A function is
counted from its first line (decorators not included) to its last, documentation and functions inside it included. A
stub (.pyi) is counted without its docstrings, which are copies (scripts/gen_stubs_docs.py), and without empty lines.

Exit code 1 when something is larger; each is named on a line of its own.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("naquid", "src_cython", "tests", "bench", "scripts", "vendor", "examples", "docs", "setup.py")
GENERATED = {"build", "__pycache__", "node_modules"}
LINES_OF_FILE = 600
LINES_OF_FUNCTION = 80

# What stands at the start of a line of C and begins no function.
NO_FUNCTION = re.compile(r"[\s#/*}]|typedef\b|struct\b[^(]*$|enum\b|union\b|$")
C_COMMENT = re.compile(r"/\*.*?(\*/|$)|//.*$")  # it may go on, on the lines after
CYTHON_FUNCTION = re.compile(r"(\s*)(?:async\s+)?(?:def|cdef|cpdef)\b.*?(\w+)\(")
CYTHON_TYPE = re.compile(r"\s*cdef\s+(?:class|struct|enum|union|extern|packed)\b")


@dataclass(frozen=True)
class Function:
    """A function and the lines that it takes."""

    name: str
    first: int
    last: int

    @property
    def lines(self) -> int:
        return self.last - self.first + 1


def functions_of_c(text: str) -> Iterator[Function]:
    lines = text.splitlines()
    first = None  # of a declaration that has not ended yet, as an index
    inside = False
    for number, line in enumerate(lines):
        if inside and line.startswith("}") and first is not None:
            head = " ".join(lines[first : number + 1]).partition("(")[0].split()
            yield Function(head[-1].lstrip("*"), first + 1, number + 1)
            first, inside = None, False
        elif first is None and not NO_FUNCTION.match(line):
            first = number
        if first is not None and not inside:
            code = " ".join(C_COMMENT.sub("", part) for part in lines[first : number + 1]).rstrip()
            if code.endswith("{") and "(" in code and "=" not in code:
                inside = True
            elif code.endswith((";", "{", "}")):  # a declaration, a table, a function of one line
                first = None


def functions_of_cython(text: str) -> Iterator[Function]:
    lines = text.splitlines()
    for number, line in enumerate(lines):
        found = CYTHON_FUNCTION.match(line)
        if not found or CYTHON_TYPE.match(line):
            continue
        indent = len(found[1])
        last = number
        head = True  # the brackets of the signature may be closed at the indentation of the function
        for later in range(number + 1, len(lines)):
            if head:
                signature = "".join(lines[number:later])
                head = signature.count("(") > signature.count(")")
            if lines[later].strip() and not head and len(lines[later]) - len(lines[later].lstrip()) <= indent:
                break
            if lines[later].strip():
                last = later
        yield Function(found[2], number + 1, last + 1)


def functions_of_python(text: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(node.name, node.lineno, node.end_lineno or node.lineno)


READERS = {
    ".c": functions_of_c,
    ".h": functions_of_c,
    ".pyx": functions_of_cython,
    ".pxd": functions_of_cython,
    ".py": functions_of_python,
    ".pyi": functions_of_python,
}


def sources(given: list[Path]) -> Iterator[Path]:
    """The source files there and in the folders there, but for what was generated."""
    for path in given:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            inner = file.relative_to(path).parts
            if file.suffix in READERS and not any(part in GENERATED or part.startswith(".") for part in inner):
                yield file


def lines_of_texts(text: str) -> int:
    """Those of docstrings, of the strings that stand behind fields and constants, and empty ones."""
    empty = {number for number, line in enumerate(text.splitlines(), 1) if not line.strip()}
    strings = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return len(empty | strings)


def too_large(file: Path, name: str) -> list[str]:
    """One sentence for each thing in the file, called `name`, that is above its bound."""
    text = file.read_text()
    wrong = []
    lines = len(text.splitlines()) - (lines_of_texts(text) if file.suffix == ".pyi" else 0)
    if lines > LINES_OF_FILE:
        wrong.append(f"{name}: {lines} lines, at most {LINES_OF_FILE} please: split it by what its parts are for")
    wrong += [
        f"{name}:{function.first}: {function.name} has {function.lines} lines, at most {LINES_OF_FUNCTION} please"
        for function in READERS[file.suffix](text)
        if function.lines > LINES_OF_FUNCTION
    ]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that no source file or function is too large.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="FOLDER or FILE", help="all sources when left out")
    given = parser.parse_args().paths or [ROOT / name for name in SOURCES]
    wrong = []
    for file in sources(given):
        inside = file.resolve().is_relative_to(ROOT)
        wrong += too_large(file, str(file.resolve().relative_to(ROOT) if inside else file))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
