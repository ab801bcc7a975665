"""What is written beside the code and must fit it: the extension's stub, types of the API, the table of limits."""

from __future__ import annotations

import enum
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import naquid
from naquid import _naquid

ROOT = Path(__file__).resolve().parents[2]


def test_the_stub_fits_the_extension() -> None:
    pytest.importorskip("mypy")
    allowed = ROOT / "scripts" / "stubtest_allowed.txt"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy.stubtest", "naquid._naquid", "--concise"),
            *("--ignore-unused-allowlist", "--allowlist", str(allowed)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_made_from_limits_is_current() -> None:
    """naquid/config.py and docs/limits.md are what scripts/gen_limits.py makes of the engine's limit.h."""
    script = ROOT / "scripts" / "gen_limits.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_limit_is_in_both_tables() -> None:
    engine = [row[0] for row in naquid.limits_table()]
    assert [name for name in naquid.Limits.__dataclass_fields__ if name in engine] == engine


PUBLIC = [
    naquid.Connection,
    naquid.Endpoint,
    naquid.Handlers,
    naquid.RawStream,
    naquid.Rpc,
    naquid.Server,
    naquid.Stream,
    naquid.StreamReader,
    naquid.StreamWriter,
]


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_everything_public_says_what_it_does(cls: type) -> None:
    missing = []
    for name, member in inspect.getmembers(cls):
        told = callable(member) or isinstance(member, property)
        if not name.startswith("_") and told and not inspect.getdoc(member):
            missing.append(name)
    assert missing == []


def test_the_names_of_the_module() -> None:
    assert sorted(set(naquid.__all__)) == sorted(naquid.__all__)
    for name in naquid.__all__:
        assert hasattr(naquid, name)
        assert inspect.getdoc(getattr(naquid, name)), name
    assert _naquid.Loop.__doc__


PROGRAM = """
import naquid

app = naquid.Handlers()

@app.rpc("good")
async def good(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes | None:
    return payload

@app.rpc("bad")
def bad(rpc: naquid.Rpc, payload: bytes) -> bytes:  # E
    return payload

@app.stream("bad")
async def records(stream: naquid.RawStream) -> None:  # E
    pass

@app.on_disconnect
def gone(conn: naquid.Connection, error: Exception | None) -> None:
    pass

async def main() -> None:
    async with naquid.connect("host", 1, config=naquid.ClientConfig(reconnect=naquid.Backoff())) as conn:
        rpc = await conn.open_rpc("good")
        reply: bytes = await rpc.call(1)
        number: int = await rpc.call(1)  # E
        replies: list[bytes] = await rpc.call_many(1, [b"a", b"b"])
        numbers: list[int] = await rpc.call_many(1, [b"a", b"b"])  # E
        outcomes: list[bytes | naquid.RpcError | naquid.CallTimeout]
        outcomes = await rpc.call_many(1, [b"a", b"b"], return_exceptions=True)
        replies = await rpc.call_many(1, [b"a", b"b"], return_exceptions=True)  # E
        state: naquid.ConnectionState
        async for state in conn.states():
            pass
        record: bytes | None = await (await conn.open_stream("x")).recv()
        conn.send_datagram("text")  # E
    reader, writer = await naquid.open_connection("host", 1)
    line: bytes = await reader.readline()
    async with naquid.Endpoint(app=app) as endpoint, endpoint.connect("host", 1) as peer:
        rtt: float = await peer.ping()
        calls: int = endpoint.stats()["rx_calls"]
        endpoint.stats()["no such"]  # E
"""


def test_types_of_programs(tmp_path: Path) -> None:
    """What a checker says of a program: its mistakes, and nothing else."""
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--hide-error-context"),
            *("--cache-dir", str(tmp_path / "cache"), str(program)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    expected = {n for n, line in enumerate(PROGRAM.splitlines(), 1) if "# E" in line}
    # A decorator's error is told at the decorator, the line before.
    told = {n if n in expected else n + 1 for n in found}
    assert told == expected, done.stdout + done.stderr


TYPED = """
from typing import assert_type

import naquid

app = naquid.Handlers()


@app.on_error
def failed(error: Exception, info: naquid.ErrorInfo) -> None:
    assert_type(info.conn, naquid.Connection)
    assert_type(info.type, int | None)
    if isinstance(error, naquid.ConnectionError):
        assert_type(error.code, int | None)
        assert_type(error.reason, str)
        assert_type(error.remote, bool)
    if isinstance(error, naquid.HandshakeFailed):
        assert_type(error.alert, int | None)
        assert_type(error.code, int | None)
    if isinstance(error, naquid.StreamReset):
        assert_type(error.code, int)
    if isinstance(error, naquid.StreamRefused):
        assert_type(error.code, int)
        assert_type(error.name, str | None)
    if isinstance(error, naquid.RpcError):
        assert_type(error.code, int)
        assert_type(error.payload, bytes)


@app.on_handshake_failed
async def refused(address: tuple[str, int], error: naquid.HandshakeFailed) -> None:
    assert_type(error.code == naquid.Code.SHUTDOWN, bool)


@app.rpc("echo")
def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    rpc.data = 1
    rpc.connection.data = {"any": "object"}
    return payload


async def main(conn: naquid.Connection) -> None:
    assert_type(await conn.migrate(), None)
    stats = conn.loop_stats()
    assert_type(stats["handshakes_failed_tls"], int)
    server = await naquid.serve(app, cert="cert.pem", key="key.pem", sock=3)
    assert_type(server.port, int)


naquid.run(app, "::", 8443, cert="cert.pem", key="key.pem", config=naquid.ServerConfig(), grace=1.0)
more = naquid.Handlers()
app.include(more)
raise naquid.RpcError(b"no", code=-8)
"""
WRONG = """
import naquid

error = naquid.StreamReset("text")
also = naquid.ConnectionLost("gone", code="3")
naquid.Handlers().include({})
"""


def checked(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "program.py"
    file.write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_programs_see_the_types(tmp_path: Path) -> None:
    """What `mypy --strict` says of a program that uses the errors and the rest: nothing, where it is right."""
    pytest.importorskip("mypy")
    done = checked(TYPED, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    done = checked(WRONG, tmp_path)
    assert [line.split(": ")[0].rpartition(":")[2] for line in done.stdout.splitlines()] == ["4", "5", "6"]


class Number(enum.IntEnum):
    """A program's own codes."""

    BUSY = 77
    REFUSED = -9


def test_codes_are_plain_numbers() -> None:
    for error in (
        naquid.StreamReset(Number.BUSY),
        naquid.ConnectionLost("gone", code=Number.BUSY),
        naquid.HandshakeFailed("no", code=Number.BUSY),
        naquid.ConnectionReset("gone", code=Number.BUSY),
    ):
        assert type(error.code) is int
        assert error.code == 77
    assert type(naquid.RpcError(b"", Number.REFUSED).code) is int
    assert type(naquid.StreamRefused("x").code) is int
    assert naquid.ConnectionLost("gone").code is None
    makers: list[Any] = [naquid.StreamReset, lambda code: naquid.ConnectionLost("gone", code=code)]
    for make in (*makers, lambda code: naquid.RpcError(b"", code)):
        for wrong in ("3", 3.0, True):
            with pytest.raises(TypeError, match=r"is an int, not (str|float|bool)"):
                make(wrong)


def test_the_codes_of_naquid_are_those_of_the_wire() -> None:
    page = (ROOT / "docs" / "wire.md").read_text()
    rows = dict(re.findall(r"^\| (\d) \| (.+?) \|$", page, re.MULTILINE))
    assert [str(int(code)) for code in naquid.Code] == sorted(rows)
    known = {name.removeprefix("CODE_"): getattr(_naquid, name) for name in dir(_naquid) if name.startswith("CODE_")}
    assert known.items() <= {code.name: code.value for code in naquid.Code}.items()
