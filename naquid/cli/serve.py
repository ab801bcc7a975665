"""`naquid serve`: a server that sends back what it gets, or a program's own."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .arguments import Commands, add_busy_poll, add_command, add_json, add_server, positive, stream_name
from .client import server_config
from .errors import EXIT_OK, CommandError, UsageError
from .signals import ENDING, stop_event
from .stdio import say

if TYPE_CHECKING:
    import naquid
    from naquid import capi

IDLE = 30.0  # seconds

EPILOG = """\
Without APP: an echo. Requests of the RPC stream --name are answered with their payload, records of the stream "echo",
raw streams and datagrams are sent back.

APP is module:object, found as `python -m` would find the module:
  * a naquid.Handlers runs in an asyncio event loop, which is one thread;
  * a function is called once with the handler map of naquid.capi (nq_hdmap_t) and adds plain handlers to it.

--workers N: N native threads of one process share the port by SO_REUSEPORT, each with connections of its own; datagrams
are steered to their worker by connection ID. Packets, TLS and timers run in parallel, Python handlers one at a time
(unless Python is free-threaded). Needs plain handlers: the echo of requests and records, or a function as APP. Worker
processes are not offered: they cannot steer by connection ID between each other.

Ends in order on Ctrl-C or SIGTERM.

examples:
  naquid cert --out certs && naquid serve --cert certs/cert.pem --key certs/key.pem
  naquid serve --host :: --port 8443 --workers 4 --cert cert.pem --key key.pem
  naquid serve game.server:app --cert cert.pem --key key.pem --client-ca ca.pem
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = add_command(commands, "serve", "run a server: an echo, or your own handlers", run, EPILOG)
    command.add_argument("app", nargs="?", metavar="APP", help="module:object; default: an echo")
    add_server(command, 8443)
    command.add_argument("--name", type=stream_name, default="rpc", help='RPC stream of the echo; default: "rpc"')
    command.add_argument("--workers", type=positive(int), default=1, metavar="N", help="threads, 1 to 128; default: 1")
    add_busy_poll(command)
    command.add_argument("-v", "--verbose", action="store_true", help="a line on stderr for each connection (echo)")
    add_json(command, "say where it listens as one JSON object")


def run(options: argparse.Namespace) -> int:
    if options.workers > 128:
        raise UsageError("--workers is 1 to 128")
    import naquid

    app = load(options.app) if options.app else None
    if isinstance(app, naquid.Handlers) or (app is None and options.workers == 1):
        if options.workers > 1:
            raise UsageError(
                f"{options.app} is a naquid.Handlers, which runs in one event loop: leave --workers out, "
                "or name a function that fills a handler map of naquid.capi"
            )
        asyncio.run(_serve(options, app or echo(options)))
    else:
        _work(options, app or echo_setup(options))
    return EXIT_OK


def load(spec: str) -> Any:
    """The object that module:object names. Raises CommandError."""
    module_name, colon, path = spec.partition(":")
    if not colon or not module_name or not path:
        raise UsageError(f"{spec!r}: APP is module:object")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise CommandError(
                f"there is no module {error.name!r} here: run it in the folder of your program"
            ) from None
        raise CommandError(f"the module {module_name!r} needs {error.name!r}, which is not installed") from None
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(last.filename)}, line {last.lineno}"
        raise CommandError(f"importing {module_name!r} raised {type(error).__name__}: {error} ({place})") from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CommandError(f"the module {module_name!r} has no {path!r}") from None
    import naquid

    if not isinstance(found, naquid.Handlers) and (isinstance(found, type) or not callable(found)):
        raise CommandError(f"{spec} is neither a naquid.Handlers nor a function that takes a handler map")
    return found


def _announce(options: argparse.Namespace, host: str, port: int) -> None:
    if options.json:
        print(json.dumps({"host": host, "port": port, "workers": options.workers}), flush=True)
    else:
        workers = f", {options.workers} workers" if options.workers > 1 else ""
        say(f"listening on {host}, UDP port {port}{workers}; end with Ctrl-C", flush=True)


# ---- asyncio ----


def echo(options: argparse.Namespace) -> naquid.Handlers:
    """Sends everything back."""
    import naquid

    app = naquid.Handlers()

    @app.rpc(options.name)
    def request(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload

    if options.name != "echo":

        @app.stream("echo")
        async def records(stream: naquid.Stream) -> None:
            async for record in stream:
                await stream.send(record)

    if options.name != "raw":

        @app.raw_stream
        async def raw(stream: naquid.RawStream) -> None:
            if stream.is_unidirectional:
                return
            while chunk := await stream.read(1 << 16):
                stream.write(chunk)
                await stream.drain()
            stream.write_eof()

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        conn.send_datagram(data)

    if options.verbose:

        @app.on_connect
        def connected(conn: naquid.Connection) -> None:
            say(f"{_name(conn.remote_address)} connected", sys.stderr, flush=True)

        @app.on_disconnect
        def disconnected(conn: naquid.Connection, error: Exception | None) -> None:
            say(f"{_name(conn.remote_address)} left{f': {error}' if error else ''}", sys.stderr, flush=True)

    return app


def _name(address: tuple[str, int] | None) -> str:
    return f"{address[0]} port {address[1]}" if address else "a client"


async def _serve(options: argparse.Namespace, app: naquid.Handlers) -> None:
    import naquid

    config = server_config(options)
    with stop_event() as stopped:
        async with naquid.serve(
            app, options.host, options.port, cert=options.cert, key=options.key, config=config
        ) as server:
            _announce(options, options.host, server.port)
            await stopped.wait()
            await server.shutdown(grace=2.0)


# ---- native workers ----


def echo_setup(options: argparse.Namespace) -> Callable[[capi.nq_hdmap_t], None]:
    """Sends requests and records back."""

    def setup(handlers: capi.nq_hdmap_t) -> None:
        from naquid import capi

        def request(rpc: capi.nq_rpc_t, type: int, msgid: int, data: bytes) -> None:
            capi.nq_rpc_reply(rpc, msgid, data)

        capi.nq_hdmap_rpc_handler(handlers, options.name, capi.nq_rpc_handler_t(on_rpc_request=request))
        if options.name != "echo":
            records = capi.nq_stream_handler_t(on_stream_record=capi.nq_stream_send)
            capi.nq_hdmap_stream_handler(handlers, "echo", records)

    return setup


def _work(options: argparse.Namespace, setup: Callable[[capi.nq_hdmap_t], None]) -> None:
    from naquid import capi

    if options.client_ca is not None:
        raise UsageError("--client-ca needs the asyncio server: leave --workers out")
    last_error = "the server could not be made"
    serving = False

    def log(text: str) -> None:
        nonlocal last_error
        record = json.loads(text)
        if record.get("_lv") in ("E", "F"):
            last_error = ": ".join(str(record[name]) for name in ("msg", "error") if record.get(name))
            if serving:
                say(f"naquid: {last_error}", sys.stderr, flush=True)

    ended: list[int] = []
    for number in ENDING:
        signal.signal(number, lambda number, _: ended.append(number))
    capi.nq_log_config(capi.nq_logconf_t(callback=log))
    server = capi.nq_server_create(options.workers)
    if server is None:
        raise CommandError(last_error)
    address = capi.nq_addr_t(options.host, cert=options.cert, key=options.key, port=options.port)
    second = capi.nq_time_sec(1)
    conf = capi.nq_svconf_t(
        idle_timeout=int(IDLE * second), handshake_timeout=10 * second, busy_poll=options.busy_poll * 1000
    )
    handlers = capi.nq_server_listen(server, address, conf)
    if handlers is None or handlers.address is None:
        raise CommandError(last_error)
    setup(handlers)
    serving = True
    capi.nq_server_start(server, False)
    _announce(options, options.host, handlers.address[1])
    while not ended:  # not an Event: a signal that comes just before a thread waits for a lock does not wake it
        time.sleep(0.1)
    capi.nq_server_join(server)
