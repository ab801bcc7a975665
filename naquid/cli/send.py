"""`naquid send`: a file to `naquid recv`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import stat
import time
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from . import transfer
from .arguments import Commands, add_client, add_command, add_json
from .client import connecting
from .console import Update, transferred
from .errors import EXIT_OK, CommandError, UsageError
from .reading import Reader
from .stdio import say, standard_input

if TYPE_CHECKING:
    import naquid

EPILOG = """\
The receiver runs `naquid recv`. The bytes travel on one stream; both sides compute SHA-256, and the command is done
when the receiver has the whole file under its name and the same checksum. "-" sends standard input and needs --name.
All that can be read is sent, whatever size a file claims to have; holes stay holes. When a transfer was cut, the same
command again sends the rest, if the file still begins as it did.

examples:
  naquid send game.test 8444 world.dat --ca ca.pem
  naquid send localhost 8444 world.dat --name world-2.dat --ca certs/ca.pem --json
  naquid send localhost 8444 world.dat --name world-3.dat --preserve --ca certs/ca.pem
  tar c maps | naquid send localhost 8444 - --name maps.tar --ca certs/ca.pem
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = add_command(commands, "send", "send a file to naquid recv", run, EPILOG)
    add_client(command)
    command.add_argument("file", metavar="FILE", help='file to send, "-": standard input')
    command.add_argument("--name", help="its name over there; default: that of FILE")
    command.add_argument("--preserve", action="store_true", help="keep the file's permissions and its times")
    add_json(command)


def run(options: argparse.Namespace) -> int:
    if options.file == "-":
        if not options.name:
            raise UsageError("standard input has no name: give --name")
        if options.preserve:
            raise UsageError("standard input has no permissions and times: leave --preserve out")
        return asyncio.run(_send(options, Source(standard_input().fileno(), transfer.safe_name(options.name))))
    name = transfer.safe_name(options.name or os.path.basename(options.file))
    with open(options.file, "rb", buffering=0) as file:
        return asyncio.run(_send(options, Source(file.fileno(), name, options.preserve)))


class Source:
    """What is sent: a descriptor, and what is known of it."""

    def __init__(self, handle: int, name: str, preserve: bool = False) -> None:
        about = os.fstat(handle)
        self.handle, self.name = handle, name
        self.is_file = stat.S_ISREG(about.st_mode) and os.lseek(handle, 0, os.SEEK_CUR) == 0
        # Some files, as those of /proc, do not know how long they are: it is never more than a guess.
        self.size = about.st_size if self.is_file and about.st_size else None
        self.head: dict[str, object] = {"name": name, "size": None}
        if self.is_file:
            self.head |= {"about": about.st_size, "resume": True, "holes": about.st_blocks * 512 < about.st_size}
        if preserve:
            self.head |= {"mode": stat.S_IMODE(about.st_mode) & 0o777, "times": [about.st_atime_ns, about.st_mtime_ns]}

    def check(self, count: int) -> None:
        """All of it has been read. Raises CommandError when it was cut meanwhile."""
        if self.size is not None and count < self.size and os.fstat(self.handle).st_size < self.size:
            raise CommandError(f"the file became shorter while it was sent: {count:,} of {self.size:,} bytes were read")


async def _send(options: argparse.Namespace, source: Source) -> int:
    import naquid

    async with connecting(options, naquid.Limits(keep_alive=10.0, idle_timeout=30.0)) as conn:
        stream = await conn.open_raw_stream(transfer.STREAM)
        accepted = False
        reader = Reader(source.handle, transfer.CHUNK)
        try:
            transfer.write_line(stream, **source.head)
            answer = await transfer.read_line(stream)
            _refused(answer)
            accepted = True
            begin = time.perf_counter()
            with transferred(f"sending {source.name}", source.size, options.json) as update:
                sending = _Sending(stream, source, reader, update)
                resumed = await sending.resume(answer.get("have"))
                answer = await sending.run()
            took = time.perf_counter() - begin
            _refused(answer)
            if answer.get("sha256") != sending.digest.hexdigest() or answer.get("bytes") != sending.count:
                raise CommandError("the receiver has other bytes than were sent: its checksum differs")
        except (naquid.StreamReset, naquid.StreamClosed):
            if not accepted:
                raise CommandError("there is no receiver of files: does `naquid recv` listen there?") from None
            with suppress(naquid.Error, TimeoutError):  # it may have said why
                _refused(await asyncio.wait_for(transfer.read_line(stream), 2))
            raise CommandError("the receiver stopped the transfer") from None
        except naquid.ConnectionLost as error:
            raise CommandError(f"the transfer was interrupted: {error}") from None
        except BaseException:
            stream.reset(transfer.STOPPED)
            raise
        finally:
            reader.close()
    count, digest = sending.count, sending.digest.hexdigest()
    if options.json:
        print(json.dumps({**transfer.fields(source.name, count, took, digest), "resumed": resumed}))
    else:
        rest = f", of which {resumed:,} were there already" if resumed else ""
        speed = transfer.rate(count - resumed, took)
        say(f"sent {source.name}: {count:,} bytes in {took:.2f} s, {speed}{rest}\n  SHA-256 {digest}")
    return EXIT_OK


class _Sending:
    """One transfer: what was sent so far."""

    def __init__(self, stream: naquid.RawStream, source: Source, reader: Reader, update: Update) -> None:
        self._stream, self._source, self._reader, self._update = stream, source, reader, update
        self.count = 0
        self.digest = sha256()

    async def resume(self, have: object) -> int:
        """Agrees with the receiver on where to begin; `have`: bytes that it has of an earlier transfer. Returns how
        many of them it keeps."""
        if not isinstance(have, int) or have <= 0 or not self._source.is_file:
            return 0
        digest, count = sha256(), 0
        while count < have and (chunk := await self._reader.read()):
            chunk = chunk[: have - count]
            digest.update(chunk)
            count += len(chunk)
        transfer.write_line(self._stream, sha256=digest.hexdigest() if count == have else "")
        answer = await transfer.read_line(self._stream)
        _refused(answer)
        kept = answer.get("from") == have == count
        if kept:
            self.digest, self.count = digest, have
        os.lseek(self._source.handle, self.count, os.SEEK_SET)
        return self.count

    async def run(self) -> dict[str, Any]:
        """Writes the file, its checksum and the end. Returns what the receiver said; it may say so earlier."""
        answer = asyncio.ensure_future(transfer.read_line(self._stream))
        try:
            while not answer.done():
                chunk = self._reader.read()
                # A pipe may be silent for long: who waits for it looks at the receiver meanwhile.
                waits: set[asyncio.Future[Any]] = {chunk, answer}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if answer.done() or not chunk.result():
                    break
                self.digest.update(chunk.result())
                self.count += len(chunk.result())
                self._stream.write(chunk.result())
                self._update(self.count)
                await self._stream.drain()
            if not answer.done():
                self._source.check(self.count)
                self._stream.write(self.digest.digest())
                self._stream.write_eof()
            return await answer
        finally:
            answer.cancel()
            with suppress(BaseException):
                answer.exception()


def _refused(answer: dict[str, object]) -> None:
    if "error" in answer:
        raise CommandError(f"the receiver refused: {answer['error']}")
