#!/usr/bin/env python3
"""Moves a native library to another version: pin, checksum, licence notice, rebuild, tests, changelog.

    scripts/update_vendor.py ngtcp2 1.25.0
    scripts/update_vendor.py aws-lc 5.2.0 --replace 0.42.0=0.43.0 [--from FILE]
    scripts/update_vendor.py ngtcp2 --try [--git CLONE]

The old version is replaced wherever the entry of vendor/pins.toml names it; --replace does the same for other words of
the entry (AWS-LC's archive has a version of its own). The archive comes from the entry's places, or from --from. Its
SHA-256 is shown: compare it with what upstream announces before you commit. When a licence text changed, the new one is
put into vendor/licenses/ and named; THIRD-PARTY-NOTICES.md may then need a look. Nothing is committed.

Of a library with patches every version that can be had is tried: the pinned one, those that were tried before, those
that Debian has of what is accepted, and the releases in a clone of upstream's git repository, if one is named. One
passes when each patch fits it and the engine's tests in C pass with it; `tried` and `accept` of the entry are then
written from those that did. --try does only this: after a change of a patch, or to widen `accept`.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "vendor"))

from recipe import fetch, ngtcp2, patch, prefix, registry, versions  # noqa: E402
from recipe.cache import cache_dir  # noqa: E402
from recipe.debian import Apt  # noqa: E402
from recipe.pins import PINS_FILE, Pin, load_pins, version_key  # noqa: E402
from recipe.report import PlaceError, VendorError, say  # noqa: E402

CHANGELOG = ROOT / "CHANGELOG.md"
LICENCES = ROOT / "vendor" / "licenses"
# The text in an archive's root, and its copy here.
TEXTS = {
    "ngtcp2": ("COPYING", "ngtcp2.txt"),
    "aws-lc": ("LICENSE", "aws-lc.txt"),
    "c-ares": ("LICENSE.md", "c-ares.txt"),
}
# Libraries with patches, and those.
SERIES = {"ngtcp2": ngtcp2.PATCHES}
TESTS = ("build", "engine-test", "asan", "tsan", "test-python", "test-packaging")


def section(pins: str, name: str) -> tuple[int, int]:
    """Where the entry of a library is in the text of pins.toml."""
    found = re.search(rf"^\[{re.escape(name)}\]\n(?:(?!\[|#.*\n\[).*\n?)*", pins, re.MULTILINE)
    if found is None:
        raise VendorError(f"vendor/pins.toml has no entry [{name}]: name one that it has.")
    return found.span()


def edited(pins: str, name: str, words: dict[str, str]) -> str:
    """pins.toml with words replaced in one entry, whole words only; not in `accept` and `tried`, which are judged."""
    begin, end = section(pins, name)
    lines = pins[begin:end].splitlines(keepends=True)
    for old, new in words.items():
        whole = re.compile(rf"(?<![\d.]){re.escape(old)}(?![\d])")
        lines = [line if line.startswith(("accept", "tried")) else whole.sub(new, line) for line in lines]
    return pins[:begin] + "".join(lines) + pins[end:]


def obtain(pin: Pin, work: Path) -> Path:
    """The new archive, from the first place that has it. Nobody has a hash to compare with yet."""
    failed: list[str] = []
    attempts: list[Callable[[], Path]] = []
    attempts += [functools.partial(fetch.from_url, url, work / pin.file) for url in pin.urls]
    if pin.debian:
        attempts.append(lambda: Apt(work).fetch(pin, pinned_only=True)[0])
    if pin.pypi:
        attempts.append(lambda: registry.fetch(pin, work))
    for attempt in attempts:
        try:
            return attempt()
        except PlaceError as error:
            failed.append(str(error))
    raise VendorError(f"No place has {pin.file} ({'; '.join(failed)}): download it and use --from.")


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def update_licence(pin: Pin, archive: Path) -> bool:
    """Whether the licence text differs from ours; then it is replaced."""
    if pin.name not in TEXTS:
        say(f"compare the licences of {pin.name} with vendor/licenses/ by hand")
        return False
    inside, ours = TEXTS[pin.name]
    found = fetch.Archive(pin.name, pin.version, pin.sha256, archive, pin.root, (inside,), pinned=True)
    with tempfile.TemporaryDirectory() as folder:
        text = (fetch.unpack(found, Path(folder)) / inside).read_bytes()
    if text.split() == (LICENCES / ours).read_bytes().split():
        return False
    (LICENCES / ours).write_bytes(text)
    return True


def recorded(pins: str, name: str, series: str, passed: list[str]) -> str:
    """pins.toml with the versions that passed in `accept` and `tried` of one entry."""
    begin, end = section(pins, name)
    lines = pins[begin:end].splitlines(keepends=True)
    shown = ", ".join(f'"{version}"' for version in passed)
    values = {
        "accept": f'"{versions.spec_of(passed)}"',
        "tried": f'{{ series = "{series}", versions = [{shown}] }}',
    }
    for key, value in values.items():
        found = [at for at, line in enumerate(lines) if line.startswith(f"{key} = ")]
        if len(found) != 1:
            raise VendorError(f"The entry [{name}] of vendor/pins.toml has no line `{key} = `: add it.")
        remark = lines[found[0]].rstrip("\n").partition(" #")
        lines[found[0]] = f"{key} = {value}{remark[1]}{remark[2]}\n"
    return pins[:begin] + "".join(lines) + pins[end:]


def passes(archive: fetch.Archive, pin: Pin) -> bool:
    """Whether the series fits a version, and the engine's tests in C pass with it."""
    copy = cache_dir() / "downloads" / f"tried-{archive.path.name}"
    tried = dataclasses.replace(pin, version=archive.version, sha256=archive.sha256, file=copy.name, root=archive.root)
    shutil.copyfile(archive.path, copy)
    try:
        native = prefix.build("debug", pins=load_pins() | {pin.name: tried})
    except VendorError as error:
        say(f"{pin.name} {archive.version}: {error}")
        return False
    finally:
        copy.unlink()
    say(f"{pin.name} {archive.version}: the engine's tests in C")
    argv = ["make", "--no-print-directory", "-C", "tests/engine", f"PREFIX={native}", f"PYTHON={sys.executable}",
            f"B=../../build/engine-{pin.name}-{archive.version}"]  # fmt: skip
    return subprocess.run(argv, cwd=ROOT, stdout=sys.stderr).returncode == 0


def try_versions(name: str, git: Path | None) -> None:
    """Tries the series of a library on every version that can be had, and writes which passed."""
    pin = load_pins().get(name)
    if pin is None or name not in SERIES:
        raise VendorError(f"{name} has no patches: name one of {', '.join(SERIES)}.")
    passed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        there = versions.Versions(pin, cache_dir(), Apt(Path(folder)), git)
        oldest = version_key(pin.accept.split(",")[0].removeprefix(">="))
        tags = {tag for tag in there.tags() if version_key(tag) >= oldest}
        for version in versions.in_order({pin.version, *pin.tried["versions"], *tags, *offered(there)}):
            try:
                archive = there.get(version)
            except PlaceError as error:
                say(f"{name} {version} cannot be had here, and is no longer named as tried ({error})")
                continue
            if passes(archive, pin):
                passed.append(version)
            elif version_key(version) < version_key(pin.version):
                passed.clear()  # what is older is of no use: the range has no holes
            else:
                break
    if pin.version not in passed:
        raise VendorError(f"{name} {pin.version}, the pinned version, does not pass: look at vendor/{name}/patches.")
    PINS_FILE.write_text(recorded(PINS_FILE.read_text(), name, patch.digest(SERIES[name]), passed))
    say(f"{name}: passed with {', '.join(passed)}")


def offered(there: versions.Versions) -> list[str]:
    """What Debian has; nothing where it cannot be asked."""
    try:
        return list(there.offers())
    except PlaceError as error:
        say(str(error))
        return []


def note(changelog: str, line: str) -> str:
    """The changelog with a line under Unreleased, Changed."""
    head, mark, rest = changelog.partition("## [Unreleased]\n")
    if not mark:
        raise VendorError("CHANGELOG.md has no section [Unreleased]: add it.")
    ours, following, older = rest.partition("\n## ")
    if "### Changed\n" in ours:
        ours = ours.replace("### Changed\n", f"### Changed\n{line}\n", 1)
    else:
        ours = f"{ours.rstrip()}\n\n### Changed\n{line}\n"
    return head + mark + ours + following + older


def update(name: str, version: str, words: dict[str, str], given: Path | None) -> None:
    """Changes the files; the tests are the caller's."""
    old = load_pins().get(name)
    if old is None:
        raise VendorError(f"vendor/pins.toml has no entry [{name}]: name one that it has.")
    before = PINS_FILE.read_text()
    PINS_FILE.write_text(edited(before, name, {old.version: version, **words}))
    try:
        pin = load_pins()[name]
        with tempfile.TemporaryDirectory() as folder:
            archive = given or obtain(pin, Path(folder))
            found = sha256_of(archive)
            say(f"SHA-256 {found}  {pin.file}")
            PINS_FILE.write_text(PINS_FILE.read_text().replace(old.sha256, found))
            pin = dataclasses.replace(pin, sha256=found)
            changed = update_licence(pin, archive)
            kept = cache_dir() / "downloads" / pin.file
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(archive, kept)
    except BaseException:
        PINS_FILE.write_text(before)
        raise
    CHANGELOG.write_text(note(CHANGELOG.read_text(), f"- {name} {version} (was {old.version})."))
    if changed:
        say(f"the licence text of {name} changed: see vendor/licenses/ and THIRD-PARTY-NOTICES.md")


def main() -> int:
    parser = argparse.ArgumentParser(description="Move a native library to another version.")
    parser.add_argument("name")
    parser.add_argument("version", nargs="?", help="the new version; not with --try")
    parser.add_argument("--replace", action="append", default=[], metavar="OLD=NEW", help="another word of the entry")
    parser.add_argument("--from", dest="given", type=Path, help="the archive, instead of looking for it")
    parser.add_argument("--no-tests", action="store_true", help="only change the files")
    parser.add_argument("--try", dest="only_try", action="store_true", help="only try the patches on every version")
    parser.add_argument("--git", type=Path, metavar="CLONE", help="of upstream's repository: its tags are tried, too")
    options = parser.parse_args()
    if (options.version is None) != options.only_try:
        parser.error("name a version, or give --try")
    try:
        if options.version is not None:
            words = dict(word.split("=", 1) for word in options.replace)
            update(options.name, options.version, words, options.given)
        if options.name in SERIES and not options.no_tests:
            try_versions(options.name, options.git)
    except VendorError as error:
        say(f"error: {error}")
        return 1
    if options.no_tests or options.only_try:
        return 0
    for target in TESTS:
        say(f"make {target}")
        if subprocess.run(["make", target], cwd=ROOT).returncode != 0:
            say(f"error: `make {target}` failed: mend it, or `git checkout vendor CHANGELOG.md`")
            return 1
    say("done: compare the SHA-256 above with upstream's announcement, then commit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
