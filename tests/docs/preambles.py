"""What pages of the documentation may take for granted. `<!-- test: preamble NAME -->` asks for a function of these.
They are given the page's folder and the port that stands for 8443.

Every page's folder has the files of `naquid cert --out .`: ca.pem, cert.pem, key.pem, until the page itself makes them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import naquid
from naquid.cli.certificates import create

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="naquid-docs-"))
    create(folder)
    return folder


def certificates(folder: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        shutil.copy(_made() / name, folder / name)


def no_certificates(folder: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).unlink()


def environment(folder: Path) -> dict[str, str]:
    """With `naquid` and `python` of this interpreter."""
    programs = folder / ".bin"
    programs.mkdir()
    for name, arguments in (("python", [sys.executable]), ("naquid", [sys.executable, "-m", "naquid"])):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(arguments)} "$@"\n')
        (programs / name).chmod(0o755)
    (folder / ".tmp").mkdir()
    path = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(folder / ".tmp"),
        "COLUMNS": "100",
        "SDL_VIDEODRIVER": "dummy",  # pygame draws, and nobody looks
        "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    }


def heed_interrupts() -> None:
    """In a new process: Ctrl-C counts, also where the tests were started in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.asynccontextmanager
async def echo(folder: Path, _: int) -> AsyncIterator[dict[str, Any]]:
    """`server` at `port`, which sends back RPC "echo", records "records", raw "bytes" and datagrams; `conn` to it."""
    app = naquid.Handlers()

    @app.rpc("echo")
    def request(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload

    @app.stream("records")
    async def records(stream: naquid.Stream) -> None:
        async for record in stream:
            await stream.send(record)

    @app.raw_stream("bytes")
    async def raw(stream: naquid.RawStream) -> None:
        while chunk := await stream.read(1 << 16):
            stream.write(chunk)
            await stream.drain()

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        conn.send_datagram(data)

    files: dict[str, Any] = {name: folder / f"{name}.pem" for name in ("cert", "key")}
    async with (
        naquid.serve(app, "127.0.0.1", 0, **files) as server,
        naquid.connect("127.0.0.1", server.port, ca=folder / "ca.pem") as conn,
    ):
        yield {"naquid": naquid, "server": server, "conn": conn, "port": server.port}


@contextlib.asynccontextmanager
async def plugin(folder: Path, _: int) -> AsyncIterator[dict[str, Any]]:
    """The pytest plugin where naquid is not installed but used from its tree."""
    names = "_naquid_leaf, naquid_ca, naquid_client, naquid_network, naquid_relay, naquid_server"
    (folder / "conftest.py").write_text(f"from naquid.testing.plugin import {names}  # noqa: F401\n")
    yield {}


@contextlib.asynccontextmanager
async def capi_echo(folder: Path, port: int) -> AsyncIterator[dict[str, Any]]:
    """A server in a thread of its own, which sends back what it is asked on RPC streams "rpc"."""
    from naquid import capi

    server = capi.nq_server_create(1)
    assert server is not None
    address = capi.nq_addr_t("127.0.0.1", cert=folder / "cert.pem", key=folder / "key.pem", port=port)
    handlers = capi.nq_server_listen(server, address, None)
    assert handlers is not None
    echo = capi.nq_rpc_handler_t(on_rpc_request=lambda rpc, type, msgid, data: capi.nq_rpc_reply(rpc, msgid, data))
    capi.nq_hdmap_rpc_handler(handlers, "rpc", echo)
    capi.nq_server_start(server, False)
    yield {}
    capi.nq_server_join(server)
