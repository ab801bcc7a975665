"""No committed file names where a distribution or a package registry keeps its files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_import import ROOT, script

SCRIPT = ROOT / "scripts" / "check_hosts.py"


def host(*parts: str) -> str:
    """A name that does not stand in this file."""
    return ".".join(parts)


def test_no_committed_file_names_one() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone: which files are committed is not known")
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert not done.stdout


@pytest.mark.parametrize(
    "text",
    [
        f"https://{host('deb', 'debian', 'org')}/debian/pool/x.tar.gz",
        f'"resolved": "https://{host("registry", "npmjs", "org")}/a.tgz"',
        f"--index-url=http://user@{host('PyPI', 'org')}:443/simple",
        f"FROM {host('quay', 'io')}/pypa/x",
        f"{host('files', 'pythonhosted', 'org')}.",
    ],
)
def test_one_is_found_wherever_it_stands(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xff\x00\n" + text.encode() + b"\n")
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{path}:2: ")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["pip install naquid", "github.com/ngtcp2", "my" + host("pypi", "org"), "pypi", "debian"]
)
def test_other_words_are_no_hosts(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    assert script("check_hosts").named(tmp_path / "file") == []
