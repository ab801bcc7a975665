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
from typing import IO, TYPE_CHECKING

from . import transfer
from .arguments import Commands, add_client, add_command, add_json
from .client import connecting
from .console import Update, transferred
from .errors import EXIT_OK, CommandError, UsageError
from .stdio import say, standard_input

if TYPE_CHECKING:
    import naquid

EPILOG = """\
The receiver runs `naquid recv`. The bytes travel on one stream; both sides compute SHA-256, and the command is done
when the receiver has the whole file under its name and the same checksum. "-" sends standard input and needs --name.

examples:
  naquid send game.test 8444 world.dat --ca ca.pem
  naquid send localhost 8444 world.dat --name world-2.dat --ca certs/ca.pem --json
  tar c maps | naquid send localhost 8444 - --name maps.tar --ca certs/ca.pem
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = add_command(commands, "send", "send a file to naquid recv", run, EPILOG)
    add_client(command)
    command.add_argument("file", metavar="FILE", help='file to send, "-": standard input')
    command.add_argument("--name", help="its name over there; default: that of FILE")
    add_json(command)


def run(options: argparse.Namespace) -> int:
    if options.file == "-":
        if not options.name:
            raise UsageError("standard input has no name: give --name")
        return asyncio.run(_send(options, standard_input(), transfer.safe_name(options.name), None))
    name = transfer.safe_name(options.name or os.path.basename(options.file))
    with open(options.file, "rb", buffering=0) as file:
        about = os.fstat(file.fileno())
        size = about.st_size if stat.S_ISREG(about.st_mode) else None
        return asyncio.run(_send(options, file, name, size))


async def _send(options: argparse.Namespace, file: IO[bytes], name: str, size: int | None) -> int:
    import naquid

    async with connecting(options, naquid.Limits(keep_alive=10.0, idle_timeout=30.0)) as conn:
        stream = await conn.open_raw_stream(transfer.STREAM)
        accepted = False
        try:
            transfer.write_line(stream, name=name, size=size)
            _refused(await transfer.read_line(stream))
            accepted = True
            begin = time.perf_counter()
            with transferred(f"sending {name}", size, options.json) as update:
                count, digest = await _write(stream, file, size, update)
                answer = await transfer.read_line(stream)
            took = time.perf_counter() - begin
            _refused(answer)
            if answer.get("sha256") != digest or answer.get("bytes") != count:
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
    if options.json:
        print(json.dumps(transfer.fields(name, count, took, digest)))
    else:
        say(f"sent {name}: {count:,} bytes in {took:.2f} s, {transfer.rate(count, took)}\n  SHA-256 {digest}")
    return EXIT_OK


async def _write(stream: naquid.RawStream, file: IO[bytes], size: int | None, update: Update) -> tuple[int, str]:
    """Writes the file, its checksum and the end. Returns the number of bytes and the checksum."""
    count, digest = 0, sha256()
    while size is None or count < size:
        most = transfer.CHUNK if size is None else min(transfer.CHUNK, size - count)
        # What may block is read in a thread: the connection goes on meanwhile.
        chunk = await asyncio.to_thread(file.read, most) if size is None else file.read(most)
        if not chunk:
            break
        digest.update(chunk)
        stream.write(chunk)
        count += len(chunk)
        update(count)
        await stream.drain()
    if size is not None and count != size:
        raise CommandError(f"the file became shorter while it was sent: {count:,} of {size:,} bytes were read")
    stream.write(digest.digest())
    stream.write_eof()
    return count, digest.hexdigest()


def _refused(answer: dict[str, object]) -> None:
    if "error" in answer:
        raise CommandError(f"the receiver refused: {answer['error']}")
