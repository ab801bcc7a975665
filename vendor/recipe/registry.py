"""The Python package index as a place, by pip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .pins import Pin
from .report import PlaceError, say

_TIMEOUT = 900.0


def fetch(pin: Pin, work: Path) -> Path:
    """The pinned source distribution, downloaded into work."""
    project, version = pin.pypi["project"], pin.pypi["version"]
    # Inside an isolated build pip itself is hidden by PYTHONPATH's sitecustomize: look without it.
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONNOUSERSITE")}
    target = work / "pip"
    target.mkdir(exist_ok=True)
    say(f"fetching {project} {version} with pip")
    # Only the project itself as source: pip builds its metadata with whatever wheels that takes.
    argv = [_python_with_pip(env), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", project,
            "--timeout", "10", "--retries", "1", "--dest", str(target), f"{project}=={version}"]  # fmt: skip
    try:
        done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=_TIMEOUT)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PlaceError(f"pip did not run ({error})") from error
    found = sorted(target.glob("*.tar.gz"))
    if not found:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        raise PlaceError(f"pip download: {lines[-1][6:].strip() if lines else f'exit code {done.returncode}'}")
    return found[0]


def _python_with_pip(env: dict[str, str]) -> str:
    for python in (sys.executable, getattr(sys, "_base_executable", sys.executable)):
        probe = subprocess.run([python, "-m", "pip", "--version"], env=env, capture_output=True, check=False)
        if probe.returncode == 0:
            return str(python)
    raise PlaceError("this Python has no pip")
