"""Standard input, output and error, which may be closed, full, or a pipe that nobody reads."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import textwrap
from typing import IO, Any, TextIO

from .errors import CommandError

_closed: set[int] = set()  # of the three, those that were closed when the command began


def prepare() -> None:
    """Makes all three usable. One that is closed stands for nothing, instead of for the next file or socket that is
    opened. Texts are written in whatever encoding there is: a file's name may be in none."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(number)
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def standard_input() -> IO[bytes]:
    """Its bytes. Raises CommandError when it is closed."""
    if 0 in _closed:
        raise CommandError("standard input is closed")
    return sys.stdin.buffer


def finish() -> OSError | None:
    """Writes what standard output still holds; why it could not. After that nothing fails when Python ends."""
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            failed = failed or error
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
    return failed


def complain(text: str) -> None:
    """A sentence for standard error, if there is somebody to read it."""
    with contextlib.suppress(OSError):
        say(text, sys.stderr)


def say(text: str, file: TextIO | None = None, flush: bool = False) -> None:
    """Prints; on a terminal lines are wrapped at words."""
    file = file or sys.stdout
    if file.isatty():
        text = "\n".join(wrapped(line, columns()) for line in text.split("\n"))
    print(text, file=file, flush=flush)


def columns() -> int:
    """Of the terminal; at least 20."""
    return max(20, shutil.get_terminal_size().columns)


def wrapped(line: str, width: int) -> str:
    """The line, wrapped at words where it is longer; what follows is indented by two more."""
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    how: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return "\n".join(textwrap.wrap(line, width, subsequent_indent=indent, drop_whitespace=True, **how))
