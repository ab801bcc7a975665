"""What the commands' arguments have in common: the parser, kinds of values, groups of options."""

from __future__ import annotations

import argparse
import math
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .errors import EXIT_CODES, EXIT_USAGE

Commands = argparse._SubParsersAction  # of parsers; private by name only


class Formatter(argparse.RawDescriptionHelpFormatter):
    """With room for the longest command's name. Paragraphs and examples that are too wide are wrapped at words."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, max_help_position=28, **settings)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(_paragraph(each.split("\n"), width) for each in text.strip("\n").split("\n\n"))


def _paragraph(lines: list[str], width: int) -> str:
    if max(map(len, lines)) <= width:
        return "\n".join(lines)
    made: list[str] = []
    prose: list[str] = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        is_example, is_heading = line.startswith("  "), line.endswith(":") and after.startswith("  ")
        if not is_example and not is_heading:
            prose.append(line)
            continue
        made += textwrap.wrap(" ".join(prose), width, break_on_hyphens=False)
        made += _example(line, width) if is_example else textwrap.wrap(line, width, break_on_hyphens=False)
        prose = []
    return "\n".join([*made, *textwrap.wrap(" ".join(prose), width, break_on_hyphens=False)])


def _example(line: str, width: int) -> list[str]:
    """A command, on several lines where it must be, and as it can be copied; what is said of it stands below."""
    if line.startswith("  * "):  # an item of a list, and no command
        return textwrap.wrap(line, width, subsequent_indent="    ", break_on_hyphens=False)
    command, _, about = line.strip().partition("   ")
    most = width - 2 if len(command) + 2 > width else width  # room for the backslashes
    parts = textwrap.wrap(
        command, most, initial_indent="  ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
    )
    below = " " * 6
    return [
        *(f"{part} \\" for part in parts[:-1]),
        parts[-1],
        *textwrap.wrap(about.strip(), width, initial_indent=below, subsequent_indent=below),
    ]


class Misuse(SystemExit):
    """Wrong usage, in one sentence."""

    def __init__(self, text: str) -> None:
        super().__init__(EXIT_USAGE)
        self.text = text


class Parser(argparse.ArgumentParser):
    """Options may stand anywhere among a command's arguments. Says what is wrong in one sentence."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", Formatter)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        raise Misuse(f"{self.prog}: {message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_args(self._in_order(list(sys.argv[1:] if args is None else args)), namespace)

    def _in_order(self, given: list[str]) -> list[str]:
        """The same with options first, which is how argparse understands them for sure. Options that stand before the
        name of a command, and are not of this parser, go behind it."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                at = next((at for at, each in enumerate(given) if each in action.choices), 0)
                before, unknown = self._groups(given[:at])
                if unknown:
                    return given
                mine = [each for group in before if self._found(group[0]) for each in group]
                its = [each for group in before if not self._found(group[0]) for each in group]
                return [*mine, *given[at : at + 1], *its, *given[at + 1 :]]
        options, others = self._groups(given)
        return [*(each for group in options for each in group), *(["--", *others] if others else [])]

    def _groups(self, given: list[str]) -> tuple[list[list[str]], list[str]]:
        """Options, each with its value, and what is none."""
        options: list[list[str]] = []
        others: list[str] = []
        left = iter(given)
        for each in left:
            if each == "--":
                others += left
            elif not each.startswith("-") or each == "-" or self._negative_number_matcher.match(each):
                others.append(each)
            else:
                options.append([each])
                if self._wants_value(each):
                    options[-1] += [value for value in [next(left, None)] if value is not None]
        return options, others

    def _found(self, option: str) -> argparse.Action | None:
        """What the option is, also when its name is cut short."""
        name = option.partition("=")[0]
        if name in self._option_string_actions or not name.startswith("--"):
            return self._option_string_actions.get(name if name.startswith("--") else option[:2])
        found = {key: action for key, action in self._option_string_actions.items() if key.startswith(name)}
        return next(iter(found.values())) if len(set(found.values())) == 1 else None

    def _wants_value(self, option: str) -> bool:
        """Is the next argument this option's value?"""
        if not option.startswith("--"):
            while len(option) > 2 and (flag := self._found(option)) is not None and flag.nargs == 0:
                option = f"-{option[2:]}"  # several in one: -qc
            if len(option) > 2:
                return False
        action = self._found(option)
        return action is not None and action.nargs != 0 and "=" not in option


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
