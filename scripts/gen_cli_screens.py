"""Draws docs/assets/cli/*.svg: what the command line looks like in a terminal, as it really is.

    python scripts/gen_cli_screens.py [NAME...]

The commands run in a terminal of tmux, on loopback and in a folder of their own; its screen becomes an SVG by rich.
Needs tmux and the extra `cli`. Figures in the screens are those of the machine that drew them.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "assets" / "cli"
COLUMNS, ROWS = 100, 60
SERVE = "naquid serve --cert certs/cert.pem --key certs/key.pem"
RECV = "naquid recv --cert certs/cert.pem --key certs/key.pem --out incoming"


@dataclass(frozen=True)
class Screen:
    """commands are typed one after the other. beside: what runs meanwhile, in another terminal. after: seconds after
    which the screen is taken although the last command still runs; 0: when it is done."""

    name: str
    commands: tuple[str, ...]
    beside: str = ""
    after: float = 0.0
    columns: int = COLUMNS
    fresh: bool = False  # in an empty folder


SCREENS = [
    Screen("help", ("naquid --help",), columns=112),
    Screen("demo", ("naquid demo --connections 50 --requests 2000",)),
    Screen("doctor", ("naquid doctor",), columns=124),
    Screen("cert", ("naquid cert --out certs",), fresh=True),
    Screen("serve", (SERVE,), after=1.5),
    Screen(
        "call",
        (
            "naquid call localhost 8443 rpc 1 hello --ca certs/ca.pem",
            "naquid call localhost 8443 rpc 1 hello --ca certs/ca.pem --json",
            "naquid call localhost 8443 nobody 1 hello --ca certs/ca.pem",
            "naquid call localhost 8443 rpc 1 hello",
        ),
        beside=SERVE,
        columns=128,
    ),
    Screen("ping", ("naquid ping localhost 8443 --ca certs/ca.pem --count 4 --interval 0.3",), beside=SERVE),
    Screen("send", ("naquid send localhost 8444 world.dat --ca certs/ca.pem",), beside=RECV, after=2.6),
    Screen("sent", ("naquid send localhost 8444 map.dat --ca certs/ca.pem",), beside=RECV),
    Screen("bench", ("naquid bench rpc --requests 100000",), after=4.0),
    Screen("bench-bulk", ("naquid bench bulk --seconds 3",)),
    Screen("versions", ("naquid versions",), columns=124),
]


numbers = itertools.count()


class Terminal:
    """One terminal of a tmux server of its own, with a shell that shows `$ `."""

    def __init__(self, folder: Path, socket: str, columns: int) -> None:
        self._tmux = ["tmux", "-L", socket, "-f", os.devnull]
        programs = folder / ".bin"
        programs.mkdir(exist_ok=True)
        naquid = programs / "naquid"
        naquid.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m naquid "$@"\n')
        naquid.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
        }
        size = ["-x", str(columns), "-y", str(ROWS)]
        command = ["new-session", "-d", *size, "-c", str(folder), "PS1='$ ' exec bash --norc --noprofile"]
        subprocess.run([*self._tmux, *command], env=environment, check=True)
        self._wait("$")

    def type(self, text: str) -> None:
        subprocess.run([*self._tmux, "send-keys", "-l", text], check=True)
        subprocess.run([*self._tmux, "send-keys", "Enter"], check=True)

    def finish(self) -> None:
        """Waits for the prompt."""
        time.sleep(0.3)
        self._wait("$")

    def screen(self) -> str:
        done = subprocess.run([*self._tmux, "capture-pane", "-e", "-p"], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().rstrip()

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, stderr=subprocess.DEVNULL)

    def _wait(self, last: str) -> None:
        for _ in range(600):
            lines = Text.from_ansi(self.screen()).plain.splitlines()
            if lines and lines[-1].strip() == last:
                return
            time.sleep(0.1)
        raise SystemExit(f"no prompt after a minute:\n{self.screen()}")


@contextlib.contextmanager
def terminal(folder: Path, columns: int) -> Iterator[Terminal]:
    made = Terminal(folder, f"naquid-{os.getpid()}-{next(numbers)}", columns)
    try:
        yield made
    finally:
        made.close()


def spaced(found: re.Match[str]) -> str:
    """Without the second group, and as wide as before."""
    return f"{found[1]}{found[3]}".ljust(len(found[0]))


def draw(screen: Screen, folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        if screen.beside:
            beside = stack.enter_context(terminal(folder, COLUMNS))
            beside.type(screen.beside)
            while "listening" not in beside.screen():
                time.sleep(0.1)
        if screen.fresh:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="naquid-screens-")))
        front = stack.enter_context(terminal(folder, screen.columns))
        for number, command in enumerate(screen.commands):
            front.type(command)
            if screen.after and number == len(screen.commands) - 1:
                time.sleep(screen.after)
            else:
                front.finish()
        ansi = front.screen()
    lines = ansi.split("\n")
    if Text.from_ansi(lines[-1]).plain.strip() == "$":
        lines.pop()
    # The kernel's build is of no interest.
    text = re.sub(r"(Linux.\d+\.\d+)(\S*?)((?: on |-)(?:x86_64|aarch64)\S*)", spaced, "\n".join(lines))
    console = Console(record=True, width=screen.columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=True)
    console.print()  # or the last line is cut off below its base line
    svg = console.export_svg(title="naquid", unique_id=f"cli-{screen.name}")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # they would be loaded from another host
    svg = re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)
    assert "url(http" not in svg, screen.name
    (FOLDER / f"{screen.name}.svg").write_text(svg)
    print(f"{screen.name}.svg: {len(lines)} lines")


def main(names: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="naquid-screens-") as place:
        folder = Path(place)
        (folder / "incoming").mkdir()
        for name, size in (("world.dat", 4 << 30), ("map.dat", 64 << 20)):
            with (folder / name).open("wb") as file:
                file.truncate(size)
        with terminal(folder, COLUMNS) as first:
            first.type("naquid cert --out certs")
            first.finish()
        for screen in SCREENS:
            if not names or screen.name in names:
                draw(screen, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
