"""send and recv: every byte, every name, every way to end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from cli_command import Certs, Running, Start, run

import naquid
from naquid.cli import transfer


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def receiver(start: Start, certs: Certs, out: Path) -> Running:
    return start("recv", *certs.server, "--out", out)


def names(folder: Path) -> list[str]:
    """Everything in there, hidden or not."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 65_536, 262_143, 262_144, 262_145, 5_000_003, 80_000_000])
def test_sizes(receiver: Running, certs: Certs, tmp_path: Path, out: Path, size: int) -> None:
    file = tmp_path / "some file.bin"
    file.write_bytes(content(size))
    digest = hashlib.sha256(content(size)).hexdigest()
    sent = run("send", "localhost", receiver.port, file, *certs.client, "--json").fine().json
    assert (sent["name"], sent["bytes"], sent["sha256"]) == ("some file.bin", size, digest)
    assert sent["seconds"] > 0
    got = receiver.line()
    assert (got["name"], got["bytes"], got["sha256"]) == ("some file.bin", size, digest)
    assert (out / "some file.bin").read_bytes() == content(size)
    assert names(out) == ["some file.bin"]
    receiver.end().fine()


def test_what_a_person_reads(start: Start, certs: Certs, tmp_path: Path, out: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(content(1000))
    options = [option for option in certs.server if option != "--json"]
    receiver = start("recv", *options, "--out", out, ready=False)
    assert receiver.process.stdout is not None
    first = receiver.process.stdout.readline().decode()
    assert first.startswith("listening on 127.0.0.1, UDP port ")
    port = first.split("UDP port ")[1].split(",")[0]
    done = run("send", "localhost", port, file, *certs.client).fine()
    assert done.out.startswith("sent a.bin: 1,000 bytes in ")
    assert f"SHA-256 {hashlib.sha256(content(1000)).hexdigest()}" in done.out
    ended = receiver.end(signal.SIGINT).fine()
    assert f"{out / 'a.bin'}: 1,000 bytes in " in ended.out


def test_standard_input(receiver: Running, certs: Certs, out: Path) -> None:
    data = content(700_000)
    sent = run("send", "localhost", receiver.port, "-", "--name", "x.bin", *certs.client, "--json", data=data).fine()
    assert sent.json["bytes"] == len(data)
    assert (out / "x.bin").read_bytes() == data


def test_many_at_once(receiver: Running, start: Start, certs: Certs, tmp_path: Path, out: Path) -> None:
    senders = []
    for number in range(4):
        (tmp_path / f"{number}").write_bytes(content(1_000_000 + number))
        senders.append(start("send", "localhost", receiver.port, tmp_path / f"{number}", *certs.client, ready=False))
    for sender in senders:
        sender.wait().fine()
    for number in range(4):
        assert (out / f"{number}").read_bytes() == content(1_000_000 + number)


def test_permissions_are_the_usual_ones(receiver: Running, certs: Certs, tmp_path: Path, out: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    run("send", "localhost", receiver.port, usual, *certs.client).fine()
    assert stat.S_IMODE((out / "usual").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_no_file(certs: Certs, tmp_path: Path) -> None:
    run("send", "localhost", 1, tmp_path / "none", *certs.client).failed("none", "No such file")
    run("send", "localhost", 1, tmp_path, *certs.client).failed("Is a directory")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", ".", "a/b", "a\\b", ".hidden", "-x", " x", "x\n", "x" * 300])
def test_sender_refuses_names(certs: Certs, tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run("send", "localhost", 1, file, f"--name={name}", *certs.client)
    done.failed("--name")


def test_existing_files_stay(start: Start, certs: Certs, tmp_path: Path, out: Path) -> None:
    (out / "a").write_text("old")
    (out / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("a", "link"):
        (tmp_path / name).write_text("new")
    receiver = start("recv", *certs.server, "--out", out)
    run("send", "localhost", receiver.port, tmp_path / "a", *certs.client).failed("refused", "exists", "--force")
    run("send", "localhost", receiver.port, tmp_path / "link", *certs.client).failed("exists")
    done = receiver.end().fine()
    assert done.err.count("exists") == 2
    assert (out / "a").read_text() == "old"
    assert not (tmp_path / "elsewhere").exists()

    receiver = start("recv", *certs.server, "--out", out, "--force")
    run("send", "localhost", receiver.port, tmp_path / "a", *certs.client).fine()
    run("send", "localhost", receiver.port, tmp_path / "link", *certs.client).fine()
    assert (out / "a").read_text() == "new"
    assert (out / "link").read_text() == "new"
    assert not (tmp_path / "elsewhere").exists(), "a link was followed"
    receiver.end().fine()


def test_a_folder_is_not_replaced(start: Start, certs: Certs, tmp_path: Path, out: Path) -> None:
    (out / "a").mkdir()
    (tmp_path / "a").touch()
    receiver = start("recv", *certs.server, "--out", out, "--force")
    run("send", "localhost", receiver.port, tmp_path / "a", *certs.client).failed("folder")


def test_no_folder(certs: Certs, tmp_path: Path) -> None:
    run("recv", *certs.server, "--out", tmp_path / "none").failed("none", "--out")


def test_port_in_use(receiver: Running, certs: Certs, out: Path) -> None:
    run("recv", *certs.server, "--out", out, "--port", receiver.port).failed("in use")


def test_server_that_receives_no_files(echo: Running, certs: Certs) -> None:
    run("send", "localhost", echo.port, __file__, *certs.client).failed("naquid recv")


def test_count(start: Start, certs: Certs, tmp_path: Path, out: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    receiver = start("recv", *certs.server, "--out", out, "--count", 2)
    for name in ("a", "b"):
        run("send", "localhost", receiver.port, tmp_path / name, *certs.client).fine()
    assert [json.loads(line)["name"] for line in receiver.wait().fine().out.splitlines()] == ["a", "b"]

    receiver = start("recv", *certs.server, "--out", out, "--count", 1)
    run("send", "localhost", receiver.port, tmp_path / "a", *certs.client).failed("exists")
    assert receiver.wait().code == 1

    receiver = start("recv", *certs.server, "--out", out, "--count", 1)
    assert receiver.end(signal.SIGINT).code == 130


def test_only_clients_with_a_certificate(start: Start, certs: Certs, tmp_path: Path, out: Path) -> None:
    run("cert", "--out", tmp_path / "own").fine()
    run("cert", "--out", tmp_path / "own", "--client", "me").fine()
    receiver = start("recv", *certs.server, "--out", out, "--client-ca", tmp_path / "own" / "ca.pem")
    identity = ["--cert", tmp_path / "own" / "client.pem", "--key", tmp_path / "own" / "client-key.pem"]
    run("send", "localhost", receiver.port, __file__, *certs.client).failed("certificate")
    assert names(out) == []
    run("send", "localhost", receiver.port, __file__, *certs.client, *identity).fine()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_sender(
    receiver: Running, start: Start, certs: Certs, tmp_path: Path, out: Path, number: int
) -> None:
    sender = start("send", "localhost", receiver.port, "/dev/zero", "--name", "big", *certs.client, ready=False)
    until_some_bytes_are_there(out)
    done = sender.end(number)
    if number == signal.SIGINT:
        assert (done.code, done.out) == (130, "")
        assert "Traceback" not in done.err
    ended = receiver.end().fine()
    assert "'big'" in ended.err
    assert "interrupted" in ended.err
    assert names(out) == []


def test_interrupted_receiver(receiver: Running, start: Start, certs: Certs, out: Path) -> None:
    sender = start("send", "localhost", receiver.port, "/dev/zero", "--name", "big", *certs.client, ready=False)
    until_some_bytes_are_there(out)
    assert "interrupted" in receiver.end(signal.SIGINT).fine().err
    done = sender.wait()
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert "interrupted" in last or "stopped" in last
    assert names(out) == []


def until_some_bytes_are_there(out: Path) -> None:
    import time

    until = time.monotonic() + 60
    while not any(path.stat().st_size > 1_000_000 for path in out.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.01)


# ---- a sender that is not ours ----


def speak(port: int, certs: Certs, *parts: bytes, end: str = "eof") -> list[dict[str, Any]]:
    """Writes these bytes to the receiver's stream; its answers."""

    async def main() -> list[dict[str, Any]]:
        answers = []
        async with asyncio.timeout(60), naquid.connect("localhost", port, ca=certs.ca) as conn:
            stream = await conn.open_raw_stream(transfer.STREAM)
            for part in parts:
                stream.write(part)
            if end == "eof":
                stream.write_eof()
            try:
                while line := await stream.readline():
                    answers.append(json.loads(line))
                    if end == "reset" and "accept" in answers[-1]:
                        stream.reset(1)
            except naquid.StreamError:
                pass
        return answers

    return asyncio.run(main())


def head(name: object, size: object) -> bytes:
    return json.dumps({"name": name, "size": size}).encode() + b"\n"


DATA = b"some bytes"
DIGEST = hashlib.sha256(DATA).digest()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([b"nonsense\n"], "language"),
        ([b"[1]\n"], "language"),
        ([b"[" * 3000 + b"\n"], "language"),
        ([b"x" * 5000], "language"),
        ([b"{}\n"], "file name"),
        ([head(5, 1)], "file name"),
        ([head("../../x", 1)], "plain file name"),
        ([head("/etc/x", 1)], "plain file name"),
        ([head("..", 1)], "plain file name"),
        ([head("a\0b", 1)], "printed"),
        ([head("a\x1b[2J", 1)], "printed"),
        ([head(".bashrc", 1)], "dot"),
        ([head("x", -1)], "size"),
        ([head("x", True)], "size"),
        ([head("x", "1")], "size"),
        ([head("x", 1 << 62)], "no room"),
        ([head("x", len(DATA)), DATA, bytes(32)], "checksum"),
        ([head("x", None), DATA, bytes(32)], "checksum"),
        ([head("x", len(DATA) + 1), DATA, DIGEST], "ended after"),
        ([head("x", len(DATA) - 1), DATA, DIGEST], "more bytes"),
        ([head("x", None)], "ended after"),
        ([head("x", 0), bytes(31)], "ended after"),
    ],
    ids=str,
)
def test_wrong_senders(receiver: Running, certs: Certs, out: Path, parts: list[bytes], words: str) -> None:
    answers = speak(receiver.port, certs, *parts)
    assert words in answers[-1]["error"]
    ended = receiver.end().fine()
    assert words in ended.err
    assert "\x1b" not in ended.err
    assert len(ended.err.splitlines()) == 1
    assert names(out) == []


def test_a_right_one(receiver: Running, certs: Certs, out: Path) -> None:
    answers = speak(receiver.port, certs, head("x", None), DATA, DIGEST)
    assert answers == [{"accept": True}, {"bytes": len(DATA), "sha256": DIGEST.hex()}]
    assert (out / "x").read_bytes() == DATA


def test_a_reset_leaves_nothing(receiver: Running, certs: Certs, out: Path) -> None:
    speak(receiver.port, certs, head("x", 100), b"half", end="reset")
    assert "interrupted" in receiver.end().fine().err
    assert names(out) == []


def test_the_same_name_twice_at_once(receiver: Running, start: Start, certs: Certs, tmp_path: Path, out: Path) -> None:
    sender = start("send", "localhost", receiver.port, "/dev/zero", "--name", "big", *certs.client, ready=False)
    until_some_bytes_are_there(out)
    (tmp_path / "big").touch()
    run("send", "localhost", receiver.port, tmp_path / "big", *certs.client).failed("already")
    sender.end(signal.SIGINT)


# ---- names and files, without a network ----


def test_safe_names() -> None:
    for name in ("a", "world-2.dat", "ä ö.txt", "a.b.c", "x" * 200):
        assert transfer.safe_name(name) == name


def test_a_name_that_is_taken_meanwhile(out: Path) -> None:
    with transfer.Incoming(out, "x", False) as file:
        file.feed(DATA)
        file.feed(DIGEST)
        (out / "x").write_text("mine")
        with pytest.raises(Exception, match="exists"):
            file.keep(None)
    assert (out / "x").read_text() == "mine"
    assert names(out) == ["x"]


@pytest.mark.parametrize("step", [1, 7, 31, 32, 33, 100])
def test_the_checksum_is_found_in_any_chunks(out: Path, step: int) -> None:
    data = content(1000)
    whole = data + hashlib.sha256(data).digest()
    with transfer.Incoming(out, "x", False) as file:
        for at in range(0, len(whole), step):
            file.feed(whole[at : at + step])
        assert file.keep(1000) == hashlib.sha256(data).hexdigest()
    assert (out / "x").read_bytes() == data
