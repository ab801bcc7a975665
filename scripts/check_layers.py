#!/usr/bin/env python3
"""Whether every arrow between the engine's files points down, from floor to floor as ARCHITECTURE.md has them.

    scripts/check_layers.py

Two kinds of arrow are looked at. Includes, by the compiler (`cc -MM`): a file knows what it includes, and what that
includes in turn. Calls, by the symbols of the objects (`nm`): a file knows whoever defines what it leaves undefined.
A file may know its own floor and the floors that the table below gives to it. Inside a floor, the calls between its
files may not run in a circle. Pointers in tables of functions are no arrows: that is what they are for.

The objects are those of the engine's tests in C (`build/engine-none/`); they are brought up to date first. Exit code 1
when an arrow points up or runs in a circle; each is named on a line of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "src_cython" / "engine"
OBJECTS = ROOT / "build" / "engine-none"

# A floor, and those that it stands on directly. What these stand on it may know, too. The engine's public face is made
# of the faces of the floors below it, so that whoever is lower than that cannot include it.
FLOORS: dict[str, tuple[str, ...]] = {
    "base": (),
    "io": ("base",),
    "tls": ("io",),
    "dns": ("io",),
    "include": ("tls", "dns"),
    "quic": ("include",),
    "app": ("quic",),
    "loop": ("app",),
    "api": ("loop",),
}

# Headers that are a seam: a table of functions which the floor given here calls, and a higher one fills. To whoever
# includes it such a header is of the lower floor, and so it may include nothing that is higher.
SEAMS: dict[str, str] = {"app/app.h": "quic"}

# Files of one floor that may call each other in a circle, and why. There should be none.
CIRCLES: dict[frozenset[str], str] = {}

INCLUDE_LINE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


class Unusable(Exception):
    """The check could not be made."""


@dataclass(frozen=True)
class Call:
    """`user` leaves `symbol` undefined, which `owner` defines."""

    user: str
    symbol: str
    owner: str


def known_floors(floors: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Every floor, with itself and all that is below it."""

    def below(floor: str) -> frozenset[str]:
        return frozenset({floor}).union(*(below(lower) for lower in floors[floor]))

    return {floor: below(floor) for floor in floors}


def floor_of(file: str) -> str:
    return SEAMS.get(file) or file.partition("/")[0]


def arrow(known: Mapping[str, frozenset[str]], user: str, owner: str) -> str | None:
    """What is wrong with `user` knowing `owner`; None when it may."""
    mine, other = floor_of(user), floor_of(owner)
    if other in known[mine]:
        return None
    return "an arrow up" if mine in known[other] else f"an arrow aside, {mine} may not know {other}"


def run(command: Iterable[str | Path], what: str) -> str:
    """The output of a program."""
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    except OSError as error:
        raise Unusable(f"{what}: {error}") from error
    if done.returncode:
        raise Unusable(f"{what} failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


# ---- includes


def included(engine: Path, files: Iterable[str]) -> dict[str, set[str]]:
    """The files of the engine that each of the files knows by including them, be it through another one."""
    names = list(files)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    # -MG: a header of a native library need not be there for the check.
    flags = ["-MM", "-MG", "-x", "c", "-std=c11", "-D_GNU_SOURCE", f"-I{engine}", f"-I{engine / 'include'}"]
    found: dict[str, set[str]] = {}
    for name in names:
        rule = run([*compiler, *flags, engine / name], f"reading the includes of {name}").partition(":")[2]
        paths = (Path(word) for word in rule.replace("\\\n", " ").split())
        here = {path.relative_to(engine).as_posix() for path in paths if path.is_relative_to(engine)}
        found[name] = here - {name}
    return found


def names_itself(engine: Path, user: str, header: str) -> bool:
    """Whether a line of `user` includes `header`."""
    roots = ((engine / user).parent, engine, engine / "include")
    lines = INCLUDE_LINE.findall((engine / user).read_text())
    return any((root / line).resolve() == (engine / header).resolve() for line in lines for root in roots)


def wrong_includes(engine: Path, files: list[str], known: Mapping[str, frozenset[str]]) -> list[str]:
    """One sentence for every include that points up."""
    wrong = [
        (user, header, why)
        for user, headers in included(engine, files).items()
        for header in sorted(headers)
        if (why := arrow(known, user, header))
    ]
    # Whoever includes a file with such an arrow has it as well: only the line that makes it is of use.
    direct = [found for found in wrong if names_itself(engine, found[0], found[1])]
    return [f"{user} includes {header}: {why}" for user, header, why in direct or wrong]


# ---- calls


def symbols(object_file: Path) -> tuple[set[str], set[str]]:
    """What an object defines for others, and what it leaves undefined."""
    defined: set[str] = set()
    undefined: set[str] = set()
    for line in run(["nm", "-P", "-g", object_file], f"reading the symbols of {object_file.name}").splitlines():
        name, kind = line.split()[:2]
        if kind in "Uvw":
            undefined.add(name)
        elif kind.isupper():
            defined.add(name)
    return defined, undefined


def calls(objects: Path, sources: Iterable[str]) -> list[Call]:
    """Every use of a symbol of one file in another one."""
    table = {source: symbols(objects / Path(source).with_suffix(".o")) for source in sources}
    owners = {name: source for source, (defined, _) in table.items() for name in defined}
    return [
        Call(source, name, owners[name])
        for source, (_, undefined) in sorted(table.items())
        for name in sorted(undefined)
        if name in owners
    ]


def wrong_calls(found: Iterable[Call], known: Mapping[str, frozenset[str]]) -> list[str]:
    """One sentence for every call that points up."""
    return [
        f"{call.user} calls {call.symbol} of {call.owner}: {why}"
        for call in found
        if (why := arrow(known, call.user, call.owner))
    ]


# ---- circles


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of more than one node each of which reaches all others: Tarjan's strongly connected components."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        numbers[node] = lowest[node] = len(numbers)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in numbers:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], numbers[other])
        if lowest[node] == numbers[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in numbers:
            visit(node)
    return found


def wrong_circles(found: list[Call], allowed: Mapping[frozenset[str], str]) -> list[str]:
    """One sentence for every circle inside a floor, with an example of every call in it."""
    graph: dict[str, set[str]] = {}
    for call in found:
        if floor_of(call.user) == floor_of(call.owner):
            graph.setdefault(call.user, set()).add(call.owner)
    wrong = []
    present = circles(graph)
    for circle in present:
        if frozenset(circle) in allowed:
            continue
        examples: dict[tuple[str, str], list[str]] = {}
        for call in found:
            if call.user in circle and call.owner in circle:
                examples.setdefault((call.user, call.owner), []).append(call.symbol)
        lines = [f"    {user} calls {', '.join(names)} of {owner}" for (user, owner), names in examples.items()]
        wrong.append("\n".join([f"{', '.join(circle)} call each other in a circle:", *lines]))
    gone = set(allowed) - {frozenset(circle) for circle in present}
    return wrong + [f"{', '.join(sorted(one))}: no circle any more, take it out of CIRCLES" for one in gone]


# ---- all of it


def check(
    engine: Path,
    objects: Path,
    floors: Mapping[str, tuple[str, ...]] = FLOORS,
    allowed: Mapping[frozenset[str], str] = CIRCLES,
) -> list[str]:
    """What is wrong with the engine in this folder, whose objects are up to date; empty when nothing is."""
    known = known_floors(floors)
    files = sorted(path.relative_to(engine).as_posix() for path in engine.rglob("*.[ch]"))
    without_floor = [file for file in files if floor_of(file) not in floors]
    if without_floor:
        return [
            f"{file}: {floor_of(file)} is no floor: add it to FLOORS in {Path(__file__).name}" for file in without_floor
        ]
    found = calls(objects, [file for file in files if file.endswith(".c")])
    return [*wrong_includes(engine, files, known), *wrong_calls(found, known), *wrong_circles(found, allowed)]


def compile_objects(engine: Path = ENGINE, objects: Path = OBJECTS) -> None:
    """Brings the objects of the engine's tests up to date."""
    tests = ROOT / "tests" / "engine"
    folder = Path(os.path.relpath(objects, tests))
    targets = [folder / path.relative_to(engine).with_suffix(".o") for path in sorted(engine.rglob("*.c"))]
    jobs = f"-j{os.cpu_count() or 1}"
    python = f"PYTHON={sys.executable}"
    run(["make", "--no-print-directory", "-C", tests, jobs, "SAN=none", python, *targets], "compiling the engine")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that every arrow between the engine's files points down.")
    parser.parse_args()
    try:
        compile_objects()
        wrong = check(ENGINE, OBJECTS)
    except Unusable as error:
        print(f"check_layers: error: {error}", file=sys.stderr)
        return 2
    for line in wrong:
        print(line)
    if wrong:
        print(f"check_layers: {len(wrong)} wrong; the floors are in ARCHITECTURE.md and in {Path(__file__).name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
