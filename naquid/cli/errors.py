"""How a command ends. Exit codes: 0 done, 1 a check failed or the work could not be done, 2 wrong usage,
130 interrupted (Ctrl-C)."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

EXIT_CODES = "exit codes: 0 done, 1 a check failed or the work could not be done, 2 wrong usage, 130 interrupted"


class CommandError(Exception):
    """Ends a command with exit code 1; the text is the one sentence on stderr and says what to do."""


class UsageError(Exception):
    """Ends a command with exit code 2: arguments that only make sense in another combination."""
