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


def test_the_table_of_limits_is_current() -> None:
    script = ROOT / "scripts" / "gen_limits_docs.py"
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
