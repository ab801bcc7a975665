"""Changes to a vendored source that are kept as patch files: unified diffs under a header for their reader.

The header's first line is `Subject: ` and one sentence, which `naquid versions` shows; the rest says what the change
does, why, by which RFC, and is the report that upstream gets. A hunk must be found exactly once, at whatever line:
another version's line numbers do not matter, another text is an error.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from .report import VendorError

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass(frozen=True)
class Hunk:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Patch:
    """One file of a series."""

    name: str
    why: str
    hunks: tuple[Hunk, ...]


def _hunk(file: str, lines: list[str], at: int, name: str) -> tuple[Hunk, int]:
    """The hunk whose @@ line is lines[at], and the index of the line behind it."""
    head = _HUNK.match(lines[at])
    if not head:
        raise VendorError(f"{name}: line {at + 1} is no hunk of a unified diff: make the patch again.")
    old_left, new_left = (int(n) if n is not None else 1 for n in head.groups())
    old: list[str] = []
    new: list[str] = []
    at += 1
    while old_left > 0 or new_left > 0:
        kind, text = (lines[at][:1] or " ", lines[at][1:]) if at < len(lines) else ("", "")
        if kind not in (" ", "-", "+"):
            raise VendorError(f"{name}: line {at + 1} does not fit its hunk: make the patch again.")
        if kind != "+":
            old.append(text)
            old_left -= 1
        if kind != "-":
            new.append(text)
            new_left -= 1
        at += 1
    return Hunk(file, "\n".join(old) + "\n", "\n".join(new) + "\n"), at


def read(path: Path) -> Patch:
    """A patch file. Raises VendorError when it is none, or has no header."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].startswith("Subject: "):
        raise VendorError(f"{path.name}: the first line must be `Subject: ` and what the patch does.")
    hunks: list[Hunk] = []
    file = ""
    at = 0
    while at < len(lines):
        if lines[at].startswith("+++ b/"):
            file = lines[at][len("+++ b/") :].split("\t")[0]
            at += 1
        elif file and lines[at].startswith("@@"):
            hunk, at = _hunk(file, lines, at, path.name)
            hunks.append(hunk)
        else:
            at += 1
    if not hunks:
        raise VendorError(f"{path.name}: there is no change in it.")
    return Patch(path.name, lines[0][len("Subject: ") :], tuple(hunks))


def series(folder: Path) -> tuple[Patch, ...]:
    """The patches of a folder in the order of their names."""
    return tuple(read(path) for path in sorted(folder.glob("*.patch")))


def digest(patches: tuple[Patch, ...]) -> str:
    """A short name for what a series changes; its headers may be worded anew."""
    changes = "\0".join(part for patch in patches for hunk in patch.hunks for part in (hunk.file, hunk.old, hunk.new))
    return hashlib.sha256(changes.encode()).hexdigest()[:16]


def apply(root: Path, patches: tuple[Patch, ...]) -> None:
    """Changes the unpacked source. Raises VendorError when a hunk does not fit exactly once."""
    for patch in patches:
        for hunk in patch.hunks:
            path = root / hunk.file
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            places = [match.end() for match in re.finditer(rf"^(?={re.escape(hunk.old)})", text, re.MULTILINE)]
            if len(places) != 1:
                raise VendorError(
                    f"{patch.name} fits {hunk.file} of this source {len(places)} times, not once: look whether "
                    "upstream has changed that place, then change or remove the patch."
                )
            at = places[0]
            path.write_text(text[:at] + hunk.new + text[at + len(hunk.old) :], encoding="utf-8")
