"""What ngtcp2 is patched by, and what is added to it: each patch fits each version that `accept` allows.

The sources are upstream's own. A version that cannot be had on this machine is skipped by name, with the reason.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
from test_import import script

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "vendor"))

from recipe import debian, fetch, ngtcp2, patch, tools, versions  # noqa: E402
from recipe.cache import cache_dir  # noqa: E402
from recipe.pins import Pin, accepts, load_pins  # noqa: E402
from recipe.report import PlaceError, VendorError  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the build refuses Windows")

PIN = load_pins()["ngtcp2"]
TRIED = PIN.tried["versions"]
PATCHES = ROOT / "vendor" / "ngtcp2" / "patches"

# ---- patch files

PATCH = """\
Subject: what it does

Why, and by which RFC.

--- a/lib/a.c
+++ b/lib/a.c
@@ -7,4 +7,5 @@ int f(void) {
 one
-two
+deux
+et demi

 three
"""


def test_a_patch_is_applied_wherever_its_lines_are(tmp_path: Path) -> None:
    (tmp_path / "0001-x.patch").write_text(PATCH)
    (tmp_path / "lib").mkdir()
    source = tmp_path / "lib" / "a.c"
    source.write_text("one\ntwo\n\nthree\nlast\n")
    patches = patch.series(tmp_path)
    assert [(item.name, item.why) for item in patches] == [("0001-x.patch", "what it does")]
    patch.apply(tmp_path, patches)
    assert source.read_text() == "one\ndeux\net demi\n\nthree\nlast\n"


@pytest.mark.parametrize("text", ["", "one\ntwo\n\nother\n", "zone\ntwo\n\nthree\n", 2 * "one\ntwo\n\nthree\n"])
def test_a_source_that_a_patch_does_not_fit_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "0001-x.patch").write_text(PATCH)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.c").write_text(text)
    with pytest.raises(VendorError, match=r"0001-x.patch fits lib/a.c .* (0|2) times, .*upstream"):
        patch.apply(tmp_path, patch.series(tmp_path))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (PATCH.replace("Subject: ", ""), "Subject"),
        (PATCH[: PATCH.index("@@")], "no change"),
        (PATCH.replace("-7,4 +7,5", "-7,5 +7,5"), "does not fit its hunk"),
        (PATCH.replace("-7,4 +7,5", "7,4"), "no hunk"),
    ],
)
def test_a_broken_patch_is_named(tmp_path: Path, broken: str, words: str) -> None:
    (tmp_path / "0001-x.patch").write_text(broken)
    with pytest.raises(VendorError, match=f"0001-x.patch.*{words}"):
        patch.series(tmp_path)


# ---- ours


def test_every_patch_of_ours_is_a_report() -> None:
    """What it does, why and by which RFC, for which versions, and the test that shows it, which is there."""
    assert ngtcp2.PATCHES
    for item in ngtcp2.PATCHES:
        text = (PATCHES / item.name).read_text()
        header = text[: text.index("\n--- ")]
        assert re.search(r"RFC \d{4}", item.why), item.name
        for word in (r"\nFor versions \d", r"\nReport for upstream", r"RFC \d{4}"):
            assert re.search(word, header), (item.name, word)
        shown = re.search(r"\nShown by: (.*?)\n\n", header, re.DOTALL)
        assert shown, item.name
        files = [ROOT / name for name in re.findall(r"tests/[\w/]+\.\w+", shown[1])]
        assert files, item.name
        tests = re.findall(r"\b(test_\w+)\b(?!\.)", re.sub(r"tests/[\w/]+\.\w+", "", shown[1]))
        for test in tests:
            assert any(re.search(rf"\b{test}\(", path.read_text()) for path in files), (item.name, test)


def test_public_headers_are_as_upstream_ships_them() -> None:
    """A member of a versioned struct would be where the next version has one of its own."""
    touched = {hunk.file for item in ngtcp2.PATCHES for hunk in item.hunks}
    assert touched
    assert not [file for file in touched if "includes" in Path(file).parts]


@pytest.mark.parametrize("times", [0, 2])
@pytest.mark.parametrize(
    ("item", "at"),
    [(item, at) for item in ngtcp2.PATCHES for at in range(len(item.hunks))],
    ids=lambda value: value.name[:4] if isinstance(value, patch.Patch) else str(value),
)
def test_each_hunk_of_ours_must_fit_once(tmp_path: Path, item: patch.Patch, at: int, times: int) -> None:
    """0: upstream has changed that place. 2: it is not known which one is meant."""
    for file in {hunk.file for hunk in item.hunks}:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        hunks = [(hunk.old, times if index == at else 1) for index, hunk in enumerate(item.hunks) if hunk.file == file]
        path.write_text("".join(old * n for old, n in hunks))
    with pytest.raises(VendorError, match=rf"{item.name} fits {item.hunks[at].file} .* {times} times, not once"):
        patch.apply(tmp_path, (item,))


def test_what_is_patched_and_added_is_part_of_the_key() -> None:
    for item in ngtcp2.PATCHES:
        assert repr(item) in ngtcp2.RECIPE
        assert item.why in ngtcp2.patched()
    for path in ngtcp2.EXT:
        assert fetch.sha256_of(path) in ngtcp2.RECIPE


# ---- the versions


def test_accept_says_what_was_tried() -> None:
    again = "run scripts/update_vendor.py ngtcp2 --try"
    assert PIN.tried["series"] == patch.digest(ngtcp2.PATCHES), f"a patch has changed since: {again}"
    assert versions.in_order(set(TRIED)) == TRIED
    assert PIN.version in TRIED, again
    assert PIN.accept == versions.spec_of(TRIED), again
    assert all(accepts(PIN.accept, version) for version in TRIED)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> versions.Versions:
    return versions.Versions(PIN, cache_dir(), debian.Apt(tmp_path_factory.mktemp("apt")))


def check(archive: fetch.Archive, work: Path) -> None:
    """Applies the series to the version, and compiles what it changes and what is added."""
    root = fetch.unpack(archive, work)
    ngtcp2.prepare(root)
    (work / "config.h").write_text(ngtcp2.config_h())
    compiler = tools.find_compiler()
    folders = ngtcp2.folders(root, work, work)
    flags = [*ngtcp2.flags("debug", compiler), "-fsyntax-only"]
    touched = sorted({hunk.file for item in ngtcp2.PATCHES for hunk in item.hunks if hunk.file.endswith(".c")})
    for file in touched:
        tools.run([*compiler.argv, *flags, *(f"-I{path}" for path in folders), str(root / file)], f"compiling {file}")
    ours = [*ngtcp2.ext_flags(flags), "-Werror", *(f"-isystem{path}" for path in folders)]
    tools.run([*compiler.argv, *ours, str(root / "ext" / "ngtcp2_ext.c")], "compiling ngtcp2_ext.c")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", TRIED)
def test_the_series_fits(there: versions.Versions, tmp_path: Path, version: str) -> None:
    try:
        archive = there.get(version)
    except PlaceError as error:
        pytest.skip(f"ngtcp2 {version} cannot be had here ({error})")
    assert archive.version == version
    check(archive, tmp_path)


@pytest.mark.timeout(900)
def test_the_series_fits_what_debian_has(there: versions.Versions, tmp_path: Path) -> None:
    """Any of these may take the place of the pinned one, also one that came out after the list was written."""
    try:
        offered = versions.in_order(set(there.offers()))
    except PlaceError as error:
        pytest.skip(f"which versions of ngtcp2 Debian has is not known here ({error})")
    for version in offered:
        check(there.get(version), tmp_path / version)


def test_a_version_that_cannot_be_had_is_named_with_every_reason(tmp_path: Path) -> None:
    class NoApt(debian.Apt):
        def offers(self, pin: Pin) -> list[tuple[str, str]]:
            raise PlaceError("no apt here")

    pin = replace(PIN, urls=(f"file://{tmp_path}/v{PIN.version}/{PIN.file}",))
    places = versions.Versions(pin, tmp_path, NoApt(tmp_path), env={})
    with pytest.raises(PlaceError, match=r"v9\.8\.7/ngtcp2-9\.8\.7\.tar\.xz: .*; Debian: no apt here"):
        places.get("9.8.7")
    with pytest.raises(PlaceError, match="NAQUID_VENDOR_OFFLINE"):
        versions.Versions(pin, tmp_path, NoApt(tmp_path), env={"NAQUID_VENDOR_OFFLINE": "1"}).get("9.8.7")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with two releases of a library."""
    path = tmp_path / "clone"
    (path / "lib" / "includes").mkdir(parents=True)
    (path / "lib" / "includes" / "version.h.in").write_text("@PACKAGE_VERSION@ @PACKAGE_VERSION_NUM@\n")
    env = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "one"], ["tag", "v1.2.3"], ["tag", "v1.10.0"],
                  ["tag", "v2.0.0-rc1"]):  # fmt: skip
        subprocess.run(["git", *words], cwd=path, env=env, check=True)
    return path


class Offers(debian.Apt):
    """Debian with what it is told."""

    def offers(self, pin: Pin) -> list[tuple[str, str]]:
        return [("sid", "1.10.0-1"), ("forky", "1.10.0-2"), ("trixie", "1.1.0-1")]


def test_releases_come_from_a_clone(tmp_path: Path, clone: Path) -> None:
    pin = Pin("part", "1.2.0", "0" * 64, "part-1.2.0.tar.xz", "part-1.2.0", accept=">=1.2,<2")
    places = versions.Versions(pin, tmp_path / "cache", Offers(tmp_path), clone, env={})
    assert places.tags() == {"1.2.3", "1.10.0"}
    assert places.offers() == {"1.10.0": ("sid", "1.10.0-1")}, "of what is accepted, from the first suite that has it"
    got = places.get("1.2.3")
    text = (fetch.unpack(got, tmp_path / "src") / "lib" / "includes" / "version.h").read_text()
    assert text == "1.2.3 0x010203\n"
    assert got.root == "part-1.2.3"
    with pytest.raises(PlaceError, match="not in its suites"):
        places.get("1.3.0")


# ---- updating


@pytest.fixture
def updater(tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """scripts/update_vendor.py over pins of its own; what passes is said by the test."""
    module = script("update_vendor")
    file = tmp_path / "pins.toml"
    file.write_text(
        '[part]\nversion = "1.2.3"\nsha256 = ""\nfile = "part-1.2.3.tar.xz"\nroot = "part-1.2.3"\n'
        'accept = ">=1.1,<1.3" # why\ntried = { series = "old", versions = ["1.1.0", "1.2.3"] }\n'
    )
    monkeypatch.setattr(module, "PINS_FILE", file)
    read = module.load_pins
    monkeypatch.setattr(module, "load_pins", lambda: read(file))
    monkeypatch.setattr(module, "SERIES", {"part": ngtcp2.PATCHES})
    monkeypatch.setattr(module, "Apt", Offers)
    monkeypatch.setattr(module.versions.Versions, "get", lambda self, version: types.SimpleNamespace(version=version))
    return module


def test_what_passed_is_written_down(updater: types.ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def passes(archive: types.SimpleNamespace, pin: Pin) -> bool:
        asked.append(archive.version)
        return True

    monkeypatch.setattr(updater, "passes", passes)
    updater.try_versions("part", clone)
    assert asked == ["1.1.0", "1.2.3", "1.10.0"], "tried before, pinned, tagged; the oldest first"
    pin = updater.load_pins()["part"]
    assert pin.tried == {"series": patch.digest(ngtcp2.PATCHES), "versions": asked}
    assert pin.accept == ">=1.1.0,<1.11"
    assert " # why\n" in updater.PINS_FILE.read_text()


@pytest.mark.parametrize(
    ("failing", "passed"), [("1.1.0", ["1.2.3", "1.10.0"]), ("1.10.0", ["1.1.0", "1.2.3"]), ("1.2.3", None)]
)
def test_what_does_not_pass_is_not_accepted(
    updater: types.ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch, failing: str, passed: list[str] | None
) -> None:
    monkeypatch.setattr(updater, "passes", lambda archive, pin: archive.version != failing)
    before = updater.PINS_FILE.read_text()
    if passed is None:
        with pytest.raises(updater.VendorError, match="the pinned version, does not pass"):
            updater.try_versions("part", clone)
        assert updater.PINS_FILE.read_text() == before
    else:
        updater.try_versions("part", clone)
        assert updater.load_pins()["part"].tried["versions"] == passed


def test_a_library_without_patches_is_not_tried(updater: types.ModuleType) -> None:
    with pytest.raises(updater.VendorError, match="nothing has no patches"):
        updater.try_versions("nothing", None)
