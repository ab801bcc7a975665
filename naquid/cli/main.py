"""Finds the command, runs it, and says in one sentence on stderr when it could not be done."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import bench, cert, demo, serve, versions
from .errors import EXIT_FAILED, EXIT_USAGE, CommandError

DESCRIPTION = "QUIC for Python: try it, measure it, make certificates for it."
EPILOG = """\
exit codes: 0 done, 1 a check failed or the work could not be done, 2 wrong usage

examples:
  naquid demo                     100 connections, 500,000 checked requests, and a table
  naquid bench rpc --window 16    requests per second, latency percentiles
  naquid cert --out certs         a development authority and a certificate for localhost
  naquid serve --cert certs/cert.pem --key certs/key.pem
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    root = argparse.ArgumentParser(
        prog="naquid",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for module in (demo, bench, serve, cert, versions):
        module.add(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as end:  # argparse has said what was wrong
        return end.code if isinstance(end.code, int) else EXIT_USAGE
    try:
        code = options.run(options)
        sys.stdout.flush()
        assert isinstance(code, int)
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        if not _expected(error):
            raise
        print(f"naquid: {_sentence(error)}", file=sys.stderr)
        return EXIT_FAILED


def _expected(error: Exception) -> bool:
    """Is it something that a user can act on, rather than a bug?"""
    if isinstance(error, (CommandError, OSError)):
        return True
    from naquid import Error
    from naquid.bench.process import BenchError

    return isinstance(error, (Error, BenchError))


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
