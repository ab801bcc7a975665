"""Runs a compiler only where something changed: the command, or any file that it read last time."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import tools


@dataclass(frozen=True)
class Step:
    """One output of one command. A make-style depfile, if the command writes one, adds to inputs."""

    argv: tuple[str, ...]
    output: Path
    inputs: tuple[Path, ...]
    what: str
    depfile: Path | None = None
    show: bool = True  # what the compiler says although it succeeded (its warnings)


def run(steps: Sequence[Step]) -> int:
    """Brings every output up to date, in parallel; how many had to be made."""
    stale = [step for step in steps if not _current(step)]
    with ThreadPoolExecutor(tools.jobs()) as pool:
        list(pool.map(_make, stale))
    return len(stale)


def _stamp(step: Step) -> Path:
    return step.output.with_name(step.output.name + ".cmd")


def _current(step: Step) -> bool:
    try:
        if _stamp(step).read_text() != shlex.join(step.argv):
            return False
        made = step.output.stat().st_mtime_ns
        inputs = [*step.inputs, *(_read_depfile(step.depfile) if step.depfile else ())]
        return all(path.stat().st_mtime_ns < made for path in inputs)
    except OSError:
        return False


def _make(step: Step) -> None:
    step.output.parent.mkdir(parents=True, exist_ok=True)
    _stamp(step).unlink(missing_ok=True)
    # Dated by its beginning: a file saved while it was being compiled is newer than the result.
    begun = time.time_ns()
    said = tools.run(step.argv, step.what)
    os.utime(step.output, ns=(begun, begun))
    if step.show and said.strip():
        print(said.rstrip(), file=sys.stderr, flush=True)
    _stamp(step).write_text(shlex.join(step.argv))


def _read_depfile(path: Path) -> list[Path]:
    """The prerequisites in a depfile."""
    text = path.read_text().replace("\\\n", " ")
    _, _, prerequisites = text.partition(": ")
    joined = prerequisites.split("\n", 1)[0].replace("\\ ", "\0")
    return [Path(name.replace("\0", " ").replace("$$", "$").replace("\\#", "#")) for name in joined.split()]
