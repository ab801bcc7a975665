"""The cache folder: downloads, built libraries, locks. Everything enters it by an atomic rename."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .report import VendorError, say

try:
    import fcntl
except ImportError:  # Windows: build.py refuses it with its own sentence
    fcntl = None  # type: ignore[assignment]


def _usable(path: Path) -> bool:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


def cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    """NAQUID_VENDOR_CACHE, else the user's cache directory, else a private temporary one."""
    asked = env.get("NAQUID_VENDOR_CACHE")
    if asked:
        path = Path(asked).expanduser().absolute()
        if not _usable(path):
            raise VendorError(f"The cache folder {path} cannot be written: set NAQUID_VENDOR_CACHE to one that can be.")
        return path
    bases = []
    if os.path.isabs(env.get("XDG_CACHE_HOME", "")):
        bases.append(Path(env["XDG_CACHE_HOME"]))
    if os.path.isabs(env.get("HOME", "")):
        bases.append(Path(env["HOME"]) / ".cache")
    for base in bases:
        # A home that does not exist is not ours to create.
        if base.parent.is_dir() and _usable(base / "naquid"):
            return base / "naquid"
    return _temporary_cache()


def _temporary_cache() -> Path:
    path = Path(tempfile.gettempdir()) / f"naquid-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    # Anyone may create names in the temporary directory: build only from a folder that is ours.
    if path.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022 or not _usable(path):
        raise VendorError(f"{path} is not ours to use: set NAQUID_VENDOR_CACHE to a folder you can write.")
    return path


@contextlib.contextmanager
def locked(cache: Path, name: str) -> Iterator[None]:
    """Holds the lock called name; a second build of the same thing waits for the first."""
    folder = cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another build of {name}")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def scratch(cache: Path) -> Iterator[Path]:
    """A working folder on the cache's own file system (so that a rename out of it is atomic)."""
    base = cache / "tmp"
    base.mkdir(parents=True, exist_ok=True)
    for left in base.iterdir():  # by builds that were killed
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - 86400:
                shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(dir=base))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def make_once(cache: Path, kind: str, name: str, make: Callable[[Path, Path], None]) -> Path:
    """The folder cache/kind/name, made by make(output, work) if it is not there yet."""
    final = cache / kind / name
    if final.is_dir():
        return final
    with locked(cache, f"{kind}-{name}"):
        if final.is_dir():
            return final
        with scratch(cache) as work:
            output = work / "out"
            output.mkdir()
            make(output, work)
            final.parent.mkdir(parents=True, exist_ok=True)
            os.rename(output, final)
    return final


def key_of(*parts: str) -> str:
    """A short name for a combination of inputs."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
