"""Key logs: what is at the path now is written to, and nobody waits for whoever reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import Bench, Variant

import naquid


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Variant:
    """Runs `run(main)` on each event loop."""
    return Variant(loop=request.param)


def handshake(run: Variant, bench: Bench, keylog: str | Path | None = None) -> None:
    async def main() -> None:
        config = {"tls": naquid.TlsConfig(keylog=keylog)} if keylog is not None else {}
        async with bench.pair(naquid.Handlers(), client=config):
            pass

    run(main)


def handshakes_in(file: Path) -> int:
    return sum(line.startswith("CLIENT_TRAFFIC_SECRET_0 ") for line in file.read_text().splitlines())


def test_rotation(run: Variant, bench: Bench, tmp_path: Path) -> None:
    log, old = tmp_path / "keys.log", tmp_path / "keys.log.1"
    for _ in range(2):
        handshake(run, bench, log)
    assert handshakes_in(log) == 2
    log.rename(old)
    handshake(run, bench, log)
    assert (handshakes_in(old), handshakes_in(log)) == (2, 1)
    log.unlink()
    handshake(run, bench, log)
    assert handshakes_in(log) == 1
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("by", ["config", "environment"])
def test_a_relative_name_means_the_folder_of_now(
    run: Variant, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "environment":
        monkeypatch.setenv("SSLKEYLOGFILE", "keys.log")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        handshake(run, bench, "keys.log" if by == "config" else None)
        assert handshakes_in(tmp_path / name / "keys.log") == (1 if by == "config" else 2)  # both sides


def test_a_fifo(run: Variant, bench: Bench, tmp_path: Path) -> None:
    fifo = tmp_path / "keys"
    os.mkfifo(fifo)
    handshake(run, bench, fifo)  # nobody reads: nobody waits
    for _ in range(2):
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            handshake(run, bench, fifo)
            assert os.read(reader, 65536).count(b"CLIENT_TRAFFIC_SECRET_0 ") == 1
        finally:
            os.close(reader)
        handshake(run, bench, fifo)
