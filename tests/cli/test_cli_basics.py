"""Help, usage, versions, doctor, certificates, completion: what needs no server."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_command import ALL, on_terminal, run
from cryptography import x509

import naquid


def test_every_command_is_there() -> None:
    named = {path[0] for path, _ in ALL if path}
    wanted = "demo bench serve call ping send recv cert doctor versions completion"
    assert named == set(wanted.split())


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=lambda path: " ".join(path) or "naquid")
def test_help(path: tuple[str, ...]) -> None:
    done = run(*path, "--help").fine()
    assert "example" in done.out
    assert "exit codes: 0" in done.out
    assert max(map(len, done.out.splitlines())) <= 130


@pytest.mark.parametrize(
    ("path", "command"), ALL, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_option_is_explained(path: tuple[str, ...], command: argparse.ArgumentParser) -> None:
    for action in command._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, (path, action)


def test_machines_may_read_everything_that_says_something() -> None:
    leaves = [(path, one) for path, one in ALL if path and path[0] != "completion" and path != ("bench",)]
    for path, one in leaves:
        assert "--json" in one._option_string_actions, path


def test_client_commands_take_the_same_options() -> None:
    for path, one in ALL:
        if path in {("call",), ("ping",), ("send",)}:
            for option in ("--ca", "--insecure", "--server-name", "--cert", "--key", "--connect-timeout"):
                assert option in one._option_string_actions, (path, option)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND"]),
        (["nonsense"], ["nonsense"]),
        (["bench"], ["WORKLOAD"]),
        (["bench", "rpc", "--window", "0"], ["--window", "at least 1"]),
        (["bench", "rpc", "--mode", "x"], ["--mode"]),
        (["bench", "rpc", "--limit", "nan"], ["--limit"]),
        (["bench", "bulk", "--seconds", "inf"], ["--seconds"]),
        (["call", "localhost", "70000", "rpc", "1"], ["PORT", "65535"]),
        (["call", "localhost", "1", "rpc", "40000"], ["TYPE", "32767"]),
        (["call", "localhost", "1", "", "1"], ["NAME", "1 to 255"]),
        (["call", "localhost", "1", "rpc", "1", "xyz", "--hex"], ["--hex"]),
        (["call", "localhost", "1", "rpc", "1", "--ca", "x", "--insecure"], ["--insecure"]),
        (["call", "localhost", "1", "rpc", "1", "--cert", "x"], ["--cert", "--key"]),
        (["ping", "localhost"], ["PORT"]),
        (["ping", "localhost", "1", "-i", "0"], ["-i"]),
        (["send", "localhost", "1", "-"], ["--name"]),
        (["recv"], ["--cert", "--key"]),
        (["serve", "--cert", "x", "--key", "y", "--workers", "129"], ["--workers", "128"]),
        (["serve", "noobject", "--cert", "x", "--key", "y"], ["module:object"]),
        (["serve", "--cert", "x", "--key", "y", "--busy-poll", "10001"], ["--busy-poll", "10000"]),
        (["bench", "rpc", "--busy-poll", "-1"], ["--busy-poll"]),
        (["bench", "bulk", "--busy-poll", "1.5"], ["--busy-poll"]),
        (["cert", "--ip", "localhost"], ["--ip"]),
        (["cert", "--days", "0"], ["--days"]),
        (["completion", "tcsh"], ["tcsh"]),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_wrong_usage(arguments: list[str], words: list[str]) -> None:
    run(*arguments).failed(*words, code=2)


def test_version_option() -> None:
    assert run("--version").fine().out == f"naquid {naquid.__version__}\n"


def test_versions() -> None:
    found = run("versions", "--json").fine().json
    assert found["naquid"] == naquid.__version__
    assert {"ngtcp2", "tls", "compiler", "flags", "pins", "python", "platform"} <= found.keys()
    assert "ngtcp2" in found["pins"]
    for pin in found["pins"].values():
        assert re.fullmatch("[0-9a-f]{64}", pin["sha256"])
    text = run("versions").fine().out
    for name in ("naquid", "ngtcp2", "tls", "python"):
        assert re.search(rf"^{name} +{re.escape(found[name])}$", text, re.M)
    patched = found["pins"]["ngtcp2"]["patched"]
    assert patched, "ngtcp2 is not built as upstream ships it, and that is said"
    assert [line for line in text.splitlines() if line.startswith("patched")] == [
        f"patched   ngtcp2: {change}" for change in patched
    ]


def test_doctor() -> None:
    found = run("doctor", "--json").fine().json
    assert found["works"] is True
    checks = {check["name"]: check for check in found["checks"]}
    wanted = ["loopback exchange", "receive buffer", "clock source", "processor's cryptography", "open files", "uvloop"]
    if sys.platform == "linux":
        wanted += ["GSO, UDP_SEGMENT", "GRO, UDP_GRO", "recvmmsg, sendmmsg", "SO_REUSEPORT, BPF steering"]
    assert set(wanted) <= checks.keys()
    assert checks["loopback exchange"]["status"] == "ok"
    for check in checks.values():
        assert check["status"] in ("ok", "note", "warn", "bad")
        assert check["value"]
        assert check["status"] == "ok" or check["name"] in ("processor's cryptography", "IPv6") or check["advice"]
    text = run("doctor").fine().out
    assert "naquid works here" in text
    for name in checks:
        assert name in text


def test_doctor_when_resources_are_short() -> None:
    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128));"
    script += "from naquid.cli.main import main; sys.exit(main(['doctor', '--json']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["open files"]["status"] == "warn"
    assert "ulimit -n" in found["open files"]["advice"]


# ---- certificates ----


def test_cert(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "certs"
    begin = datetime.now(UTC)
    arguments = [
        "--name",
        "game.test",
        "--name",
        "*.game.test",
        "--ip",
        "192.0.2.7",
        "--ip",
        "2001:db8::7",
        "--days",
        7,
    ]
    found = run("cert", "--out", folder, *arguments, "--json").fine().json
    assert found["names"] == ["game.test", "*.game.test", "192.0.2.7", "2001:db8::7"]
    leaf = x509.load_pem_x509_certificate(Path(found["cert"]).read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["game.test", "*.game.test"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "2001:db8::7"]
    assert abs(leaf.not_valid_after_utc - begin - timedelta(days=7)) < timedelta(minutes=5)
    ca = x509.load_pem_x509_certificate(Path(found["ca"]).read_bytes())
    leaf.verify_directly_issued_by(ca)
    for name in ("key.pem", "ca-key.pem"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


# ---- completion ----


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_everything(shell: str) -> None:
    script = run("completion", shell).fine().out
    for path, one in ALL:
        assert all(word in script for word in path)
        for option in one._option_string_actions:
            shown = option if shell != "fish" else f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            assert shown in script, option


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_parses(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    script = tmp_path / f"naquid.{shell}"
    script.write_text(run("completion", shell).fine().out)
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def completed_by_bash(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of these words."""
    line = " ".join(f"'{word}'" for word in words)
    code = f"source '{script}'; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _naquid; "
    code += "printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(["bash", "--norc", "-c", code], capture_output=True, text=True, check=True)
    assert not done.stderr
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_completion_in_bash(tmp_path: Path) -> None:
    script = tmp_path / "naquid.bash"
    script.write_text(run("completion", "bash").fine().out)
    assert {"serve", "send"} == completed_by_bash(script, "naquid", "se")
    assert {"rpc", "bulk", "handshake", "idle"} == completed_by_bash(script, "naquid", "bench", "")
    assert {"--window", "--workers"} == completed_by_bash(script, "naquid", "bench", "rpc", "--w")
    assert {"python", "asyncio", "capi", "batch", "native"} == completed_by_bash(
        script, "naquid", "bench", "rpc", "--mode", ""
    )
    assert {"bash", "zsh", "fish"} == completed_by_bash(script, "naquid", "completion", "")
    found = completed_by_bash(script, "naquid", "ping", "localhost", "8443", "--ca", str(tmp_path / "naq"))
    assert found == {str(script)}


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_completion_in_fish(tmp_path: Path) -> None:
    script = tmp_path / "naquid.fish"
    script.write_text(run("completion", "fish").fine().out)

    def offered(line: str) -> set[str]:
        code = f"source {script}; complete -C '{line}'"
        env = {**os.environ, "HOME": str(tmp_path)}
        done = subprocess.run(["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True, env=env)
        return {one.split("\t")[0] for one in done.stdout.splitlines()}

    assert {"serve", "send"} == offered("naquid se")
    assert {"rpc", "bulk", "handshake", "idle"} == offered("naquid bench ")
    assert {"python", "asyncio", "capi", "batch", "native"} == offered("naquid bench rpc --mode ")


# ---- terminals ----


def test_a_terminal_gets_colour_and_frames() -> None:
    code, written = on_terminal("doctor")
    assert code == 0
    assert "┃" in written


def test_without_rich_everything_is_plain(tmp_path: Path) -> None:
    script = "import sys; sys.modules['rich'] = None; import importlib.util as u; find = u.find_spec;"
    script += "u.find_spec = lambda name, *a: None if name == 'rich' else find(name, *a);"
    script += "from naquid.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for arguments in (["doctor"], ["bench", "rpc", "--connections", "2", "--requests", "20"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr


def test_a_terminal_of_an_old_encoding() -> None:
    done = run("bench", "rpc", "--connections", 1, "--requests", 50, "--window", 1, env={"PYTHONIOENCODING": "ascii"})
    assert done.fine().out.isascii()


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "naquid", "completion", "bash"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 1)
    assert not err


@pytest.mark.parametrize("advise", [False, True])
def test_only_a_server_repeats_what_doctor_says_of_the_machine(advise: bool) -> None:
    program = f"""
import logging
from naquid.cli.main import _log_plainly

_log_plainly(advise={advise})
logger = logging.getLogger("naquid")
logger.warning("the kernel clamps the socket's receive buffer; raise net.core.rmem_max")
logger.warning("insecure=True: not verified")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    said = done.stderr.splitlines()
    assert said[-1] == "naquid: insecure=True: not verified"
    assert [line.startswith("naquid: the kernel clamps") for line in said[:-1]] == [True] * advise
