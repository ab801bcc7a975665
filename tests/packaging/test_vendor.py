"""The build recipe of the native libraries: places, hashes, errors. No network: places are local or made up."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "vendor"))

from recipe import cache, debian, fetch, incremental, prefix, registry, tools  # noqa: E402
from recipe.pins import Pin, accepts, load_pins, version_key  # noqa: E402
from recipe.report import PlaceError, VendorError  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the build refuses Windows")


def tarball(entries: dict[str, str], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


GOOD = tarball({"part-1.2.3/lib/a.c": "int a;\n", "part-1.2.3/doc/b.txt": "b\n"})


@pytest.fixture
def pin() -> Pin:
    return Pin("part", "1.2.3", hashlib.sha256(GOOD).hexdigest(), "part-1.2.3.tar.gz", "part-1.2.3", accept=">=1.1,<2")


class NoApt(debian.Apt):
    """A machine without Debian."""

    def __init__(self) -> None:
        super().__init__(Path("unused"))

    def fetch(self, pin: Pin, pinned_only: bool) -> tuple[Path, str]:
        raise PlaceError("no apt here")


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = {"/good": GOOD, "/bad": GOOD + b"!"}.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("NAQUID_"):
            monkeypatch.delenv(name)


# ---- pins


def test_the_pins_are_complete() -> None:
    pins = load_pins()
    assert {"ngtcp2", "c-ares", "aws-lc", "boringssl"} <= set(pins)
    for pin in pins.values():
        assert re.fullmatch(r"[0-9a-f]{64}", pin.sha256)
        assert pin.urls or pin.debian or pin.pypi, f"{pin.name} has no place"


def test_pins_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    broken = tmp_path / "pins.toml"
    broken.write_text("[part]\nversion = 1\nwhat = 2\n")
    with pytest.raises(VendorError, match=r"\[part\].*is not a pin"):
        load_pins(broken)


@pytest.mark.parametrize(
    ("version", "accepted"),
    [("1.22.1", True), ("1.22.0", False), ("1.25", True), ("2.0.0", False), ("1.24.0+dfsg", True), ("2", False)],
)
def test_which_substitutes_are_accepted(version: str, accepted: bool) -> None:
    assert accepts(">=1.22.1,<2", version) is accepted
    assert not accepts("", version)


def test_versions_are_compared_by_number() -> None:
    assert version_key("1.10") > version_key("1.9.9")
    assert version_key("2") == version_key("2.0.0")


# ---- fetching


def test_a_url_is_fetched_verified_and_kept(tmp_path: Path, pin: Pin, server: str) -> None:
    got = fetch.get(replace(pin, urls=(f"{server}/good",)), tmp_path, NoApt())
    assert got.pinned
    assert got.path.read_bytes() == GOOD
    again = fetch.get(replace(pin, urls=(f"{server}/gone",)), tmp_path, NoApt())
    assert again.path == got.path


def test_the_next_url_serves_when_one_has_dropped_the_file(tmp_path: Path, pin: Pin, server: str) -> None:
    got = fetch.get(replace(pin, urls=(f"{server}/gone", f"{server}/good")), tmp_path, NoApt())
    assert got.pinned
    assert got.path.read_bytes() == GOOD


def test_every_part_or_what_stands_in_for_it_can_be_had_without_debian() -> None:
    """What an Ubuntu, a Fedora or a Mac builds is what a Debian builds, but for AWS-LC."""
    pins = load_pins()
    assert [pin.name for pin in pins.values() if not (pin.urls or pin.pypi)] == ["aws-lc"]
    assert pins["boringssl"].pypi


def test_wrong_bytes_from_a_url_are_a_hard_error(tmp_path: Path, pin: Pin, server: str) -> None:
    found = hashlib.sha256(GOOD + b"!").hexdigest()
    with pytest.raises(VendorError) as caught:
        fetch.get(replace(pin, urls=(f"{server}/bad",)), tmp_path, NoApt())
    for piece in (pin.file, pin.sha256, found, f"{server}/bad"):
        assert piece in str(caught.value)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_wrong_bytes_in_the_cache_are_a_hard_error(tmp_path: Path, pin: Pin) -> None:
    (tmp_path / "downloads").mkdir()
    kept = tmp_path / "downloads" / pin.file
    kept.write_bytes(b"something else")
    with pytest.raises(VendorError, match=r"expected .* found .* delete"):
        fetch.get(pin, tmp_path, NoApt())
    assert kept.exists(), "it is evidence: the user deletes it"


def test_nothing_to_reach_and_nothing_cached(tmp_path: Path, pin: Pin) -> None:
    with socket.socket() as closed:  # bound, not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
        with pytest.raises(fetch.Unavailable, match=r"Cannot fetch part 1.2.3 .*refused.*no apt here.*put .* into"):
            fetch.get(replace(pin, urls=(url,), debian={"version": "1.2.3-1"}), tmp_path, NoApt())


def test_a_host_that_does_not_answer_costs_little(tmp_path: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = replace(pin, urls=(f"http://127.0.0.1:{silent.getsockname()[1]}/x",))
        # By default it would wait for as long as the other side likes.
        with ThreadPoolExecutor(1) as pool, pytest.raises(fetch.Unavailable):
            pool.submit(fetch.get, asked, tmp_path, NoApt()).result(timeout=60)


def test_offline_asks_nobody(tmp_path: Path, pin: Pin, server: str) -> None:
    with pytest.raises(fetch.Unavailable, match="NAQUID_VENDOR_OFFLINE"):
        fetch.get(replace(pin, urls=(f"{server}/good",)), tmp_path, NoApt(), env={"NAQUID_VENDOR_OFFLINE": "1"})


def test_boringssl_stands_in_for_aws_lc(
    tmp_path: Path, pin: Pin, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    class CountingApt(NoApt):
        def fetch(self, pin: Pin, pinned_only: bool) -> tuple[Path, str]:
            asked.append(pin.name)
            return super().fetch(pin, pinned_only)

    pins = {
        "aws-lc": replace(pin, name="aws-lc", file="aws-lc.tar.gz", debian={"version": "1"}),
        "boringssl": replace(pin, name="boringssl", urls=(f"{server}/good",)),
    }
    for _ in range(2):
        assert prefix._tls_archive(pins, tmp_path, CountingApt(), None).name == "boringssl"
        assert "building with BoringSSL in place of AWS-LC" in capsys.readouterr().err
    assert asked == ["aws-lc"], "the second build does not wait for it again"
    with pytest.raises(fetch.Unavailable):
        prefix._tls_archive(pins, tmp_path, CountingApt(), "aws-lc")
    (tmp_path / "downloads" / "aws-lc.tar.gz").write_bytes(GOOD)
    assert prefix._tls_archive(pins, tmp_path, CountingApt(), None).name == "aws-lc"


# ---- Debian


def test_mirrors_are_read_from_both_formats(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://commented.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
        "http://one.example/debian trixie main\n"
        "deb http://security.example/debian-security bookworm-security main\n"
        "deb cdrom:[Debian]/ bookworm main\n"
        "deb http://vendor.example/apt stable-of-theirs main\n"
    )
    (parts / "debian.sources").write_text(
        "Types: deb\n# a remark\nURIs: http://two.example/debian\n http://three.example/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main contrib\n\n"
        "Types: deb\nURIs: http://off.example/debian\nSuites: sid\nComponents: main\nEnabled: no\n\n"
        "Types: deb\nURIs: http://foreign.example/repo\nSuites: stable\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/foreign.gpg\n"
    )
    (parts / "old.list.bak").write_text("deb http://bak.example/debian bookworm main\n")
    expected = ["http://one.example/debian", "http://two.example/debian", "http://three.example/debian"]
    assert debian.mirrors(tmp_path) == expected


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> debian.Apt:
    """apt's programs played by scripts: sid has version 1.4.0-1, forky the two pinned ones and older ones."""
    tools_dir = tmp_path / "bin"
    tools_dir.mkdir()
    scripts = {
        "apt-get": 'case "$*" in *source*) for a; do :; done; v=${a#*=}; v=${v%-*}\n'
        f'cp "{tmp_path}/orig" "part_$v.orig.tar.gz";; esac\n'
        f'cp "$APT_CONFIG" "{tmp_path}/last.conf"; cat "$APT_CONFIG" >> "{tmp_path}/all.conf"',
        "apt-cache": 'case "$APT_CONFIG" in */sid/*) echo "Version: 1.4.0-1";;'
        ' *) echo "Version: 1.2.3-1"; echo "Version: 1.0-1"; echo "Version: 3.0-1";; esac',
        "apt-config": "echo 'Acquire::http::Proxy \"http://proxy.example:1\";'\necho 'Dir::State \"elsewhere\";'",
    }
    for name, text in scripts.items():
        (tools_dir / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools_dir / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools_dir}{os.pathsep}{os.environ['PATH']}")
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    keyring = tmp_path / "debian.gpg"
    keyring.touch()
    (tmp_path / "orig").write_bytes(GOOD)
    work = tmp_path / "work"
    work.mkdir()
    return debian.Apt(work, etc, keyring)


def debian_pin(pin: Pin, version: str) -> Pin:
    return replace(pin, debian={"package": "part", "version": version, "suites": ["sid", "forky"]})


def test_the_pinned_version_is_taken_from_whichever_suite_has_it(tmp_path: Path, pin: Pin, apt: debian.Apt) -> None:
    got = fetch.get(debian_pin(pin, "1.2.3-1"), tmp_path / "cache", apt)
    assert (got.version, got.pinned) == ("1.2.3", True)


def test_apt_is_kept_away_from_the_machine(tmp_path: Path, pin: Pin, apt: debian.Apt) -> None:
    fetch.get(debian_pin(pin, "1.2.3-1"), tmp_path / "cache", apt)
    text = (tmp_path / "last.conf").read_text()
    for option in ("State", "State::Lists", "State::Status", "Cache", "Log", "Etc::SourceList"):
        assert re.search(rf'^Dir::{option} "{re.escape(str(apt.work))}/', text, re.MULTILINE), option
    assert 'Dir::Etc::SourceParts "/dev/null";' in text
    assert 'Dir::Etc::Parts "/dev/null";' in text, "its hooks must not run"
    assert "http://proxy.example:1" in text
    assert "elsewhere" not in text
    sources = re.search(r'SourceList "(.*)"', text)
    assert sources is not None
    line = Path(sources.group(1)).read_text()
    assert line == f"deb-src [signed-by={apt.keyring}] http://mirror.example/debian forky main\n"


def test_wrong_bytes_from_debian_are_a_hard_error(tmp_path: Path, pin: Pin, apt: debian.Apt) -> None:
    (tmp_path / "orig").write_bytes(b"not it")
    with pytest.raises(VendorError, match="from Debian is wrong"):
        fetch.get(debian_pin(pin, "1.2.3-1"), tmp_path / "cache", apt)


def test_a_dropped_version_is_replaced_loudly(
    tmp_path: Path, pin: Pin, apt: debian.Apt, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = debian_pin(pin, "1.1.9-1")
    (tmp_path / "orig").write_bytes(newer := tarball({"part-1.4.0/lib/a.c": "int b;\n"}))
    got = fetch.get(gone, tmp_path / "cache", apt)
    assert (got.version, got.pinned) == ("1.4.0-1", False), "the newest within the accepted range"
    assert got.sha256 == hashlib.sha256(newer).hexdigest()
    assert "WARNING" in capsys.readouterr().err
    assert fetch.unpack(got, tmp_path / "src").joinpath("lib/a.c").is_file()
    again = fetch.get(gone, tmp_path / "cache", NoApt())
    assert again == got
    assert "WARNING" in capsys.readouterr().err, "as long as it lasts"
    with pytest.raises(fetch.Unavailable, match=r"is not in sid, forky"):
        fetch.get(gone, tmp_path / "other", apt, env={"NAQUID_VENDOR_PINNED_ONLY": "1"})


def test_pinned_only_ignores_a_substitute_from_earlier(tmp_path: Path, pin: Pin, apt: debian.Apt) -> None:
    gone = debian_pin(pin, "1.1.9-1")
    fetch.get(gone, tmp_path / "cache", apt)
    with pytest.raises(fetch.Unavailable):
        fetch.get(gone, tmp_path / "cache", apt, env={"NAQUID_VENDOR_PINNED_ONLY": "1"})


def test_a_machine_without_debian(tmp_path: Path, pin: Pin) -> None:
    with pytest.raises(PlaceError, match="no apt"):
        debian.Apt(tmp_path, keyring=tmp_path / "missing.gpg").fetch(debian_pin(pin, "1.2.3-1"), False)


def test_without_apt_upstream_and_pip_serve(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ngtcp2 and c-ares come from their releases, and BoringSSL stands in for AWS-LC, which only Debian packs."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("NAQUID_VENDOR_CACHE", str(tmp_path / "cache"))
    pins = load_pins()
    for name in ("ngtcp2", "c-ares"):
        assert all(url.startswith("https://github.com/") for url in pins[name].urls), (
            "upstream's release of these bytes"
        )
        assert pins[name].urls
    good = hashlib.sha256(GOOD).hexdigest()
    here = {
        name: replace(pin, sha256=good, urls=tuple(f"{server}/good" for _ in pin.urls)) for name, pin in pins.items()
    }

    def by_pip(pin: Pin, work: Path) -> Path:
        (work / pin.file).write_bytes(GOOD)
        return work / pin.file

    monkeypatch.setattr(registry, "fetch", by_pip)
    downloads = prefix.fetch(None, here)
    wanted = {pins[name].file for name in ("ngtcp2", "c-ares", "boringssl")}
    assert {path.name for path in downloads.iterdir() if path.suffix != ".unreachable"} == wanted
    said = capsys.readouterr().err
    assert "building with BoringSSL in place of AWS-LC" in said
    assert "this machine has no apt with the Debian keyring" in said
    with pytest.raises(fetch.Unavailable, match=r"aws-lc .*no apt.*put rust-aws-lc-sys\S+ into .*--fetch"):
        prefix.fetch("aws-lc", here)


# ---- unpacking


def archive_of(tmp_path: Path, data: bytes, root: str, keep: tuple[str, ...] = ()) -> fetch.Archive:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(data)
    return fetch.Archive("part", "1", "0", path, root, keep, pinned=True)


def test_only_what_is_kept_is_unpacked(tmp_path: Path) -> None:
    root = fetch.unpack(archive_of(tmp_path, GOOD, "part-1.2.3", ("lib",)), tmp_path / "src")
    assert sorted(p.name for p in root.rglob("*")) == ["a.c", "lib"]


def test_nothing_lands_outside(tmp_path: Path) -> None:
    data = tarball({"part/a": "a", "part/../../evil": "b", "part/link/c": "c"}, {"part/link": "/tmp"})
    root = fetch.unpack(archive_of(tmp_path, data, "part"), tmp_path / "src")
    assert not (tmp_path / "evil").exists()
    assert not (root / "link").is_symlink()


@pytest.mark.parametrize(("data", "words"), [(b"garbage", "Cannot unpack"), (GOOD, "holds no nowhere")])
def test_archives_that_are_not_what_they_should_be(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(VendorError, match=words):
        fetch.unpack(archive_of(tmp_path, data, "nowhere"), tmp_path / "src")


# ---- the cache


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert cache.cache_dir({"HOME": str(home)}) == home / ".cache" / "naquid"
    (tmp_path / "xdg").mkdir()
    assert cache.cache_dir({"HOME": str(home), "XDG_CACHE_HOME": f"{tmp_path}/xdg"}) == tmp_path / "xdg" / "naquid"
    assert cache.cache_dir({"NAQUID_VENDOR_CACHE": f"{tmp_path}/own"}) == tmp_path / "own"
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path))
    private = tmp_path / f"naquid-{os.getuid()}"
    for env in ({}, {"HOME": f"{tmp_path}/missing"}, {"HOME": "/dev/null"}):
        assert cache.cache_dir(env) == private
    assert private.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VendorError, match="set NAQUID_VENDOR_CACHE"):
        cache.cache_dir({"NAQUID_VENDOR_CACHE": f"{tmp_path}/file/below"})


def test_a_temporary_cache_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"naquid-{os.getuid()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(VendorError, match="not ours"):
        cache.cache_dir({})


def test_two_builds_at_once_make_it_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make(output: Path, work: Path) -> None:
        made.append(1)
        time.sleep(0.2)
        (output / "done").touch()

    threads = [threading.Thread(target=cache.make_once, args=(tmp_path, "kind", "name", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert (tmp_path / "kind" / "name" / "done").is_file()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(output: Path, work: Path) -> None:
        (output / "half").touch()
        raise VendorError("no")

    with pytest.raises(VendorError):
        cache.make_once(tmp_path, "kind", "name", fail)
    assert not (tmp_path / "kind" / "name").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


# ---- tools


def test_a_missing_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(tools.sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(VendorError, match=r"cmake was not found: install it with .*pip install cmake ninja"):
        tools.find_tool("cmake", {"PATH": str(tmp_path)})


def test_a_launcher_without_its_program_is_passed_over(tmp_path: Path) -> None:
    for name, code in (("first", 1), ("second", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nq-tool").write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name / "nq-tool").chmod(0o755)
    with pytest.raises(VendorError):
        tools.find_tool("nq-tool", {"PATH": f"{tmp_path}/first"})
    assert tools.find_tool("nq-tool", {"PATH": f"{tmp_path}/second"}) == f"{tmp_path}/second/nq-tool"


def test_a_failing_step_shows_its_last_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VendorError, match=r"Compiling x failed \(`sh` ended with 3"):
        tools.run(["sh", "-c", "echo the reason; exit 3"], "compiling x")
    assert "the reason" in capsys.readouterr().err


def test_windows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix.sys, "platform", "win32")
    with pytest.raises(VendorError, match="Windows"):
        prefix.build("release")


# ---- incremental compiling


def test_only_what_changed_is_compiled(tmp_path: Path) -> None:
    compiler = tools.find_compiler()
    (tmp_path / "a b.h").write_text("#define A 1\n")
    for name in ("one", "two"):
        (tmp_path / f"{name}.c").write_text('#include "a b.h"\nint x = A;\n' if name == "one" else "int y;\n")

    def steps(flag: str) -> list[incremental.Step]:
        made = []
        for name in ("one", "two"):
            source, target, depfile = (tmp_path / f"{name}.{suffix}" for suffix in ("c", "o", "d"))
            argv = (*compiler.argv, flag, "-MMD", "-MF", str(depfile), "-c", str(source), "-o", str(target))
            made.append(incremental.Step(argv, target, (source,), "compiling", depfile))
        return made

    assert incremental.run(steps("-O0")) == 2
    assert incremental.run(steps("-O0")) == 0
    (tmp_path / "a b.h").write_text("#define A 2\n")
    assert incremental.run(steps("-O0")) == 1, "its header changed"
    assert incremental.run(steps("-O1")) == 2, "the flags changed"
    (tmp_path / "a b.h").unlink()
    with pytest.raises(VendorError):
        incremental.run(steps("-O1"))


# ---- the command


def command(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(ROOT / "vendor" / "build.py"), *arguments]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=100)


def assert_one_sentence(done: subprocess.CompletedProcess[str], words: str) -> None:
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(errors) == 1
    assert re.search(words, errors[0])


def test_command_offline_without_a_cache(tmp_path: Path) -> None:
    env = os.environ | {"NAQUID_VENDOR_CACHE": str(tmp_path), "NAQUID_VENDOR_OFFLINE": "1"}
    assert_one_sentence(command(env), r"ngtcp2-.*NAQUID_VENDOR_OFFLINE")


def test_command_without_a_compiler(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "NAQUID_VENDOR_CACHE": str(tmp_path), "NAQUID_VENDOR_OFFLINE": "1"}
    assert_one_sentence(command(env), r"No working C compiler .* install one")
    assert_one_sentence(command(env | {"CC": "no-such-cc"}), r"\$CC is no-such-cc")


def test_command_with_a_wrong_hash_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    pin = load_pins()["ngtcp2"]
    (tmp_path / "downloads" / pin.file).write_bytes(b"")
    env = os.environ | {"NAQUID_VENDOR_CACHE": str(tmp_path), "NAQUID_VENDOR_OFFLINE": "1"}
    assert_one_sentence(command(env), f"{re.escape(pin.file)}.*{pin.sha256}.*{hashlib.sha256(b'').hexdigest()}")


def test_command_with_an_unknown_tls_library(tmp_path: Path) -> None:
    env = os.environ | {"NAQUID_VENDOR_CACHE": str(tmp_path), "NAQUID_TLS": "openssl"}
    assert_one_sentence(command(env), "NAQUID_TLS is 'openssl': set it to aws-lc or boringssl")


def test_command_prints_one_complete_folder() -> None:
    done = command(os.environ | {"NAQUID_VENDOR_OFFLINE": "1"})
    if done.returncode:
        pytest.skip("the native libraries have not been fetched yet")
    folder = Path(done.stdout.removesuffix("\n"))
    for name in (
        "lib/libngtcp2.a",
        "lib/libcares.a",
        "lib/libssl.a",
        "lib/libcrypto.a",
        "versions.json",
        "include/openssl/ssl.h",
        "include/cares/ares.h",
    ):
        assert (folder / name).is_file()
    for name in ("ngtcp2.h", "version.h", "ngtcp2_crypto.h", "ngtcp2_crypto_boringssl.h"):
        assert (folder / "include" / "ngtcp2" / name).is_file()
