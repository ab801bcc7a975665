"""Says whether the parts of the binding need only what they may, and say what they need.

    python scripts/check_binding.py           exit 1, and a line for each fault
    python scripts/check_binding.py --write   first write what each part needs into its first lines

A part is a .pyx file of src_cython/core, aio or capi with its .pxd file. All are included into one module, so that
Cython itself lets every part use the names of all. The rule is here: core is what every API stands on and needs no
other floor, aio and capi stand on core and know nothing of each other. What a part needs is found by the names that it
uses, and stands behind its first sentence, as `# needs: core/loop core/stream`, for whoever reads it.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

BINDING = Path(__file__).resolve().parent.parent / "src_cython"
FLOORS = {"core": {"core"}, "aio": {"core", "aio"}, "capi": {"core", "capi"}}
NEEDS = "# needs:"

# What is no code, and a name that follows a dot, which is an attribute's.
NO_CODE = re.compile(r"(?:\b[rbf]{1,2})?(\"\"\"|'''|\"|')(?:\\.|(?!\1).)*?\1|#[^\n]*|\.\s*[A-Za-z_]\w*", re.S)
NAME = re.compile(r"[A-Za-z_]\w*")
DEFINED = re.compile(
    r"(?:cdef\s+class|class|def|(?:cdef|ctypedef)\s+(?:struct|enum))\s+(\w+)"  # a class, function, struct or enum
    r"|cp?def\s[^(=\n]*?(\w+)\s*(?:\[|\(|=|$)"  # a function or variable of C
    r"|(\w+)\s*="  # a variable of Python
)
EXTERN = re.compile(r"\s+[^(\n]*?(\w+)(?:\s+\"\w+\")?\s*(?:\(|$)")
CLASS = re.compile(r"cdef\s+class\s+\w+[^:]*$")  # without a colon: known to be defined elsewhere
METHOD = re.compile(r"^(\s+(?:cp?def|def)\s[^(\n=]*?)(\w+)\s*(?=\()", re.M)
FIELD = re.compile(r"^(\s+cdef\s+(?:readonly\s+|public\s+)?[^(\n=]*?)(\w+)\s*$", re.M)
KEYWORD = re.compile(r"([(,]\s*)\w+(?==(?!=))")


def code(text: str) -> str:
    """The text without comments, strings and attributes."""
    return NO_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def defined(text: str) -> set[str]:
    """The names that a file gives to all parts."""
    names: set[str] = set()
    block = ""
    for line in code(text).split("\n"):
        if line.strip() and not line[0].isspace():
            block = ""
            if CLASS.match(line):
                continue
            if re.match(r"cdef\s+extern\s", line) or re.match(r"cdef\s+enum\s*:", line):
                block = "extern" if "extern" in line else "enum"
            elif found := DEFINED.match(line):
                names.update(filter(None, found.groups()))
        elif block == "enum":
            names.update(NAME.findall(line.partition("=")[0]))
        elif block == "extern" and (found := EXTERN.match(line)):
            names.add(found[1])
    return names


def used(text: str) -> set[str]:
    """The names that a file uses, its own among them."""
    text = KEYWORD.sub(r"\1", FIELD.sub(r"\1", METHOD.sub(r"\1", code(text))))
    return set(NAME.findall(text))


class Part:
    """A .pyx file, and its .pxd file where there is one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"{path.parent.name}/{path.stem}"
        self.texts = [path.read_text()]
        declarations = path.with_suffix(".pxd")
        if declarations.exists():
            self.texts.append(declarations.read_text())
        self.defined = set().union(*map(defined, self.texts))
        self.used = set().union(*map(used, self.texts)) - self.defined
        lines = self.texts[0].split("\n")
        self.head = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
        self.body = lines[len(self.head) :]

    def write(self, wanted: list[str]) -> None:
        """Says what it needs."""
        head = [line for line in self.head if not line.startswith(NEEDS)]
        self.path.write_text("\n".join([*head, *wanted, *self.body]))


def said(needed: Iterable[str]) -> list[str]:
    """The lines that say what a part needs: the floors one after the other."""
    lines = []
    for floor in FLOORS:
        names = " ".join(sorted(name for name in needed if name.startswith(floor + "/")))
        lines += textwrap.wrap(names, 119, initial_indent=f"{NEEDS} ", subsequent_indent=f"{NEEDS} ")
    return lines or [f"{NEEDS} nothing"]


def parts(binding: Path) -> list[Part]:
    """The parts, floor by floor."""
    return [Part(path) for floor in FLOORS for path in sorted((binding / floor).glob("*.pyx"))]


def needs(part: Part, everything: list[Part]) -> dict[str, set[str]]:
    """The parts that this one needs, each with the names that it uses of it."""
    found = {other.name: part.used & other.defined for other in everything if other is not part}
    return {name: names for name, names in found.items() if names}


def check(binding: Path = BINDING) -> list[str]:
    """What is wrong, a sentence each."""
    faults = []
    everything = parts(binding)
    for part in everything:
        needed = needs(part, everything)
        floor = part.path.parent.name
        for name, names in needed.items():
            if name.split("/")[0] not in FLOORS[floor]:
                faults.append(f"{part.name}.pyx uses {', '.join(sorted(names))} of {name}: {floor} may only need "
                              f"{' and '.join(sorted(FLOORS[floor]))}")  # fmt: skip
        wanted = said(needed)
        if [line for line in part.head if line.startswith(NEEDS)] != wanted:
            faults.append(f"{part.name}.pyx does not say that it needs {' '.join(sorted(needed)) or 'nothing'}: "
                          "run python scripts/check_binding.py --write")  # fmt: skip
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write what each part needs into it")
    if parser.parse_args().write:
        everything = parts(BINDING)
        for part in everything:
            part.write(said(needs(part, everything)))
    faults = check()
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
