"""Every example of every --help runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_command import ALL, Certs, Running, Start

HOSTS = {"game.test": "localhost", "192.0.2.7": "localhost"}
SMALLER = {"--connections": "2", "--requests": "20", "--seconds": "0.5", "--size": "1000", "--count": "2", "-c": "2"}
"""What would take long is done less often. The commands and options are those of the example."""


def examples() -> Iterator[tuple[tuple[str, ...], str]]:
    for path, one in ALL:
        listed = re.split(r"\nexamples?:\n", f"\n{one.epilog}")[1:]
        for line in "".join(listed).split("\n\n")[0].splitlines():
            found = re.match(r" +(?:\w+: +)?(.*?)(?:   .*)?$", line)
            assert found, line
            yield path, found[1]


EXAMPLES = list(examples())


def test_every_command_has_examples() -> None:
    told = {path for path, _ in EXAMPLES}
    assert {path for path, _ in ALL} - told == set()


@pytest.fixture
def place(tmp_path: Path, certs: Certs) -> Path:
    """A folder with everything that the examples name."""
    for folder in ("certs", "."):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in ("ca.pem", "ca-key.pem", "cert.pem", "key.pem"):
            shutil.copy(certs.folder / name, tmp_path / folder / name)
    for folder in ("incoming", "maps", "game", "home/.zfunc", "home/.local/share/bash-completion/completions"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "home/.config/fish/completions").mkdir(parents=True)
    (tmp_path / "maps" / "one").write_bytes(b"a map")
    (tmp_path / "world.dat").write_bytes(b"the world" * 1000)
    (tmp_path / "request.bin").write_bytes(b"request")
    (tmp_path / "game" / "server.py").write_text("import naquid\n\napp = naquid.Handlers()\n")
    return tmp_path


def programs(folder: Path) -> dict[str, str]:
    """`naquid` of this interpreter, before all others."""
    bin = folder / ".bin"
    bin.mkdir()
    (bin / "naquid").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m naquid "$@"\n')
    (bin / "naquid").chmod(0o755)
    root = Path(__file__).resolve().parents[2]
    changed = {
        "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "HOME": str(folder / "home"),
        "SSL_CERT_FILE": str(folder / "ca.pem"),  # whom the system trusts
    }
    return {**os.environ, **changed}


def ours(line: str, echo: int, receiver: int) -> str:
    """The example with the servers that there are, and less of what would take long."""
    words = line.split(" ")
    serves = "serve" in words or "recv" in words
    for at, word in enumerate(words):
        if words[at - 1] in SMALLER and re.fullmatch(r"[\d.]+", word):
            words[at] = SMALLER[words[at - 1]]
        elif word in HOSTS and words[at - 1] not in ("--name", "--ip"):
            words[at] = HOSTS[word]
        elif word in ("8443", "8444"):
            words[at] = "0" if serves else str(echo if word == "8443" else receiver)
    if serves and "--port" not in words:
        words += ["--port", "0"]
    if "ping" in words and "-c" not in words:
        words += ["-c", "2"]
    if words[1:2] == ["demo"] and "--requests" not in words:
        words += ["--requests", "20"]
    return " ".join(words)


@pytest.mark.parametrize(("path", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_example(path: tuple[str, ...], line: str, place: Path, start: Start, certs: Certs, echo: Running) -> None:
    if "--plot" in line:
        pytest.importorskip("matplotlib")
    receiver = start("recv", *certs.server, "--out", place / "incoming")
    server = start("serve", *certs.server, "--name", "lobby") if " lobby " in line else echo
    command = ours(line, server.port, receiver.port)
    if "naquid cert" in command:  # which replaces nothing
        shutil.rmtree(place / "game")
        for name in () if "--force" in line else ("cert.pem", "key.pem"):
            (place / "certs" / name).unlink()
    environment = programs(place)
    shell = ["bash", "-c", f"set -e -o pipefail; {command}"]
    if "serve" in command.split() or "recv" in command.split():
        until_it_listens(shell, place, environment)
        return
    done = subprocess.run(shell, cwd=place, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert b"Traceback" not in done.stderr


def until_it_listens(shell: list[str], place: Path, environment: dict[str, str]) -> None:
    """Starts a server, and ends it once it has said where it listens."""
    with (place / "said").open("wb") as said:
        process = subprocess.Popen(["setsid", *shell], cwd=place, env=environment, stdout=subprocess.PIPE, stderr=said)
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, b"")
        last = next((line for line in lines if b"listening" in line or b'"port"' in line), None)
        assert last, (shell, (place / "said").read_text())
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)
        process.stdout and process.stdout.close()
    assert "Traceback" not in (place / "said").read_text()
