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
        for path in (ROOT / "examples").glob("*.py"):
            text = path.read_text().replace("8443", self.port).replace("100_000", "1_000")
            (folder / path.name).write_text(text)

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
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["python", *command],
                executable=self.folder / ".bin" / "python",
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=preambles.heed_interrupts,
            )
        try:
            end = time.monotonic() + PATIENCE
            while "listening" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, "the server did not begin"
                time.sleep(0.02)
            yield
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_echo_and_callbacks(place: Place) -> None:
    with place.serving("echo.py", "server", "cert.pem", "key.pem"):
        printed = place.run("echo.py", "client", "ca.pem").splitlines()
        assert printed == ["b'a request'", "[b'number 0', b'number 1', b'number 2']", "b'a record'", "b'some bytes'"]
        assert re.fullmatch(r"[\d,]+ requests/s\n", place.run("callbacks.py", "ca.pem"))


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
