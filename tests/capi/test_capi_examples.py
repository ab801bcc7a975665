"""The programs in examples/capi run, and check themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "capi"


def run(name: str, *args: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


class Server:
    def __init__(self, name: str, *args: Any) -> None:
        command = [sys.executable, str(EXAMPLES / name), "--host", "127.0.0.1", "--port", "0", *map(str, args)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[-1])

    def stop(self) -> str:
        self.process.terminate()
        _, errors = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, errors
        return errors


@pytest.fixture
def servers(leaf: Any) -> Iterator[Any]:
    made: list[Server] = []

    def start(name: str, *args: Any) -> Server:
        made.append(Server(name, "--cert", leaf.cert, "--key", leaf.key, *args))
        return made[-1]

    yield start
    for server in made:
        server.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_echo(servers: Any, ca: Any, workers: int) -> None:
    server = servers("echo_server.py", "--workers", workers)
    done = run("echo_client.py", "--port", server.port, "--ca", ca.ca, "one", "two")
    lines = ["record: one", "record: two", "reply 0: one", "reply 0: two"]
    assert sorted(done.stdout.splitlines()) == lines


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
def test_bench(leaf: Any, batch: bool) -> None:
    """Every reply's content is checked; small here."""
    for window in (0, 1, 16):
        done = run(
            "bench.py", "--cert", leaf.cert, "--key", leaf.key, "--connections", 10, "--requests", 100,
            "--window", window, "--json", *(["--batch"] if batch else []),
        )  # fmt: skip
        result = json.loads(done.stdout)
        assert (result["requests"], result["errors"]) == (1000, 0)
        assert 0 < result["requests_per_second"] < result["requests_per_second_without_handshakes"]


def test_bench_by_itself() -> None:
    """Without a certificate it makes one."""
    done = run("bench.py", "--connections", 2, "--requests", 10, "--json")
    assert json.loads(done.stdout)["errors"] == 0


def test_room(servers: Any, ca: Any) -> None:
    """64 clients in one room on 4 workers: every member hears everything, in the same order, without a gap."""
    server = servers("room_server.py", "--workers", 4)
    done = run("room_client.py", "--port", server.port, "--ca", ca.ca, "--members", 64, "--messages", 5)
    assert "64 members, 320 messages spoken, heard by all: True, gaps: 0" in done.stdout
