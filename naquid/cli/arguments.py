"""What the commands' arguments have in common: the parser, kinds of values, groups of options."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .errors import EXIT_CODES, EXIT_USAGE

Commands = argparse._SubParsersAction  # of parsers; private by name only


class Formatter(argparse.RawDescriptionHelpFormatter):
    """With room for the longest command's name."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, max_help_position=28, **settings)


class Parser(argparse.ArgumentParser):
    """Keeps the examples' lines as they are, and says what is wrong in one sentence."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", Formatter)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)


def add_command(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    about: str,
    run: Callable[[argparse.Namespace], int],
    epilog: str,
) -> argparse.ArgumentParser:
    """A command: `about` is its line in the list of commands, `epilog` has the details and the examples."""
    command = commands.add_parser(name, help=about, description=about, epilog=f"{epilog.rstrip()}\n\n{EXIT_CODES}")
    command.set_defaults(run=run)
    return command


def positive(kind: Callable[[str], Any], least: float = 1) -> Callable[[str], Any]:
    """An argparse type: a number of at least `least`."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not value >= least or value == float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {least:g}")
        return value

    convert.__name__ = getattr(kind, "__name__", "number")
    return convert


def seconds(text: str) -> float:
    """An argparse type: a duration above 0."""
    value = float(text)
    if not 0 < value <= 1e9 or math.isnan(value):
        raise argparse.ArgumentTypeError("must be above 0 and at most 1e9 seconds")
    return value


def _port(least: int) -> Callable[[str], int]:
    def port(text: str) -> int:
        value = int(text)
        if not least <= value <= 65535:
            raise argparse.ArgumentTypeError(f"a UDP port is {least} to 65535")
        return value

    return port


def stream_name(text: str) -> str:
    """An argparse type: the name of a stream."""
    if not 1 <= len(text.encode(errors="surrogateescape")) <= 255 or "\0" in text:
        raise argparse.ArgumentTypeError("a name is 1 to 255 bytes long and has no NUL")
    return text


def add_json(command: argparse.ArgumentParser, what: str = "print one JSON object") -> None:
    command.add_argument("--json", action="store_true", help=what)


def add_client(command: argparse.ArgumentParser) -> None:
    """Host and port, and how the server is verified."""
    command.add_argument("host", metavar="HOST", help="name or address of the server")
    command.add_argument("port", type=_port(1), metavar="PORT", help="its UDP port")
    group = command.add_argument_group("connection")
    trust = group.add_mutually_exclusive_group()
    trust.add_argument(
        "--ca", type=Path, metavar="PEM", help="authority the server must be signed by; default: the system's"
    )
    trust.add_argument(
        "--insecure", action="store_true", help="accept any certificate: protects against nobody on the way"
    )
    group.add_argument("--server-name", metavar="NAME", help="name to send and verify; default: HOST")
    group.add_argument("--cert", type=Path, metavar="PEM", help="certificate of this client, for servers that ask")
    group.add_argument("--key", type=Path, metavar="PEM", help="its private key")
    group.add_argument(
        "--connect-timeout",
        type=seconds,
        default=5.0,
        metavar="S",
        help="seconds until an unanswered handshake is given up; default: 5",
    )


def add_busy_poll(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--busy-poll",
        type=_busy_poll,
        default=0,
        metavar="US",
        help="microseconds, up to 10000, to look at the sockets again and again before sleeping: a busy core for "
        "shorter round trips; default: 0",
    )


def _busy_poll(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError("must be from 0 to 10000 microseconds")
    return value


def add_server(command: argparse.ArgumentParser, port: int) -> None:
    """Where to listen, and the certificate."""
    command.add_argument("--host", default="127.0.0.1", help='address to bind, "::" for all; default: 127.0.0.1')
    command.add_argument("--port", type=_port(0), default=port, help=f"UDP port, 0: a free one; default: {port}")
    command.add_argument(
        "--cert", type=Path, required=True, metavar="PEM", help="certificate chain; `naquid cert` makes one"
    )
    command.add_argument("--key", type=Path, required=True, metavar="PEM", help="its private key")
    command.add_argument(
        "--client-ca", type=Path, metavar="PEM", help="let in only clients with a certificate that this one signed"
    )
