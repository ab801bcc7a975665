"""How `naquid send` and `naquid recv` talk, on one raw stream with the name STREAM:

    sender: a line of JSON {"name": ..., "size": bytes or null}
    receiver: a line of JSON {"accept": true}, or {"error": text}
    sender: the bytes, then their SHA-256 (32 bytes), then the end of the stream
    receiver: a line of JSON {"bytes": ..., "sha256": hex}, or {"error": text}

Either side may reset the stream instead. A file gets its name only when its bytes have the checksum that came along.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CommandError

if TYPE_CHECKING:
    import naquid

STREAM = "naquid.file"
CHUNK = 256 * 1024
DIGEST = 32
LINE = 4096  # bytes of a line at most
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


class Incoming:
    """A file that arrives: under a name of its own until `keep`. A context manager that leaves nothing half done.

    `feed` and `keep` may run in another thread; `close` waits for them, and they do nothing after it.
    """

    def __init__(self, folder: Path, name: str, force: bool) -> None:
        self.path = folder / name
        self._force = force
        self._check()
        umask = os.umask(0)  # here and not in `keep`, which runs in a thread
        os.umask(umask)
        self._mode = 0o666 & ~umask
        handle, partial = tempfile.mkstemp(prefix=".naquid-", suffix=".part", dir=folder)
        self._partial = Path(partial)
        self._file = open(handle, "wb", buffering=0)  # noqa: SIM115 (closed by close)
        self._lock = threading.Lock()
        self._hash = sha256()
        self._tail = b""
        self.bytes = 0

    def _check(self) -> None:
        if self.path.is_dir():
            raise CommandError(f"{self.path.name!r} is a folder there")
        if not self._force and os.path.lexists(self.path):
            raise CommandError(f"{self.path.name!r} exists there already: recv --force lets it be replaced")

    def feed(self, chunk: bytes) -> None:
        """Bytes of the stream; the last DIGEST of all are the checksum."""
        with self._lock:
            if self._file.closed:
                return
            chunk = self._tail + chunk
            body, self._tail = chunk[:-DIGEST], chunk[-DIGEST:]
            if body:
                self._hash.update(body)
                self.bytes += len(body)
                view = memoryview(body)
                while view:
                    view = view[self._file.write(view) :]

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
        os.fchmod(self._file.fileno(), self._mode)
        os.fsync(self._file.fileno())
        self._file.close()
        self._check()
        if self._force:
            os.replace(self._partial, self.path)
        else:
            self._link()
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

    def close(self) -> None:
        with self._lock:
            self._file.close()
            with suppress(FileNotFoundError):
                self._partial.unlink()

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()


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
