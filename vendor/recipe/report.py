"""Progress lines, and the one kind of error that ends a build."""

from __future__ import annotations

import sys


class VendorError(Exception):
    """A build cannot go on. The message is one sentence that says what to do about it."""


class PlaceError(Exception):
    """One place could not give a file; the next one is tried."""


def say(line: str) -> None:
    """Standard output is the answer (a path), so progress goes to standard error."""
    print(f"vendor: {line}", file=sys.stderr, flush=True)


def warn(line: str) -> None:
    say("*" * 72)
    say(f"WARNING: {line}")
    say("*" * 72)
