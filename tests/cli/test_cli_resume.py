"""send and recv when something is in the way: silent pipes, files of untrue size, holes, transfers that were cut."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cli_command import COMMAND, Certs, Running, Start, run

from naquid.cli import transfer

MANY = 60_000_000


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def partial(out: Path, name: str) -> Path:
    return out / f".naquid-{name}.part"


class Piped:
    """naquid send of a standard input that has said something and is silent now."""

    def __init__(self, port: int, certs: Certs, name: str) -> None:
        command = [*COMMAND, "send", "localhost", str(port), "-", "--name", name, *map(str, certs.client)]
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(command, **streams)
        assert self.process.stdin is not None
        self.process.stdin.write(b"hello\n" * 10_000)
        self.process.stdin.flush()

    def ended(self) -> tuple[int, str]:
        """Its code and what it said; standard input is still open."""
        try:
            code = self.process.wait(60)
        finally:
            self.process.kill()
        assert self.process.stderr is not None
        return code, self.process.stderr.read().decode()


def until_it_arrives(out: Path) -> None:
    until = time.monotonic() + 60
    while not any(path.stat().st_size > 50_000 for path in out.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_silent_pipe_ends_at_the_first_ctrl_c(start: Start, certs: Certs, out: Path) -> None:
    receiver = start("recv", *certs.server, "--out", out)
    piped = Piped(receiver.port, certs, "x")
    until_it_arrives(out)
    piped.process.send_signal(signal.SIGINT)
    assert piped.ended() == (130, "")
    receiver.end()
    assert names(out) == []


def test_a_silent_pipe_notices_a_receiver_that_has_ended(start: Start, certs: Certs, out: Path) -> None:
    receiver = start("recv", *certs.server, "--out", out)
    piped = Piped(receiver.port, certs, "x")
    until_it_arrives(out)
    receiver.end()
    code, said = piped.ended()
    assert code == 1
    assert "Traceback" not in said
    assert "interrupted" in said or "stopped" in said


def test_a_fifo_is_read_to_its_end(start: Start, certs: Certs, tmp_path: Path, out: Path) -> None:
    receiver = start("recv", *certs.server, "--out", out)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    sender = start("send", "localhost", receiver.port, fifo, *certs.client, ready=False)
    data = random.Random(1).randbytes(1_000_000)
    with fifo.open("wb") as file:
        file.write(data)
    sender.wait().fine()
    assert (out / "fifo").read_bytes() == data


@pytest.mark.parametrize("path", ["/proc/self/status", "/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled"])
def test_files_of_untrue_size_arrive_whole(start: Start, certs: Certs, out: Path, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"no {path} here")
    size = os.stat(path).st_size
    receiver = start("recv", *certs.server, "--out", out)
    sent = run("send", "localhost", receiver.port, path, "--name", "x", *certs.client, "--json").fine().json
    arrived = (out / "x").read_bytes()
    assert len(arrived) == sent["bytes"] != size
    assert arrived.split()[:1] == Path(path).read_bytes().split()[:1]


def test_permissions_and_times_on_request(start: Start, certs: Certs, tmp_path: Path, out: Path) -> None:
    receiver = start("recv", *certs.server, "--out", out)
    file = tmp_path / "script"
    file.write_bytes(b"#!/bin/sh\n")
    file.chmod(0o4751)
    os.utime(file, ns=(1_000_000_000_123_456_789, 1_100_000_000_987_654_321))
    run("send", "localhost", receiver.port, file, "--preserve", *certs.client).fine()
    about = (out / "script").stat()
    assert stat.S_IMODE(about.st_mode) == 0o751, "and no set-user-ID"
    assert about.st_mtime_ns == 1_100_000_000_987_654_321
    run("send", "localhost", receiver.port, file, "--name", "plain", *certs.client).fine()
    about = (out / "plain").stat()
    assert stat.S_IMODE(about.st_mode) & 0o111 == 0
    assert about.st_mtime_ns > 1_200_000_000_000_000_000
    run("send", "localhost", receiver.port, "-", "--name", "y", "--preserve", *certs.client).failed(
        "--preserve", code=2
    )


@pytest.mark.parametrize("layout", ["only a hole", "at the end", "at the beginning", "in the middle"])
def test_holes_stay_holes(start: Start, certs: Certs, tmp_path: Path, out: Path, layout: str) -> None:
    receiver = start("recv", *certs.server, "--out", out)
    file = tmp_path / "disk.img"
    with file.open("wb") as made:
        made.truncate(8 << 20)
        for place, at in (("at the end", 0), ("at the beginning", (8 << 20) - 100), ("in the middle", 3_000_001)):
            if layout == place:
                made.seek(at)
                made.write(b"\x01" + bytes(50) + b"\x02")
    if file.stat().st_blocks * 512 >= 8 << 20:
        pytest.skip("no holes on this file system")
    run("send", "localhost", receiver.port, file, *certs.client).fine()
    arrived = out / "disk.img"
    assert arrived.read_bytes() == file.read_bytes()
    assert arrived.stat().st_blocks * 512 < 1 << 20


# ---- transfers that were cut ----


@pytest.fixture
def big(tmp_path: Path) -> Path:
    file = tmp_path / "big"
    file.write_bytes(random.Random(3).randbytes(MANY))
    return file


def cut(start: Start, certs: Certs, out: Path, file: Path) -> Running:
    """A receiver that has got some of the file, and then no more: the sender was killed. It waits for the next."""
    receiver = start("recv", *certs.server, "--out", out)
    sender = start("send", "localhost", receiver.port, file, *certs.client, ready=False)
    part = partial(out, file.name)
    until = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 500_000):
        assert time.monotonic() < until
        time.sleep(0.001)
    sender.end(signal.SIGINT)
    return receiver


def test_a_cut_transfer_is_resumed(start: Start, certs: Certs, out: Path, big: Path) -> None:
    receiver = cut(start, certs, out, big)
    assert receiver.line()["error"]
    assert names(out) == [".naquid-big.part"]
    there = partial(out, "big").stat().st_size
    sent = run("send", "localhost", receiver.port, big, *certs.client, "--json").fine().json
    assert sent["resumed"] == there > 0
    assert sent["bytes"] == MANY
    assert sent["sha256"] == hashlib.sha256(big.read_bytes()).hexdigest()
    assert receiver.line()["resumed"] == there
    assert (out / "big").read_bytes() == big.read_bytes()
    assert names(out) == ["big"]


def test_a_receiver_that_ends_leaves_what_it_has(start: Start, certs: Certs, out: Path, big: Path) -> None:
    receiver = cut(start, certs, out, big)
    receiver.end(signal.SIGKILL)
    again = start("recv", *certs.server, "--out", out)
    sent = run("send", "localhost", again.port, big, *certs.client, "--json").fine().json
    assert sent["resumed"] > 0
    assert (out / "big").read_bytes() == big.read_bytes()


@pytest.mark.parametrize("change", ["another beginning", "shorter", "another file"])
def test_a_file_that_is_another_now_is_sent_from_its_beginning(
    start: Start, certs: Certs, out: Path, big: Path, change: str
) -> None:
    receiver = cut(start, certs, out, big)
    if change == "another beginning":
        with big.open("r+b") as file:
            file.write(b"other")
    elif change == "shorter":
        os.truncate(big, 1000)
    else:
        big.write_bytes(random.Random(4).randbytes(2_000_000))
    sent = run("send", "localhost", receiver.port, big, *certs.client, "--json").fine().json
    assert sent["resumed"] == 0
    assert (out / "big").read_bytes() == big.read_bytes()
    assert names(out) == ["big"]


def test_holes_when_a_transfer_is_resumed(tmp_path: Path) -> None:
    data = b"\x01" + bytes(100_000) + b"\x02" + bytes(50_000)
    offer = transfer.Offer("x", resume=True, holes=True)
    with transfer.Incoming(tmp_path, "x", False, offer) as file:
        file.feed(data[:70_000])
        file.leave()
    assert partial(tmp_path, "x").stat().st_size == 70_000 - transfer.DIGEST
    with transfer.Incoming(tmp_path, "x", False, offer) as file:
        assert file.have == 70_000 - transfer.DIGEST
        assert file.resume(hashlib.sha256(data[: file.have]).hexdigest()) == file.have
        file.feed(data[file.have :] + hashlib.sha256(data).digest())
        file.keep(None)
    assert (tmp_path / "x").read_bytes() == data


def test_two_at_once_do_not_write_to_one_file(tmp_path: Path) -> None:
    """Also in two processes: whoever comes second begins anew."""
    offer = transfer.Offer("x", resume=True)
    with transfer.Incoming(tmp_path, "x", False, offer) as one, transfer.Incoming(tmp_path, "x", True, offer) as two:
        one.feed(b"1" * 100)
        two.feed(b"2" * 100 + hashlib.sha256(b"2" * 100).digest())
        two.keep(None)
        assert partial(tmp_path, "x").read_bytes() == b"1" * (100 - transfer.DIGEST)
    assert (tmp_path / "x").read_bytes() == b"2" * 100
    assert names(tmp_path) == ["x"]


def test_a_part_with_a_wrong_checksum_is_removed(tmp_path: Path) -> None:
    with transfer.Incoming(tmp_path, "x", False, transfer.Offer("x", resume=True)) as file:
        file.feed(b"1" * 100 + bytes(32))
        with pytest.raises(Exception, match="checksum"):
            file.keep(None)
    assert names(tmp_path) == []


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    """Who may write into the folder could have put it there."""
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    out = tmp_path / "out"
    out.mkdir()
    partial(out, "x").symlink_to(mine)
    with transfer.Incoming(out, "x", False, transfer.Offer("x", resume=True)) as file:
        assert file.have == 0
        file.feed(b"1" * 100 + hashlib.sha256(b"1" * 100).digest())
        file.keep(None)
    assert mine.read_bytes() == b"mine"


def test_old_parts_are_cleaned(start: Start, certs: Certs, out: Path) -> None:
    for name, age in ((".naquid-old.part", transfer.KEPT + 60), (".naquid-new.part", 60), ("mine.part", 1e6)):
        (out / name).write_bytes(b"x")
        os.utime(out / name, times=(time.time() - age,) * 2)
    with transfer.Incoming(out, "busy", False, transfer.Offer("busy", resume=True)):
        os.utime(partial(out, "busy"), times=(0, 0))
        start("recv", *certs.server, "--out", out).end().fine()
        assert names(out) == [".naquid-busy.part", ".naquid-new.part", "mine.part"]


@pytest.mark.parametrize(
    "head",
    [
        {"name": "x", "mode": 0o4755},
        {"name": "x", "mode": -1},
        {"name": "x", "mode": "644"},
        {"name": "x", "times": 5},
        {"name": "x", "times": [1, 1 << 80]},
        {"name": "x", "times": [1, "2"]},
        {"name": "x", "about": -1},
        {"name": "x", "about": "1"},
    ],
    ids=str,
)
def test_offers_that_cannot_be(head: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"permissions|times|size"):
        transfer.Offer.read(head)
