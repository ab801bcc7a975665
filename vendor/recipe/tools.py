"""The compiler, cmake and ninja; running them, and compiling many files at once."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .report import VendorError, say


@dataclass(frozen=True)
class Compiler:
    """A C or C++ compiler and what distinguishes its output."""

    argv: tuple[str, ...]
    identity: str
    is_gcc: bool

    @property
    def command(self) -> str:
        return shlex.join(self.argv)


def jobs(env: Mapping[str, str] = os.environ) -> int:
    asked = env.get("NAQUID_JOBS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_compiler(cplusplus: bool = False, env: Mapping[str, str] = os.environ) -> Compiler:
    variable = "CXX" if cplusplus else "CC"
    language = "C++" if cplusplus else "C"
    asked = shlex.split(env.get(variable, ""))
    usual = ["c++", "g++", "clang++"] if cplusplus else ["cc", "gcc", "clang"]
    if cplusplus and env.get("CC"):  # the C++ half of the C compiler that was asked for
        base = shlex.split(env["CC"])[-1]
        usual.insert(0, re.sub(r"gcc(?=(-[\d.]+)?$)", "g++", re.sub(r"clang(?=(-[\d.]+)?$)", "clang++", base)))
    for argv in [asked] if asked else [[name] for name in usual]:
        if shutil.which(argv[0], path=env.get("PATH")) is None:
            continue
        macros = _output([*argv, "-dM", "-E", "-x", "c++" if cplusplus else "c", os.devnull])
        machine = _output([*argv, "-dumpmachine"])
        if macros is None or machine is None:
            continue
        is_gcc = "__GNUC__" in macros and "__clang__" not in macros
        # What it is rather than what it is called: cc and gcc may share one cache.
        version = re.search(r'__VERSION__ "(.*)"', macros)
        identity = f"{'gcc' if is_gcc else 'clang'} {version.group(1) if version else '?'} {machine.strip()}"
        return Compiler(tuple(argv), identity, is_gcc)
    named = f" (${variable} is {env[variable]})" if asked else ""
    raise VendorError(
        f"No working {language} compiler was found{named}: install one (Debian and Ubuntu: `apt install "
        f"build-essential`; macOS: `xcode-select --install`) or set {variable}."
    )


def target(env: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What else than flags decides which machines the libraries run on: macOS compilers read it from here."""
    if sys.platform != "darwin":
        return ()
    return tuple(f"{name}={env[name]}" for name in ("MACOSX_DEPLOYMENT_TARGET", "ARCHFLAGS") if env.get(name))


def find_tool(name: str, env: Mapping[str, str] = os.environ) -> str:
    """A build tool: beside this Python first (the wheel of a build requirement), then on the PATH."""
    beside = os.pathsep.join([sysconfig.get_path("scripts"), os.path.dirname(sys.executable)])
    for path in (beside, env.get("PATH", os.defpath)):
        found = shutil.which(name, path=path)
        # A launcher may exist without the program behind it, so ask it.
        if found is not None and _output([found, "--version"]) is not None:
            return found
    raise VendorError(
        f"{name} was not found: install it with `{os.path.basename(sys.executable)} -m pip install cmake ninja` "
        "or with the system's package manager."
    )


def _output(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def run(argv: Sequence[str], what: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Runs a build step; when it fails its last lines are shown, then one sentence."""
    try:
        done = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")  # fmt: skip
    except OSError as error:
        raise VendorError(f"Cannot run {argv[0]} while {what} ({error}): install it again.") from error
    if done.returncode != 0:
        for line in done.stdout.splitlines()[-40:]:
            say(f"  {line}")
        raise VendorError(
            f"{what[:1].upper()}{what[1:]} failed (`{os.path.basename(argv[0])}` ended with {done.returncode}, "
            "its last lines are above): mend what they name and build again."
        )
    return done.stdout


def compile_all(
    compiler: Compiler, flags: Sequence[str], sources: Sequence[Path], objects: Path, what: str
) -> list[Path]:
    """Compiles sources in parallel; the objects, in the order of the sources."""
    objects.mkdir(parents=True, exist_ok=True)
    targets = [objects / f"{index:03d}-{source.stem}.o" for index, source in enumerate(sources)]

    def one(pair: tuple[Path, Path]) -> None:
        source, target = pair
        said = run([*compiler.argv, *flags, "-c", str(source), "-o", str(target)], f"compiling {what} ({source.name})")
        for line in said.splitlines():  # warnings, where they are asked for
            say(f"  {line}")

    with ThreadPoolExecutor(jobs()) as pool:
        list(pool.map(one, zip(sources, targets, strict=True)))
    return targets


def archive(compiler: Compiler, objects: Sequence[Path], target: Path) -> None:
    """A static library. gcc's own ar also lists the symbols of objects made for link-time optimisation."""
    ar = os.environ.get("AR") or _ar(compiler)
    run([*shlex.split(ar), "rcs", str(target), *map(str, objects)], f"archiving {target.name}")


def _ar(compiler: Compiler) -> str:
    base = os.path.basename(compiler.argv[-1])
    candidates = [base.replace("gcc", "gcc-ar", 1)] if "gcc" in base else []  # gcc-13, aarch64-linux-gnu-gcc
    if compiler.is_gcc:
        candidates.append("gcc-ar")
    return next((name for name in candidates if shutil.which(name)), "ar")
