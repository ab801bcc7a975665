"""The real command in processes of its own: what it prints, its exit code, and servers that it runs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naquid.cli.main import parser

COMMAND = [sys.executable, "-m", "naquid"]
PATIENCE = 60


Found = tuple[tuple[str, ...], argparse.ArgumentParser]


def commands(one: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[Found]:
    """The parser of every command, by its words."""
    yield path, one
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from commands(child, (*path, name))


ALL = list(commands(parser()))


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def json(self) -> Any:
        """Its output is one JSON value and nothing else."""
        return json.loads(self.out)

    def failed(self, *words: str, code: int = 1) -> None:
        """It ended with this code, printed no result, and said these words in one line on stderr; with --json in an
        object, too."""
        assert self.code == code, (self.code, self.out, self.err)
        if self.out.strip():
            assert self.json == {"error": self.json["error"], "exit_code": code}
            assert self.json["error"] in self.err
        lines = [line for line in self.err.splitlines() if "is not verified" not in line]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("naquid")
        for word in words:
            assert word in lines[0], (word, lines[0])

    def fine(self) -> Done:
        assert self.code == 0, (self.code, self.out, self.err)
        assert "\x1b" not in self.out + self.err, "control characters where there is no terminal"
        assert "Traceback" not in self.err
        return self


def run(*arguments: object, data: bytes = b"", cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=data,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(), done.stdout)


class Running:
    """A command that goes on until it is told to end. Its first line of output is JSON."""

    def __init__(self, *arguments: object, cwd: Path | None = None, ready: bool = True) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd
        )
        self.first: dict[str, Any] = self.line() if ready else {}

    @property
    def port(self) -> int:
        return int(self.first["port"])

    def line(self) -> dict[str, Any]:
        """The next line of output, as JSON."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], "it printed nothing"
        text = self.process.stdout.readline()
        if not text:
            raise AssertionError(f"it ended: {self.process.communicate()[1].decode()}")
        found = json.loads(text)
        assert isinstance(found, dict)
        return found

    def end(self, number: int = signal.SIGTERM) -> Done:
        """Sends the signal; how it ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> Done:
        out, err = self.process.communicate(timeout=PATIENCE)
        return Done(self.process.returncode, out.decode(), err.decode(), out)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Running]


@dataclass(frozen=True)
class Certs:
    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def server(self) -> list[object]:
        """Options of a server."""
        return ["--cert", self.folder / "cert.pem", "--key", self.folder / "key.pem", "--port", 0, "--json"]

    @property
    def client(self) -> list[object]:
        return ["--ca", self.ca]


def on_terminal(*arguments: object, seconds: float = PATIENCE, columns: int = 100) -> tuple[int, str]:
    """Runs the command on a terminal of its own; exit code and everything that was written to it."""
    main, end = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdin=end, stdout=end, stderr=end, env=env)
    os.close(end)
    written = b""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if select.select([main], [], [], 0.1)[0]:
            try:
                chunk = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            written += chunk
    os.close(main)
    return process.wait(timeout=PATIENCE), written.decode(errors="replace")
