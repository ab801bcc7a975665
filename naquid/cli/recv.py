"""`naquid recv`: files from `naquid send`, into a folder."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from . import transfer
from .arguments import Commands, add_command, add_json, add_server, positive
from .client import server_config
from .console import Update, transferred
from .errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, CommandError
from .signals import stop_event
from .stdio import say

if TYPE_CHECKING:
    import naquid

EPILOG = """\
Listens, and writes each file that `naquid send` brings into a folder. Names with a path, hidden names and names that
are taken are refused (--force: a file that exists is replaced). A file gets its name when all of it is there and its
SHA-256 is right. Of an interrupted transfer of a file a hidden .naquid-NAME.part stays for a day, with which the sender
can go on; of any other nothing remains. Whoever reaches the port may write here: --client-ca lets
in only those with a certificate. Ends on Ctrl-C or SIGTERM, or after --count transfers; then the exit code is 1 when
one of them failed.

examples:
  naquid recv --cert certs/cert.pem --key certs/key.pem --out incoming
  naquid recv --host :: --cert cert.pem --key key.pem --client-ca ca.pem --count 1 --json
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = add_command(commands, "recv", "receive files from naquid send", run, EPILOG)
    add_server(command, 8444)
    command.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="default: this folder")
    command.add_argument("--force", action="store_true", help="replace files that exist")
    command.add_argument("--count", type=positive(int), metavar="N", help="end after N transfers")
    add_json(command, "print one JSON object a line: where it listens, then each transfer")


class Receiver:
    """Takes the streams of all clients; counts what ended well and what did not."""

    def __init__(self, options: argparse.Namespace, enough: asyncio.Event) -> None:
        self._options = options
        self._enough = enough
        self._busy: set[str] = set()
        self.good = self.bad = 0

    async def stream(self, stream: naquid.RawStream) -> None:
        """One transfer."""
        import naquid

        remote = stream.connection.remote_address
        who = f"{remote[0]} port {remote[1]}" if remote else "a client"
        name, error = "?", ""
        try:
            head = await transfer.read_line(stream)
            name = transfer.safe_name(head.get("name"))
            await self._receive(stream, transfer.Offer.read(head))
        except (naquid.ConnectionError, naquid.StreamError) as failure:
            error = f"the transfer was interrupted: {failure}"
        except (CommandError, OSError) as failure:
            error = failure.strerror or str(failure) if isinstance(failure, OSError) else str(failure)
            with suppress(naquid.Error):
                transfer.write_line(stream, error=error)
                stream.write_eof()
                stream.stop_sending(transfer.STOPPED)
        except asyncio.CancelledError:
            error = "the transfer was interrupted"
            raise
        finally:
            self._ended(name, who, error)

    async def _receive(self, stream: naquid.RawStream, offer: transfer.Offer) -> None:
        import naquid

        folder: Path = self._options.out
        name, size = offer.name, offer.size
        needed = offer.about if size is None else size
        if needed is not None and not offer.holes and needed > shutil.disk_usage(folder).free:
            raise CommandError(f"there is no room for {transfer.size_text(needed)}")
        if name in self._busy:
            raise CommandError(f"{name!r} is being received already")
        self._busy.add(name)
        resumed = 0
        try:
            with transfer.Incoming(folder, name, self._options.force, offer) as file:
                try:
                    resumed = await _agree(stream, file)
                    begin = time.perf_counter()
                    with transferred(f"receiving {name}", needed or None, self._options.json) as update:
                        digest = await _write(stream, file, size, update)
                    took = time.perf_counter() - begin
                except (naquid.ConnectionError, naquid.StreamError, asyncio.CancelledError):
                    file.leave()
                    raise
            transfer.write_line(stream, bytes=file.bytes, sha256=digest)
            stream.write_eof()
        finally:
            self._busy.discard(name)
        if self._options.json:
            shown = {**transfer.fields(name, file.bytes, took, digest), "path": str(file.path), "resumed": resumed}
            print(json.dumps(shown), flush=True)
        else:
            speed = transfer.rate(file.bytes - resumed, took)
            say(f"{file.path}: {file.bytes:,} bytes in {took:.2f} s, {speed}\n  SHA-256 {digest}", flush=True)

    def _ended(self, name: str, who: str, error: str) -> None:
        if error:
            self.bad += 1
            if self._options.json:
                print(json.dumps({"name": name, "from": who, "error": error}), flush=True)
            say(f"naquid: {name!r} from {who}: {error}", sys.stderr, flush=True)
        else:
            self.good += 1
        if self._options.count is not None and self.good + self.bad >= self._options.count:
            self._enough.set()


async def _agree(stream: naquid.RawStream, file: transfer.Incoming) -> int:
    """Accepts the offer; where the transfer begins."""
    if not file.have:
        transfer.write_line(stream, accept=True)
        return 0
    transfer.write_line(stream, accept=True, have=file.have)
    same = (await transfer.read_line(stream)).get("sha256")
    begin = await asyncio.get_running_loop().run_in_executor(None, file.resume, same)
    transfer.write_line(stream, **{"from": begin})
    return begin


async def _write(stream: naquid.RawStream, file: transfer.Incoming, size: int | None, update: Update) -> str:
    """Reads to the end, while a thread writes what came before: the disk may be slow, the connection must not be.
    Returns the checksum."""
    loop = asyncio.get_running_loop()
    writing = loop.run_in_executor(None, file.feed, b"")
    received = 0
    while chunk := await stream.read(transfer.CHUNK):
        received += len(chunk)
        if size is not None and received > size + transfer.DIGEST:
            raise CommandError(f"more bytes came than the {size:,} that were announced")
        await writing
        writing = loop.run_in_executor(None, file.feed, chunk)
        update(file.bytes)
    await writing
    update(file.bytes)
    return await loop.run_in_executor(None, file.keep, size)


def run(options: argparse.Namespace) -> int:
    if not options.out.is_dir():
        raise CommandError(f"{options.out} is no folder: make it, or choose another with --out")
    transfer.clean(options.out)
    return asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    import naquid

    enough = asyncio.Event()
    receiver = Receiver(options, enough)
    app = naquid.Handlers()
    app.raw_stream(transfer.STREAM)(receiver.stream)
    config = server_config(options)
    with stop_event() as stopped:
        async with naquid.serve(
            app, options.host, options.port, cert=options.cert, key=options.key, config=config
        ) as server:
            if options.json:
                print(json.dumps({"host": options.host, "port": server.port}), flush=True)
            else:
                where = f"{options.host}, UDP port {server.port}"
                say(f"listening on {where}, writing to {options.out}; end with Ctrl-C", flush=True)
            waits = [asyncio.ensure_future(event.wait()) for event in (enough, stopped)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            await server.shutdown(grace=5.0 if enough.is_set() else 0.0)
    if options.count is None:
        return EXIT_OK
    if not enough.is_set():
        return EXIT_INTERRUPTED
    return EXIT_FAILED if receiver.bad else EXIT_OK
