"""The programs in examples/ run. Those of the tutorials run where they are shown, see test_blocks.py."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import preambles
import pytest
from blocks import ROOT, SNIPPET, pages

PATIENCE = 30.0


class Place:
    """A folder with certificates and copies of the examples that use a free port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        preambles.certificates(folder)
        self.environment = preambles.environment(folder)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("", 0))
            self.port = str(probe.getsockname()[1])
        for path in (ROOT / "examples").rglob("*.py"):
            text = path.read_text().replace("8443", self.port).replace("8444", self.port).replace("100_000", "1_000")
            copy = folder / path.relative_to(ROOT / "examples")
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(text)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            ["python", *command],
            executable=self.folder / ".bin" / "python",
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode()
        return done.stdout.decode()

    @contextlib.contextmanager
    def serving(self, *command: str) -> Iterator[None]:
        log = self.folder / "server.log"
        with self.started(log, *command) as process:
            end = time.monotonic() + PATIENCE
            while "listening" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, "the server did not begin"
                time.sleep(0.02)
            yield
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0, log.read_text()
            assert "Traceback" not in log.read_text()

    @contextlib.contextmanager
    def started(self, log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program, whose output goes to a file."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["python", *command],
                executable=self.folder / ".bin" / "python",
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=preambles.heed_interrupts,
            )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_echo_and_callbacks(place: Place) -> None:
    with place.serving("echo.py", "server", "cert.pem", "key.pem"):
        printed = place.run("echo.py", "client", "ca.pem").splitlines()
        assert printed == ["b'a request'", "[b'number 0', b'number 1', b'number 2']", "b'a record'", "b'some bytes'"]
        assert re.fullmatch(r"[\d,]+ requests/s\n", place.run("callbacks.py", "ca.pem"))


IDENTITY = ["--cert", "cert.pem", "--key", "key.pem"]
SERVERS = [
    ["echo.py", "server", "cert.pem", "key.pem"],
    ["chat/server.py"],
    ["files/receiver.py", "."],
    ["game/server.py"],
    ["p2p/meet.py"],
    ["capi/echo_server.py", *IDENTITY],
    ["capi/room_server.py", *IDENTITY],
]
CLIENTS = [
    ["echo.py", "client", "ca.pem"],
    ["callbacks.py", "ca.pem"],
    ["chat/client.py", "ann"],
    ["files/sender.py", "ca.pem"],
    ["game/client.py", "ann"],
    ["p2p/node.py", "ann"],
    ["capi/echo_client.py", "--ca", "ca.pem"],
    ["capi/room_client.py", "--ca", "ca.pem"],
    ["capi/bench.py", "--port", "8443"],
]


@pytest.mark.parametrize("command", SERVERS, ids=lambda command: command[0])
def test_a_server_ends_quietly_at_ctrl_c(place: Place, command: list[str]) -> None:
    with place.serving(*command):
        pass


@pytest.mark.parametrize("command", CLIENTS, ids=lambda command: command[0])
def test_a_client_ends_quietly_at_ctrl_c(place: Place, command: list[str]) -> None:
    """While it waits for a server that does not answer."""
    log = place.folder / "client.log"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", int(place.port)))
        silent.settimeout(PATIENCE)
        with place.started(log, *(word.replace("8443", place.port) for word in command)) as process:
            silent.recv(2048)  # its first packet: the program runs
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) in (0, 130), log.read_text()
    assert "Traceback" not in log.read_text()
    assert "Error" not in log.read_text()


def test_every_example_ends_quietly() -> None:
    """Each program is in one of the two lists."""
    programs = {
        path.relative_to(ROOT / "examples").as_posix()
        for path in (ROOT / "examples").rglob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    }
    assert programs == {command[0] for command in [*SERVERS, *CLIENTS]}
    others = {path.stem for path in (ROOT / "examples").rglob("*.py")} - {Path(name).stem for name in programs}
    assert others == {"protocol", "setup"}  # a module of the game's, and a build


def test_every_example_is_run() -> None:
    """Here, or as a block of a page. Those of the C API and in C have tests of their own."""
    lines = (line for path in pages() for line in path.read_text().splitlines())
    shown = {found["path"] for line in lines if (found := SNIPPET.match(line))}
    here = {"examples/echo.py", "examples/callbacks.py"}
    for path in (ROOT / "examples").rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        assert name in shown | here or name.startswith(("examples/capi/", "examples/native/")), (
            f"{name} is run by no test"
        )
