#!/usr/bin/env python3
"""Finds places where a committed file names the host of a distribution's archive or of a package registry.

    scripts/check_hosts.py [FILE...]         without FILE: everything that is committed

Where packages come from is for the configuration of apt, pip and npm to say, on each machine: a host in a file would go
round it. Addresses of upstream's own releases are no such places.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# In parts, so that this file names none.
DOMAINS = (
    "alpinelinux org", "anaconda org", "archlinux org", "brew sh", "centos org", "conda io", "crates io", "debian org",
    "debian net", "docker com", "docker io", "fedoraproject org", "gcr io", "ghcr io", "jsdelivr net", "launchpad net",
    "maven org", "npmjs com", "npmjs org", "nuget org", "opensuse org", "pypi org", "pythonhosted org", "quay io",
    "rubygems org", "ubuntu com", "unpkg com", "yarnpkg com",
)  # fmt: skip
ANY = "|".join(re.escape(parts.replace(" ", ".")) for parts in DOMAINS)
HOST = re.compile(rf"(?<![\w.-])(?:[\w-]+\.)*(?:{ANY})(?![\w-])".encode(), re.IGNORECASE)


def committed() -> list[Path]:
    """What git knows of; where it knows nothing (no clone, or somebody else's), all that no build has made."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode == 0 and done.stdout:
        return [ROOT / name for name in done.stdout.decode().split("\0") if name]
    made = {".git", ".venv", "build", "dist", "site", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
    return [path for path in sorted(ROOT.rglob("*")) if not made & set(path.relative_to(ROOT).parts)]


def named(path: Path) -> list[str]:
    """A line for each host in a file."""
    if path.is_symlink() or not path.is_file():  # deleted, and not yet committed
        return []
    lines = path.read_bytes().splitlines()
    return [f"{path}:{at}: {found.decode()}" for at, line in enumerate(lines, 1) for found in HOST.findall(line)]


def main(arguments: list[str]) -> int:
    found = [line for path in ([Path(name) for name in arguments] or committed()) for line in named(path)]
    for line in found:
        print(f"{line}: leave it to the configuration of apt, pip or npm")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
