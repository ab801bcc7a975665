"""Finds the command, runs it, and says in one sentence on stderr when it could not be done."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from . import bench, call, cert, completion, demo, doctor, ping, recv, send, serve, stdio, versions
from .arguments import Misuse, Parser
from .errors import EXIT_CODES, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, CommandError, UsageError

DESCRIPTION = "QUIC for Python: try it, measure it, run it."
EPILOG = f"""\
{EXIT_CODES}
Results go to standard output, progress and errors to standard error; --json is for machines.

examples:
  naquid demo                                       100 connections, 500,000 checked requests, and a table
  naquid doctor                                     what this machine can do, and how to make it faster
  naquid cert --out certs                           a development authority and a certificate for localhost
  naquid serve --cert certs/cert.pem --key certs/key.pem
  naquid call localhost 8443 rpc 1 hello --ca certs/ca.pem
  naquid ping localhost 8443 --ca certs/ca.pem
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from naquid._version import __version__

    root = Parser(prog="naquid", description=DESCRIPTION, epilog=EPILOG)
    root.add_argument("--version", action="version", version=f"naquid {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for module in (demo, bench, serve, call, ping, send, recv, cert, doctor, versions, completion):
        module.add(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    stdio.prepare()
    given = list(sys.argv[1:] if arguments is None else arguments)
    code, text = _run(given)
    try:
        if text and "--json" in given:
            print(json.dumps({"error": text, "exit_code": code}))
        failed = stdio.finish()
    except OSError as error:
        failed = stdio.finish() or error
    if failed is not None and code == EXIT_OK:
        code = EXIT_FAILED
        if not isinstance(failed, BrokenPipeError):  # the reader of our output has left: it knows
            stdio.complain(f"naquid: standard output: {_sentence(failed)}")
    return code


def _run(given: list[str]) -> tuple[int, str]:
    """The exit code, and why it is none of a success where the command has not said so itself."""
    try:
        options = parser().parse_args(given)
    except Misuse as misuse:
        stdio.complain(misuse.text)
        return EXIT_USAGE, misuse.text
    except SystemExit as end:  # --help and --version have been printed
        return (end.code if isinstance(end.code, int) else EXIT_USAGE), ""
    _log_plainly(advise=options.command == "serve")
    try:
        code = options.run(options)
        assert isinstance(code, int)
        return code, ""
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED, "interrupted"
    except BrokenPipeError:  # the reader of our output has left
        return EXIT_FAILED, ""
    except UsageError as error:
        stdio.complain(f"naquid {options.command}: {error}; see naquid {options.command} --help")
        return EXIT_USAGE, str(error)
    except Exception as error:
        if not _expected(error):
            raise
        stdio.complain(f"naquid: {_sentence(error)}")
        return EXIT_FAILED, _sentence(error)


def _log_plainly(*, advise: bool) -> None:
    """Warnings of the library look like everything else that goes to stderr.

    advise: also those about the machine's settings, which `naquid doctor` explains; short commands leave them to it.
    """
    handler = logging.StreamHandler()
    if not advise:
        handler.addFilter(lambda record: not record.getMessage().startswith("the kernel clamps"))
    handler.setFormatter(logging.Formatter("naquid: %(message)s"))
    logger = logging.getLogger("naquid")
    logger.addHandler(handler)
    logger.propagate = False


def _expected(error: Exception) -> bool:
    """Is it something that a user can act on, rather than a bug?"""
    if isinstance(error, (CommandError, OSError)):
        return True
    from naquid import Error
    from naquid.bench.process import BenchError

    return isinstance(error, (Error, BenchError))


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
