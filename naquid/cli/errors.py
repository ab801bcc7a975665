"""How a command ends. Exit codes: 0 done, 1 a check failed or the work could not be done, 2 wrong usage."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


class CommandError(Exception):
    """Ends a command with exit code 1; the text is the one sentence on stderr and says what to do."""
