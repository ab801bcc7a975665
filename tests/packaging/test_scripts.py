"""The tools of maintenance: releasing, updating a vendored library, comparing builds, and what CI runs."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import tomllib
import types
from pathlib import Path

import pytest
from test_import import ROOT, script

import naquid

CHANGELOG = """# Changelog

## [Unreleased]

### Added
- A thing.

## [1.2.0] - 2026-01-31
### Fixed
- A bug.

## [1.1.0] - 2026-01-01
- Older.
"""


# ---- releasing


def test_notes_are_the_section_of_the_version() -> None:
    assert script("release_notes").notes("v1.2.0", "1.2.0", CHANGELOG) == "### Fixed\n- A bug."


@pytest.mark.parametrize(
    ("tag", "version", "words"),
    [("v1.2.0", "1.2.1", "says 1.2.1"), ("v1.3.0", "1.3.0", "no section"), ("1.2.0", "1.2.0", "the tag is 1.2.0")],
)
def test_a_release_that_does_not_agree_with_itself(tag: str, version: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        script("release_notes").notes(tag, version, CHANGELOG)


def test_the_version_has_one_source_and_is_semantic() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "naquid._version.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", naquid.__version__)
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


# ---- updating a vendored library

PINS = """# About it all.

# About the part.
[part]
version = "1.2.0"
sha256 = "{sha256}"
file = "part-1.2.0.tar.gz"
root = "part-1.2.0"
accept = ">=1.2.0,<2"
urls = ["http://nowhere.example/v1.2.0/part-1.2.0.tar.gz"] # not 11.2.0 or 1.2.01

# About the other, whose version is the same.
[other]
version = "1.2.0"
sha256 = "{sha256}"
file = "other-1.2.0.tar.gz"
root = "other"
urls = ["http://nowhere.example/other"]
"""


@pytest.fixture
def updater(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """scripts/update_vendor.py over a small tree."""
    module = script("update_vendor")
    (tmp_path / "pins.toml").write_text(PINS.format(sha256="0" * 64))
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "part.txt").write_text("The old terms.\n")
    monkeypatch.setattr(module, "PINS_FILE", tmp_path / "pins.toml")
    monkeypatch.setattr(module, "CHANGELOG", tmp_path / "CHANGELOG.md")
    monkeypatch.setattr(module, "LICENCES", tmp_path)
    monkeypatch.setattr(module, "TEXTS", {"part": ("COPYING", "part.txt")})
    read = module.load_pins
    monkeypatch.setattr(module, "load_pins", lambda: read(tmp_path / "pins.toml"))
    monkeypatch.setenv("NAQUID_VENDOR_CACHE", str(tmp_path / "cache"))
    return module


def archive(folder: Path, version: str) -> Path:
    top = folder / f"part-{version}"
    top.mkdir()
    (top / "COPYING").write_text("New terms.\n")
    path = folder / "made.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(top, top.name)
    return path


def test_a_new_version_changes_pin_checksum_licence_and_changelog(updater: types.ModuleType, tmp_path: Path) -> None:
    path = archive(tmp_path, "1.3.0")
    updater.update("part", "1.3.0", {}, path)
    pins = updater.load_pins()
    part, other = pins["part"], pins["other"]
    assert (part.version, part.file, part.root) == ("1.3.0", "part-1.3.0.tar.gz", "part-1.3.0")
    assert part.urls == ("http://nowhere.example/v1.3.0/part-1.3.0.tar.gz",)
    assert part.accept == ">=1.2.0,<2", "what a distribution may offer instead is a matter of judgement"
    text = (tmp_path / "pins.toml").read_text()
    assert "not 11.2.0 or 1.2.01" in text, "other numbers stay"
    assert (other.version, other.file) == ("1.2.0", "other-1.2.0.tar.gz"), "other entries stay"
    assert part.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (tmp_path / "part.txt").read_text() == "New terms.\n"
    assert "### Changed\n- part 1.3.0 (was 1.2.0).\n\n## [1.2.0]" in (tmp_path / "CHANGELOG.md").read_text()
    assert (tmp_path / "cache" / "downloads" / "part-1.3.0.tar.gz").read_bytes() == path.read_bytes()


def test_an_update_that_fails_changes_nothing(updater: types.ModuleType, tmp_path: Path) -> None:
    with pytest.raises(updater.VendorError, match="No place has"):
        updater.update("part", "1.3.0", {}, None)
    assert (tmp_path / "pins.toml").read_text() == PINS.format(sha256="0" * 64)
    assert (tmp_path / "CHANGELOG.md").read_text() == CHANGELOG
    with pytest.raises(updater.VendorError, match="no entry"):
        updater.update("nothing", "1", {}, None)


# ---- comparing builds


def test_the_comparison_is_of_each_round_with_itself() -> None:
    shown = script("compare_builds").table({"rpc": ([100.0, 200.0, 300.0], [110.0, 180.0, 330.0])}, 3)
    assert "| rpc | 200 requests/s | 180 requests/s | 1.100 (0.90 to 1.10) |" in shown


# ---- debugging


def test_gdb_sees_into_a_loop() -> None:
    """The helper reads the engine's structures by the names of their fields."""
    shift = re.search(r"^SHIFT = (\d+)", (ROOT / "scripts" / "gdb_naquid.py").read_text(), re.MULTILINE)
    assert shift is not None
    assert f"#define NQ_TABLE_SHIFT {shift[1]} " in (ROOT / "src_cython" / "engine" / "base" / "table.h").read_text()
    program = ROOT / "build" / "engine-none" / "test_rpc"
    gdb = shutil.which("gdb")
    if gdb is None or not program.is_file():
        pytest.skip("needs gdb, and what `make engine-test` builds")
    commands = [
        "set debuginfod enabled off",
        "break nq_loop_flush if l->hub.conns.live == 1 && l->hub.streams.live == 1",
    ]
    commands += ["run", "nq-loop l", "nq-conns l", "nq-streams l", "nq-get l->hub.conns 0x100000000"]
    commands += ["nq-get l->hub.conns 0x300000000", "kill"]
    argv = [gdb, "-nx", "-batch", "-x", str(ROOT / "scripts" / "gdb_naquid.py")]
    argv += [word for command in commands for word in ("-ex", command)]
    shown = subprocess.run([*argv, str(program)], capture_output=True, text=True, timeout=100)
    if "Python scripting is not supported" in shown.stderr or "ptrace" in shown.stderr:
        pytest.skip("this gdb has no Python, or may not debug here")
    assert "Python Exception" not in shown.stderr, shown.stderr
    assert re.search(r"^conns +1$", shown.stdout, re.MULTILINE), shown.stdout + shown.stderr
    assert re.search(r"^streams +1$", shown.stdout, re.MULTILINE)
    connection = re.search(r"^ +0#1 (0x\w+) state \d, 1 streams, \d+ bytes queued, client", shown.stdout, re.MULTILINE)
    assert connection is not None, shown.stdout + shown.stderr
    assert re.search(r"^ +0#1 0x\w+ id -?\d+, \S+, of connection 0#1", shown.stdout, re.MULTILINE)
    assert re.search(rf"^{connection[1]}$", shown.stdout, re.MULTILINE)
    assert "stale or never given" in shown.stdout


# ---- what CI runs


def test_actions_are_pinned_by_hash_and_rights_are_stated() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()
        assert re.search(r"^permissions:", text, re.MULTILINE), path.name
        for used in re.findall(r"uses: (\S+)(.*)", text):
            assert used[0].startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used[0]), (path.name, used)
            assert used[0].startswith("./") or re.fullmatch(r" # v\d[\d.]*", used[1]), (path.name, used)


def test_pre_commit_runs_the_linters_of_make_lint() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    lint = re.search(r"^lint:.*?\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    assert lint is not None
    checks = {name.strip("'") for name in re.findall(r"check ('[^']+'|[\w-]+) ", lint[0])}
    named = set(re.findall(r"name: (.+)", hooks))
    assert {"ruff" if name == "ruff check" else name for name in named} == checks


def test_actionlint_sees_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text("on: push\njobs: {a: {runs-on: ubuntu-24.04, steps: [{run: echo, usess: x}]}}\n")
    done = subprocess.run([ROOT / "scripts" / "actionlint.sh", path], capture_output=True, text=True, timeout=100)
    if "skipped" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 1
    assert 'unexpected key "usess"' in done.stdout


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "ARCHITECTURE.md",
                                  "THIRD-PARTY-NOTICES.md", "vendor/README.md"])  # fmt: skip
def test_links_within_the_repository_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target
