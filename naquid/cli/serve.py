"""`naquid serve`: a server that sends back what it gets."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from typing import TYPE_CHECKING

from .errors import EXIT_OK

if TYPE_CHECKING:
    import naquid

EPILOG = """\
Answers requests of the RPC stream NAME with their payload, and sends back the records of the record stream "echo".
Ends in order on SIGINT or SIGTERM.

example:
  naquid cert --out certs && naquid serve --cert certs/cert.pem --key certs/key.pem
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = commands.add_parser(
        "serve",
        help="a server that echoes",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--host", default="127.0.0.1", help="address to bind; default: 127.0.0.1")
    command.add_argument("--port", type=int, default=8443, help="0: a free one; default: 8443")
    command.add_argument("--cert", required=True, metavar="PEM", help="certificate chain")
    command.add_argument("--key", required=True, metavar="PEM", help="its private key")
    command.add_argument("--name", default="rpc", help='name of the RPC stream; default: "rpc"')
    command.add_argument("--json", action="store_true", help="say where it listens as one JSON object")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    asyncio.run(_serve(options))
    return EXIT_OK


async def _serve(options: argparse.Namespace) -> None:
    import naquid

    app = naquid.Handlers()

    @app.rpc(options.name)
    def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload

    @app.stream("echo")
    async def records(stream: naquid.Stream) -> None:
        async for record in stream:
            await stream.send(record)

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with naquid.serve(app, options.host, options.port, cert=options.cert, key=options.key) as server:
        if options.json:
            print(json.dumps({"host": options.host, "port": server.port}), flush=True)
        else:
            print(f"listening on {options.host}, UDP port {server.port}; end with Ctrl-C", flush=True)
        await ended.wait()
        await server.shutdown(grace=2.0)
