"""What is written beside the code and must fit it: the extension's stub, types of the API, the table of limits."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

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
