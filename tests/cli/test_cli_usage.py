"""How commands take their arguments and use the terminal: options anywhere, closed or full streams, narrow screens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from cli_command import ALL, COMMAND, Certs, Done, Running, on_terminal, run

from naquid.cli.arguments import Parser
from naquid.cli.main import parser


@pytest.mark.parametrize(
    ("arguments", "reply"),
    [
        (["HOST", "PORT", "rpc", "1", "hello", "--ca", "CA"], "hello"),
        (["HOST", "PORT", "rpc", "1", "--ca", "CA", "hello"], "hello"),
        (["--ca", "CA", "HOST", "--timeout", "30", "PORT", "rpc", "--output", "hex", "1", "hello"], "68656c6c6f"),
        (["HOST", "PORT", "rpc", "1", "--ca=CA", "--", "-5"], "-5"),
        (["HOST", "PORT", "rpc", "1", "-5", "--ca", "CA"], "-5"),
        (["HOST", "PORT", "rpc", "1", "--ca", "CA", "--", "--ca"], "--ca"),
        (["--ca", "CA", "--", "HOST", "PORT", "rpc", "1", "--json"], "--json"),
        (["HOST", "PORT", "rpc", "1", "--ca", "CA"], ""),
        (["HOST", "PORT", "rpc", "1", "--time", "30", "0a0b", "--hex", "--ca", "CA", "--output", "hex"], "0a0b"),
    ],
    ids=" ".join,
)
def test_options_stand_anywhere(echo: Running, certs: Certs, arguments: list[str], reply: str) -> None:
    names = {"HOST": "localhost", "PORT": str(echo.port), "CA": str(certs.ca), "--ca=CA": f"--ca={certs.ca}"}
    assert run("call", *(names.get(each, each) for each in arguments)).fine().out == f"{reply}\n"


def test_options_in_every_order_of_every_command() -> None:
    """What is parsed does not depend on where the options stand."""
    examples = {
        "call": (["h", "1", "n", "2", "payload"], [["--json"], ["--timeout", "3"], ["--ca", "x"]]),
        "ping": (["h", "1"], [["-qc", "5"], ["-i0.5"], ["--json"]]),
        "send": (["h", "1", "file"], [["--name", "x"], ["--json"]]),
        "serve": (["a:b"], [["--cert", "c"], ["--key", "k"], ["--json"]]),
    }
    for command, (positionals, options) in examples.items():
        expected = parser().parse_args([command, *positionals, *(each for group in options for each in group)])
        for shift in range(len(positionals) + 1):
            mixed: list[str] = []
            for at in range(max(len(positionals), len(options))):
                mixed += positionals[at : at + 1] + [each for group in options[at : at + 1] for each in group]
            given = [each for group in options for each in group]
            placed = [*positionals[:shift], *given, *positionals[shift:]]
            for order in (mixed, placed):
                assert vars(parser().parse_args([command, *order])) == vars(expected)


@pytest.mark.parametrize(
    "arguments", [["--json", "versions"], ["versions", "--json"], ["bench", "--json", "rpc", "--requests", "0"]]
)
def test_options_before_the_command(arguments: list[str]) -> None:
    done = run(*arguments)
    assert "unrecognized" not in done.err
    assert json.loads(done.out)


def test_positionals_after_options_that_take_no_value() -> None:
    one = Parser(prog="x")
    one.add_argument("-v", action="store_true")
    one.add_argument("-n", type=int)
    one.add_argument("--long", action="store_true")
    one.add_argument("first")
    one.add_argument("second", nargs="?", default="none")
    for given in (["-v", "a", "b"], ["a", "-v", "b"], ["a", "--lo", "b"], ["a", "-vn7", "b"], ["a", "-vn", "7", "b"]):
        found = one.parse_args(given)
        assert (found.first, found.second) == ("a", "b"), given
        assert found.n in (None, 7)


# ---- standard streams ----


def with_streams(arguments: list[str], shell: str, data: bytes = b"") -> Done:
    """Runs it with the shell's redirections."""
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", *COMMAND, *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode(), done.stdout)


LEAVES = [list(path) for path, one in ALL if path and path != ("bench",)]
QUICK: list[list[str]] = [["versions"], ["versions", "--json"], ["--help"], ["--version"], ["completion", "bash"]]


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "<&- >&-"])
def test_closed_streams(arguments: list[str], streams: str) -> None:
    done = with_streams(arguments, streams)
    assert done.code == 0, done.err
    assert not done.err
    assert bool(done.out) == (">&-" not in streams.replace("2>&-", ""))


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_wrong_usage_where_nobody_can_read_it(path: list[str]) -> None:
    for streams in ("2>&-", "<&- >&- 2>&-", "2>/dev/full"):
        done = with_streams([*path, "--nonsense"], streams)
        assert (done.code, done.out, done.err) == (2, "", "")


@pytest.mark.parametrize("arguments", [["versions"], ["versions", "--json"], ["doctor", "--json"]], ids=" ".join)
def test_a_full_disk_is_said_in_a_sentence(arguments: list[str]) -> None:
    done = with_streams(arguments, ">/dev/full")
    assert done.code == 1
    assert "No space left" in done.err
    assert len(done.err.splitlines()) == 1


def test_closed_standard_input_is_no_empty_one(echo: Running, certs: Certs) -> None:
    for arguments in (
        ["call", "localhost", str(echo.port), "rpc", "1", "-", "--ca", str(certs.ca)],
        ["send", "localhost", str(echo.port), "-", "--name", "x", "--ca", str(certs.ca)],
    ):
        with_streams(arguments, "<&-").failed("standard input is closed")


def test_a_server_without_streams(certs: Certs) -> None:
    """As a daemon: it serves, and nothing that it opens stands in for the streams."""
    script = (
        "import os, sys; [os.close(n) for n in (0, 1, 2)];"
        "import naquid.cli.main as m; import naquid.cli.serve as s;"
        "s._announce = lambda o, h, p: open(sys.argv[1], 'w').write(str(p));"
        "sys.exit(m.main(sys.argv[2:]))"
    )
    note = certs.folder / "port"
    note.unlink(missing_ok=True)
    os.mkfifo(note)
    process = subprocess.Popen([sys.executable, "-c", script, str(note), "serve", *map(str, certs.server)])
    try:
        port = int(note.read_text())
        assert run("call", "localhost", port, "rpc", 1, "x", "--ca", certs.ca).fine().out == "x\n"
    finally:
        process.terminate()
        assert process.wait(60) == 0
        note.unlink()


# ---- --json ----


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["call", "127.0.0.1", "1", "rpc", "1", "--connect-timeout", "0.2"], 1),
        (["ping", "127.0.0.1", "1", "--connect-timeout", "0.2"], 1),
        (["send", "127.0.0.1", "1", "/nowhere/file"], 1),
        (["recv", "--cert", "/nowhere", "--key", "/nowhere"], 1),
        (["serve", "--cert", "/nowhere", "--key", "/nowhere"], 1),
        (["serve", "no.module:app", "--cert", "x", "--key", "y"], 1),
        (["cert", "--out", "/dev/null"], 1),
        (["cert", "--days", "0"], 2),
        (["send", "127.0.0.1", "1", "-"], 2),
        (["ping"], 2),
        (["nonsense"], 2),
        (["versions", "--nonsense"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_failures_are_objects_too(arguments: list[str], code: int) -> None:
    done = run(*arguments, "--json")
    assert done.code == code
    found = done.json
    assert found["exit_code"] == code
    assert found["error"]
    assert found["error"] in done.err
    assert "Traceback" not in done.err


# ---- narrow terminals ----


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=lambda path: " ".join(path) or "naquid")
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_help_is_wrapped_at_words(path: tuple[str, ...], columns: int) -> None:
    done = run(*path, "--help", env={"COLUMNS": str(columns)}).fine()
    assert max(map(len, done.out.splitlines())) <= columns
    wide = run(*path, "--help", env={"COLUMNS": "200"}).fine()

    def words(text: str) -> list[str]:
        return text[text.index("\n\n") :].replace(" \\\n", "\n").split()

    assert words(done.out) == words(wide.out), "no word was cut"


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor"],
        ["versions"],
        ["cert", "--out", "/dev/null/a-folder-that/cannot-be/because-its-parent-is/no-folder"],
        ["call", "nosuch.invalid", "1", "rpc", "1"],
        ["ping", "localhost", "70000"],
        ["demo", "--connections", "2", "--requests", "10"],
    ],
    ids=" ".join,
)
def test_sixty_columns(arguments: list[str]) -> None:
    """Lines are wrapped where words end; only a word that is longer, such as a hash, goes over the edge."""
    _, text = on_terminal(*arguments, columns=60)
    plain = strip(text)
    for line in plain.splitlines():
        assert len(line.rstrip()) <= 60 or len(max(line.split(), key=len)) > 50, line


def strip(text: str) -> str:
    """Without control characters; what moves the cursor begins a line."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", re.sub(r"\x1b\[[0-9]*[AGKJ]|\r", "\n", text))
