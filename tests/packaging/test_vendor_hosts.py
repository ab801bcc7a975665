"""No committed file names where a distribution or a package registry keeps its files."""

from __future__ import annotations

import os
import shutil
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


def test_without_git_all_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("check_hosts")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / ".github").mkdir()
    (tmp_path / ".github" / "x.yml").write_text(host("ghcr", "io"))
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "made").write_text(host("ghcr", "io"))
    assert [line for path in module.committed() for line in module.named(path)] == [
        f"{tmp_path}/.github/x.yml:1: {host('ghcr', 'io')}"
    ]


# ---- a machine whose apt is another's: a container of Debian fetches


def in_debian(tmp_path: Path, cached: bool) -> str:
    """What scripts/fetch_in_debian.sh tells docker, over a recipe that has the sources in its cache, or not."""
    tree, programs = tmp_path / "tree", tmp_path / "bin"
    (tree / "scripts").mkdir(parents=True)
    programs.mkdir()
    shutil.copytree(ROOT / "vendor" / "recipe", tree / "vendor" / "recipe")
    shutil.copy2(ROOT / "scripts" / "fetch_in_debian.sh", tree / "scripts")
    (tree / "vendor" / "build.py").write_text(f"raise SystemExit({0 if cached else 1})\n")
    (programs / "docker").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (programs / "docker").chmod(0o755)
    env = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "NAQUID_VENDOR_CACHE": f"{tmp_path}/cache",
    }
    env.pop("DOCKER", None)
    done = subprocess.run(
        [tree / "scripts" / "fetch_in_debian.sh"], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_container_fills_the_cache_of_this_machine(tmp_path: Path) -> None:
    told = in_debian(tmp_path, cached=False).split("\n")
    assert f"{tmp_path}/cache:/cache" in told
    assert f"{tmp_path}/tree/vendor:/vendor:ro" in told
    assert any("build.py --fetch --tls aws-lc" in word for word in told)
    assert f"OWNER={os.getuid()}:{os.getgid()}" in told, "what root makes in it is given back"


def test_what_is_there_needs_no_container(tmp_path: Path) -> None:
    assert in_debian(tmp_path, cached=True) == ""
