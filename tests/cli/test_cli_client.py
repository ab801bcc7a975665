"""serve, call and ping."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_command import COMMAND, Certs, Running, Start, run
from harness import Bench, Variant

import naquid
from naquid.cli import ping

APP = """
import naquid
from naquid import capi

app = naquid.Handlers()

@app.rpc("upper")
def upper(rpc, type, payload):
    if type == 9:
        raise naquid.RpcError(b"no such thing", -42)
    return payload.upper()

@app.rpc("never")
def never(rpc, type, payload):
    assert rpc.current_msgid  # so that the reply comes later, which is never

@app.rpc("leave")
async def leave(rpc, type, payload):
    rpc.connection.abort(7, "get out")

number = 1

def setup(handlers):
    def request(rpc, type, msgid, data):
        capi.nq_rpc_reply(rpc, msgid, data[::-1])
    capi.nq_hdmap_rpc_handler(handlers, "back", capi.nq_rpc_handler_t(on_rpc_request=request))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with a program."""
    (tmp_path / "game").mkdir()
    (tmp_path / "game" / "__init__.py").touch()
    (tmp_path / "game" / "app.py").write_text(APP)
    (tmp_path / "broken.py").write_text("x = 1\nraise ValueError('not today')\n")
    (tmp_path / "needy.py").write_text("import nosuchpackage\n")
    return tmp_path


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- call ----


def test_call(echo: Running, certs: Certs) -> None:
    done = run("call", "localhost", echo.port, "rpc", 1, "hello, wörld", *certs.client).fine()
    assert done.raw.decode() == "hello, wörld\n"
    assert not done.err


def test_call_payloads(echo: Running, certs: Certs) -> None:
    def reply(*arguments: object, data: bytes = b"") -> bytes:
        done = run("call", "localhost", echo.port, "rpc", 32767, *arguments, *certs.client, data=data)
        assert (done.code, done.err) == (0, "")
        return done.raw

    binary = bytes(range(256)) * 1000
    assert reply() == b"\n"
    assert reply("00ff10", "--hex") == b"00ff10\n"
    assert reply("-", "--output", "raw", data=binary) == binary
    assert reply("-", "--hex", data=b"0102\n") == b"0102\n"
    assert reply("abc", "--output", "hex") == b"616263\n"
    assert b"\x1b" not in reply("-", "--output", "text", data=b"a\x1b[2Jb")
    assert reply("-", data=b"a\x1b[2Jb") == b"611b5b324a62\n"


def test_call_json(echo: Running, certs: Certs) -> None:
    found = run("call", "localhost", echo.port, "rpc", 1, "hi", *certs.client, "--json").fine().json
    assert found.pop("milliseconds") > 0
    assert found == {"result": 0, "bytes": 2, "text": "hi", "hex": "6869"}
    found = run("call", "localhost", echo.port, "rpc", 1, "ff", "--hex", *certs.client, "--json").fine().json
    assert (found["text"], found["hex"]) == (None, "ff")


def test_call_notify(echo: Running, certs: Certs) -> None:
    done = run("call", "localhost", echo.port, "rpc", 1, "hi", "--notify", *certs.client, "--json").fine()
    assert done.json == {"sent": 2}


def test_call_insecurely(echo: Running) -> None:
    done = run("call", "localhost", echo.port, "rpc", 1, "hi", "--insecure").fine()
    assert done.out == "hi\n"
    assert "not verified" in done.err


def test_call_with_another_name(echo: Running, certs: Certs) -> None:
    run("call", "localhost", echo.port, "rpc", 1, "--server-name", "game.test", *certs.client).failed("game.test")
    run("call", "127.0.0.1", echo.port, "rpc", 1, "--server-name", "localhost", *certs.client).fine()


@pytest.mark.parametrize("command", [["call", "rpc", "1"], ["ping"], ["send", __file__]], ids=lambda c: str(c[0]))
class TestErrorsOfConnecting:
    """Every client command says what is wrong in one sentence."""

    def test_untrusted(self, command: list[str], echo: Running, other_certs: Certs) -> None:
        run(command[0], "localhost", echo.port, *command[1:], *other_certs.client).failed("TLS handshake", "unknown_ca")

    def test_no_such_ca(self, command: list[str], echo: Running, tmp_path: Path) -> None:
        missing = tmp_path / "missing.pem"
        run(command[0], "localhost", echo.port, *command[1:], "--ca", missing).failed(str(missing), "No such file")

    def test_ca_is_no_certificate(self, command: list[str], echo: Running) -> None:
        run(command[0], "localhost", echo.port, *command[1:], "--ca", __file__).failed("test_cli_client.py")

    def test_nobody_listens(self, command: list[str], certs: Certs) -> None:
        done = run(command[0], "127.0.0.1", free_port(), *command[1:], *certs.client, "--connect-timeout", 0.5)
        done.failed("nothing listens there")

    def test_no_such_host(self, command: list[str], certs: Certs) -> None:
        run(command[0], "nosuch.invalid", 1, *command[1:], *certs.client).failed("nosuch.invalid", "resolved")


def test_call_without_a_handler(echo: Running, certs: Certs) -> None:
    run("call", "localhost", echo.port, "nobody", 1, *certs.client).failed("nobody")


# ---- serve ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_serve_ends_in_order(start: Start, certs: Certs, number: int, workers: int) -> None:
    server = start("serve", *certs.server, "--workers", workers)
    assert server.first["workers"] == workers
    done = server.end(number).fine()
    assert not done.err


def test_serve_says_where(certs: Certs) -> None:
    process = subprocess.Popen([*COMMAND, "serve", *map(str, certs.server[:-1])], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert line.startswith("listening on 127.0.0.1, UDP port ")


def test_serve_workers(start: Start, certs: Certs) -> None:
    server = start("serve", *certs.server, "--workers", 3, "--name", "lobby")
    for number in range(6):
        done = run("call", "localhost", server.port, "lobby", 1, number, *certs.client).fine()
        assert done.out == f"{number}\n"
    server.end().fine()


def test_serve_an_app(start: Start, certs: Certs, program: Path) -> None:
    server = start("serve", "game.app:app", *certs.server, cwd=program)
    assert run("call", "localhost", server.port, "upper", 1, "hi", *certs.client).fine().out == "HI\n"

    refused = run("call", "localhost", server.port, "upper", 9, *certs.client)
    refused.failed("-42", "no such thing")
    refused = run("call", "localhost", server.port, "upper", 9, *certs.client, "--json")
    assert refused.code == 1
    assert (refused.json["result"], refused.json["text"]) == (-42, "no such thing")

    run("call", "localhost", server.port, "never", 1, *certs.client, "--timeout", 0.3).failed("0.3")
    run("call", "localhost", server.port, "leave", 1, *certs.client).failed("0x7", "get out")
    server.end().fine()


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_a_function(start: Start, certs: Certs, program: Path, workers: int) -> None:
    server = start("serve", "game.app:setup", *certs.server, "--workers", workers, cwd=program)
    assert run("call", "localhost", server.port, "back", 1, "abc", *certs.client).fine().out == "cba\n"
    server.end().fine()


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("nosuch:app", ["no module 'nosuch'"]),
        ("game.nosuch:app", ["no module 'game.nosuch'"]),
        ("game.app:nosuch", ["has no 'nosuch'"]),
        ("game.app:number", ["naquid.Handlers"]),
        ("broken:app", ["ValueError", "not today", "broken.py, line 2"]),
        ("needy:app", ["nosuchpackage"]),
    ],
)
def test_serve_cannot_load(certs: Certs, program: Path, app: str, words: list[str]) -> None:
    run("serve", app, *certs.server, cwd=program).failed(*words)


def test_serve_asyncio_app_has_no_workers(certs: Certs, program: Path) -> None:
    run("serve", "game.app:app", *certs.server, "--workers", 2, cwd=program).failed("--workers", code=2)


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_cannot_listen(echo: Running, certs: Certs, tmp_path: Path, workers: int) -> None:
    more = ["--workers", workers]
    run("serve", *certs.server, *more, "--port", echo.port).failed("in use")
    run("serve", *certs.server, *more, "--cert", tmp_path / "none.pem").failed("none.pem")
    run("serve", *certs.server, *more, "--key", certs.ca).failed("ca.pem")
    run("serve", *certs.server, *more, "--host", "192.0.2.1").failed("192.0.2.1")


def test_serve_only_clients_with_a_certificate(start: Start, certs: Certs, tmp_path: Path) -> None:
    run("cert", "--out", tmp_path).fine()
    run("cert", "--out", tmp_path, "--client", "player-1").fine()
    server = start("serve", *certs.server, "--client-ca", tmp_path / "ca.pem")
    identity = ["--cert", tmp_path / "client.pem", "--key", tmp_path / "client-key.pem"]
    run("call", "localhost", server.port, "rpc", 1, "hi", *certs.client, *identity).fine()
    run("call", "localhost", server.port, "rpc", 1, "hi", *certs.client).failed("certificate")
    server.end()


# ---- ping ----


def test_ping(echo: Running, certs: Certs) -> None:
    done = run("ping", "localhost", echo.port, *certs.client, "-c", 3, "-i", 0.01).fine()
    lines = done.out.splitlines()
    assert lines[0].startswith("PING localhost")
    assert sum("time=" in line for line in lines) == 3
    assert "3 sent, 3 answered, 0% loss" in done.out
    assert lines[-1].startswith("rtt min/avg/max/mdev = ")
    quiet = run("ping", "localhost", echo.port, *certs.client, "-c", 3, "-i", 0.01, "-q").fine()
    assert "time=" not in quiet.out


def test_ping_json(echo: Running, certs: Certs) -> None:
    found = run("ping", "localhost", echo.port, *certs.client, "-c", 4, "-i", 0.01, "--json").fine().json
    assert (found["sent"], found["received"], found["loss_percent"], found["port"]) == (4, 4, 0, echo.port)
    assert len(found["rtts_ms"]) == 4
    assert 0 < found["min_ms"] <= found["avg_ms"] <= found["max_ms"] < 60_000
    assert found["mdev_ms"] >= 0


def test_the_handshakes_time_is_its_own(run_once: Variant, bench: Bench) -> None:
    """It is measured from when the name is resolved and the certificates are read."""

    async def main() -> None:
        async with bench.serve(naquid.Handlers(), "127.0.0.1") as server:
            attempt = bench.connect(server.port)
            begun = ping.when_begun(attempt)
            async with attempt:
                assert len(begun) == 2, "the attempt has said so"

    run_once(main)


def test_ping_is_ended_by_ctrl_c(start: Start, echo: Running, certs: Certs) -> None:
    ping = start("ping", "localhost", echo.port, *certs.client, "-i", 0.01, ready=False)
    assert ping.process.stdout is not None
    for _ in range(3):
        assert ping.process.stdout.readline()
    done = ping.end(signal.SIGINT).fine()
    assert " 0% loss" in done.out
    assert not done.err


def test_ping_counts_what_is_lost(start: Start, certs: Certs) -> None:
    server = start("serve", *certs.server)
    ping = start("ping", "localhost", server.port, *certs.client, "-c", 5, "-i", 0.3, "-W", 0.2, ready=False)
    assert ping.process.stdout is not None
    for _ in range(2):
        assert ping.process.stdout.readline()
    server.process.send_signal(signal.SIGSTOP)
    done = ping.wait()
    server.process.send_signal(signal.SIGCONT)
    assert done.code == 0, done.err
    assert "no answer from" in done.out
    assert " 0% loss" not in done.out
    server.end()


def test_ping_says_when_the_server_ends(start: Start, certs: Certs) -> None:
    server = start("serve", *certs.server)
    ping = start("ping", "localhost", server.port, *certs.client, "-i", 0.05, ready=False)
    assert ping.process.stdout is not None
    for _ in range(2):
        assert ping.process.stdout.readline()
    server.end()
    done = ping.wait()
    assert done.code == 1
    assert "closed the connection" in done.err
    assert "ping statistics" in done.out


@pytest.mark.parametrize("arguments", [["call", "rpc", "1"], ["ping"]], ids=lambda a: str(a[0]))
def test_interrupted_while_connecting(start: Start, certs: Certs, arguments: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:  # somebody is there, and says nothing
        silent.bind(("127.0.0.1", 0))
        where = ["127.0.0.1", silent.getsockname()[1]]
        client = start(arguments[0], *where, *arguments[1:], *certs.client, "--connect-timeout", 50, ready=False)
        assert silent.recv(2000), "the handshake has begun"
        done = client.end(signal.SIGINT)
    assert (done.code, done.out, done.err) == (130, "", "")


def test_unknown_bug_is_not_hidden() -> None:
    script = "import sys; from naquid.cli import main, versions; versions.collect = lambda: 1 / 0;"
    script += "sys.exit(main.main(['versions']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_json_is_one_line(echo: Running, certs: Certs) -> None:
    for arguments in (["ping", "localhost", echo.port, "-c", 1], ["call", "localhost", echo.port, "rpc", 1]):
        done = run(*arguments, *certs.client, "--json").fine()
        assert done.out.count("\n") == 1
        json.loads(done.out)
