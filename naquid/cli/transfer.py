"""How `naquid send` and `naquid recv` talk, on one raw stream with the name STREAM:

    sender: a line of JSON {"name": ..., "size": bytes or null}; of a file it may say more, "about": how many bytes
        there should be, "resume": true, "holes": are there any?, "mode": permissions, "times": of access and of change,
        in nanoseconds
    receiver: a line of JSON {"accept": true}, or {"error": text}
        with "have": bytes, when it has the beginning of such a file and the sender said "resume":
        sender: a line of JSON {"sha256": hex of as many bytes of its own}
        receiver: a line of JSON {"from": bytes}, the same number or 0: where to go on
    sender: the bytes from there on, then the SHA-256 of all (32 bytes), then the end of the stream
    receiver: a line of JSON {"bytes": ..., "sha256": hex}, or {"error": text}

Either side may reset the stream instead. A file gets its name only when its bytes have the checksum that came along.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .errors import CommandError

if TYPE_CHECKING:
    import naquid

STREAM = "naquid.file"
CHUNK = 256 * 1024
DIGEST = 32
LINE = 4096  # bytes of a line at most
BLOCK = 4096  # bytes of a hole at least
ZEROS = bytes(BLOCK)
PARTIAL, PARTIAL_END = ".naquid-", ".part"
KEPT = 24 * 3600.0
STOPPED = 0x10  # RESET_STREAM and STOP_SENDING: this side cannot go on


def safe_name(name: object) -> str:
    """The name, when a file may be called so. Raises CommandError for what could be a path or an option, or hide."""
    if not isinstance(name, str):
        raise CommandError("a file name is a text")
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise CommandError(f"{name!r} is not a plain file name: send it with --name and without a folder")
    if name.startswith((".", "-")) or name != name.strip():
        raise CommandError(
            f"{name!r} begins with a dot, a dash or a space, or ends with a space: choose another --name"
        )
    if not name.isprintable() or len(name.encode(errors="replace")) > 200:
        raise CommandError(
            f"{name[:40]!r} has characters that cannot be printed, or is too long: choose another --name"
        )
    return name


async def read_line(stream: naquid.RawStream) -> dict[str, Any]:
    """The next line of JSON. Raises CommandError when it is none."""
    import asyncio

    try:
        line = await stream.readuntil(b"\n", LINE)
        found = json.loads(line)
    except asyncio.IncompleteReadError:
        raise CommandError("the other side ended the transfer") from None
    except (ValueError, RecursionError, asyncio.LimitOverrunError):
        found = None
    if not isinstance(found, dict):
        raise CommandError("the other side does not speak the language of naquid send and recv")
    return found


def write_line(stream: naquid.RawStream, **fields: object) -> None:
    stream.write(json.dumps(fields).encode() + b"\n")


@dataclass(frozen=True)
class Offer:
    """What a sender says of its file. Raises CommandError for what cannot be."""

    name: str
    size: int | None = None  # exactly so many bytes
    about: int | None = None  # a guess
    resume: bool = False
    holes: bool = False
    mode: int | None = None
    times: tuple[int, int] | None = None

    @classmethod
    def read(cls, head: dict[str, Any]) -> Offer:
        """From the sender's first line."""
        mode, times = head.get("mode"), head.get("times")
        if mode is not None and (not _is_number(mode) or mode > 0o777):
            raise CommandError("the permissions are not those of a file")
        if times is not None and not (
            isinstance(times, list) and len(times) == 2 and all(isinstance(t, int) and abs(t) < 1 << 63 for t in times)
        ):
            raise CommandError("the times are not two numbers of nanoseconds")
        for name in ("size", "about"):
            if head.get(name) is not None and not _is_number(head[name]):
                raise CommandError("the size is not a number of bytes")
        return cls(
            safe_name(head.get("name")),
            head.get("size"),
            head.get("about"),
            head.get("resume") is True,
            head.get("holes") is True,
            mode,
            (times[0], times[1]) if times is not None else None,
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class Incoming:
    """A file that arrives: under a name of its own until `keep`. A context manager that leaves nothing half done, but
    for what `leave` says is worth going on with.

    `feed`, `resume` and `keep` may run in another thread; `close` waits for them, and they do nothing after it.
    """

    def __init__(self, folder: Path, name: str, force: bool, offer: Offer | None = None) -> None:
        self.path = folder / name
        self.offer = offer or Offer(name)
        self._force = force
        self._check()
        umask = os.umask(0)  # here and not in `keep`, which runs in a thread
        os.umask(umask)
        self._mode = 0o666 & ~umask if self.offer.mode is None else self.offer.mode
        self._file, self._partial = self._begin(folder, name)
        self._lock = threading.Lock()
        self._hash = sha256()
        self._tail = b""
        self._left = False
        self.have = os.fstat(self._file.fileno()).st_size
        self.bytes = 0

    def _begin(self, folder: Path, name: str) -> tuple[IO[bytes], Path]:
        """The file to write to: that of an earlier transfer where it can go on, and nobody else writes to it."""
        if self.offer.resume:
            partial = folder / f"{PARTIAL}{name}{PARTIAL_END}"
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with suppress(OSError):
                file = open(os.open(partial, flags, 0o600), "r+b", buffering=0)  # noqa: SIM115 (closed by close)
                about = os.fstat(file.fileno())
                # Locked: nobody else writes to it, or has just given it its name.
                if stat.S_ISREG(about.st_mode) and _locked(file.fileno()) and os.path.samestat(about, partial.lstat()):
                    return file, partial
                file.close()
        handle, temporary = tempfile.mkstemp(prefix=PARTIAL, suffix=PARTIAL_END, dir=folder)
        _locked(handle)
        return open(handle, "r+b", buffering=0), Path(temporary)

    def _check(self) -> None:
        if self.path.is_dir():
            raise CommandError(f"{self.path.name!r} is a folder there")
        if not self._force and os.path.lexists(self.path):
            raise CommandError(f"{self.path.name!r} exists there already: recv --force lets it be replaced")

    def resume(self, digest: object) -> int:
        """Goes on behind the bytes of an earlier transfer if they have this checksum, in hexadecimal digits, else at
        the beginning. Returns where."""
        with self._lock:
            if self._file.closed:
                return 0
            hashed, count = sha256(), 0
            self._file.seek(0)
            while count < self.have and (chunk := self._file.read(min(CHUNK, self.have - count))):
                hashed.update(chunk)
                count += len(chunk)
            if count == self.have and hashed.hexdigest() == digest:
                self._hash, self.bytes = hashed, count
            else:
                self._file.seek(0)
                self._file.truncate(0)
            return self.bytes

    def feed(self, chunk: bytes) -> None:
        """Bytes of the stream; the last DIGEST of all are the checksum."""
        with self._lock:
            if self._file.closed:
                return
            chunk = self._tail + chunk
            body, self._tail = chunk[:-DIGEST], chunk[-DIGEST:]
            if body:
                self._hash.update(body)
                self._write(body)
                self.bytes += len(body)

    def _write(self, body: bytes) -> None:
        view = memoryview(body)
        while view:
            if not self.offer.holes:
                view = view[self._file.write(view) :]
                continue
            # To the end of a block; one of zeros only is left out.
            block = view[: BLOCK - (self._file.tell() % BLOCK)]
            if block == ZEROS[: len(block)]:
                self._file.seek(len(block), os.SEEK_CUR)
                view = view[len(block) :]
            else:
                view = view[self._file.write(block) :]

    def keep(self, size: int | None) -> str:
        """The stream has ended: gives the file its name. Returns the SHA-256 in hexadecimal digits."""
        with self._lock:
            if self._file.closed:
                raise CommandError("the transfer was interrupted")
            return self._keep(size)

    def _keep(self, size: int | None) -> str:
        if len(self._tail) < DIGEST or (size is not None and self.bytes != size):
            raise CommandError(f"the transfer ended after {self.bytes:,} bytes" + (f" of {size:,}" if size else ""))
        if self._hash.digest() != self._tail:
            raise CommandError("the bytes that arrived do not have the checksum that came with them")
        self._file.truncate(self.bytes)  # a hole at the end has not been written
        os.fchmod(self._file.fileno(), self._mode)
        if self.offer.times is not None:
            os.utime(self._file.fileno(), ns=self.offer.times)
        os.fsync(self._file.fileno())
        self._check()
        if self._force:
            os.replace(self._partial, self.path)
        else:
            self._link()
        self._file.close()
        return self._hash.hexdigest()

    def _link(self) -> None:
        """Gives the name in one step that fails when it was taken meanwhile."""
        try:
            os.link(self._partial, self.path)
        except FileExistsError:
            raise CommandError(f"{self.path.name!r} exists there already: recv --force lets it be replaced") from None
        except OSError:  # a file system without hard links
            os.rename(self._partial, self.path)
        else:
            self._partial.unlink()

    def leave(self) -> None:
        """The transfer was cut: what has come stays, for a sender that resumes."""
        self._left = self.offer.resume

    def close(self) -> None:
        with self._lock:
            if self._file.closed:
                return
            if self._left and self.bytes:
                self._file.truncate(self.bytes)
            else:
                with suppress(FileNotFoundError):
                    self._partial.unlink()
            self._file.close()

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()


def _locked(handle: int) -> bool:
    """Is the file ours alone? On a file system without locks: perhaps."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def clean(folder: Path) -> None:
    """Removes what transfers have left that were cut KEPT seconds ago or more, and that nobody writes to."""
    for partial in folder.glob(f"{PARTIAL}*{PARTIAL_END}"):
        with suppress(OSError):
            handle = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if time.time() - os.fstat(handle).st_mtime >= KEPT and _locked(handle):
                    partial.unlink()
            finally:
                os.close(handle)


def rate(count: float, took: float) -> str:
    """Bytes a second for people."""
    return f"{size_text(count / took if took > 0 else 0.0)}/s"


def size_text(count: float) -> str:
    """1536 -> 1.5 KiB"""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def fields(name: str, count: int, took: float, digest: str) -> dict[str, object]:
    """What --json tells of a transfer."""
    per_second = round(count / took) if took > 0 else 0
    return {"name": name, "bytes": count, "seconds": round(took, 6), "bytes_per_second": per_second, "sha256": digest}
