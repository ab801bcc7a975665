#!/usr/bin/env python3
"""Prints the changelog's section for a tag, and fails unless tag, version and changelog agree.

scripts/release_notes.py v1.2.3
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def notes(tag: str, version: str, changelog: str) -> str:
    """The section of the changelog. Raises ValueError with a sentence."""
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, but naquid/_version.py says {version}")
    section = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |^\[|\Z)"
    found = re.search(section, changelog, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`")
    if not found[1].strip():
        raise ValueError(f"the section of {version} in CHANGELOG.md is empty")
    return found[1].strip()


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/release_notes.py TAG")
    found = re.search(r'__version__ = "(.*)"', (ROOT / "naquid" / "_version.py").read_text())
    assert found is not None
    try:
        print(notes(sys.argv[1], found[1], (ROOT / "CHANGELOG.md").read_text()))
    except ValueError as error:
        sys.exit(f"release: error: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
