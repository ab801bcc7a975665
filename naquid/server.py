"""serve(): the server's side."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import logging
import socket
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, cast

from . import _naquid, event_loop
from ._net.resolve import local_addresses
from ._net.sockets import Given
from .config import ALPN, Blob, Password, ServerConfig, check_blob, check_host, check_password, check_type
from .connection import Connection, chosen_context
from .errors import ConfigError, Error
from .event_loop import LoopStats
from .handlers import Apps, Handlers, check_apps, compile_apps
from .logs import where

__all__ = ["Server", "Serving", "serve"]

logger = logging.getLogger("naquid.server")

LAST_WAIT = 1.0
"""Seconds for which handlers that were cancelled are waited for."""
PORTS = 16  # that are tried when one is wanted that is free at every address of a name


def serve(
    app: Apps,
    host: str = "::",
    port: int = 0,
    *,
    cert: Blob | None = None,
    key: Blob | None = None,
    password: Password | None = None,
    config: ServerConfig | None = None,
    sock: socket.socket | int | None = None,
    context: contextvars.Context | None = None,
) -> Serving:
    """Listens on a UDP address: `async with serve(...) as server`, or `server = await serve(...)`.

    app: the handlers of all connections; or a dict of them by ALPN name (RFC 7301), the one that the server likes best
    first: `serve({"nq/1": app, "chat/2": other})`. Each name then has handlers of its own, and clients say by
    `connect(..., alpn=...)` which they want. Where a name does not begin with "nq/" and its handlers have no names,
    streams are bare bytes, as other QUIC implementations expect.
    host: a numeric address or a name of this machine ("0.0.0.0": all of IPv4, "::": all of both); of a name with
    several addresses, as "localhost", it listens on each. port: 0 lets the system choose; `Server.port` tells. cert,
    key: path, PEM bytes, DER bytes or PKCS#12; required, here or in `ServerConfig.tls`; key may be left out when cert
    holds it.
    password: opens an encrypted key or PKCS#12, a str, bytes, or a callable that returns one of these. Files that are
    replaced while the server runs are read again for the clients that come after.
    sock: a UDP socket that is bound already, or its descriptor, such as one of a service manager's; host and port are
    left out then. The server uses a duplicate of it and leaves the caller's open, from which nobody may read meanwhile.
    context: every handler of a connection runs in the `contextvars` context of that connection, a copy of this one that
    is made when it opens; a coroutine handler in a copy of that. None: of the context in which `serve` is called.

    Awaiting raises ConfigError (certificate, key, an argument out of range), OSError (the port is in use, no such
    address), ResolveError.
    """
    return Serving(app, host, port, cert, key, config, password=password, sock=sock, context=context)


class Server(_naquid.BaseServer):
    """A listening server. Its handlers run in the event loop that made it."""

    __slots__ = ("_busy_poll", "_ended", "_engine", "_given", "_others")

    _engine: _naquid.Loop | None  # held since event_loop.acquire
    _busy_poll: int  # the argument of that call, which release() needs too
    _ended: asyncio.Event
    _given: Given | None  # the socket that it was given
    _others: list[_naquid.BaseServer]  # those that listen on the further addresses of its name

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """(host, port) of every address it listens on: a name may have several. `address` is the first."""
        return tuple(address for one in self._listening() if (address := one.address) is not None)

    @property
    def port(self) -> int:
        """The UDP port it listens on, 0 once it is closed."""
        address = self.address
        return address[1] if address is not None else 0

    @property
    def connections(self) -> frozenset[Connection]:
        """The connections that are open now."""
        return frozenset().union(*(one.live for one in self._listening()))

    def stats(self) -> LoopStats:
        """Counters of the event loop's engine (`naquid.loop_stats`). Raises naquid.Error once the server is closed."""
        if self._engine is None:
            raise Error("the server is closed")
        return cast(LoopStats, self._engine.stats())

    async def shutdown(self, grace: float = 5.0) -> None:
        """Ends the server in order, with `grace` seconds for its handlers. New clients are refused at once, and no new
        request, notification or stream is begun: it waits, and ends with the connection. (Handlers in C go on.)

        Coroutine handlers that run have three quarters of `grace` to end, and their replies are delivered; requests
        that are not answered then are cancelled, which answers them with an error. Every connection is closed, with
        what it has queued sent (code 8). `on_disconnect` handlers, and others that learn of the end and tidy up, have
        what is left of `grace`; then they are cancelled, and waited for, for at most a second. At last the sockets are
        closed. Calling it again does nothing but wait.
        """
        if not grace >= 0:
            raise ValueError(f"grace is {grace} seconds: it must be 0 or more")
        if not self.closed:
            time = asyncio.get_running_loop().time
            end = time() + grace
            for one in self._listening():
                one._refuse()
            self._begin_nothing()
            await _all_end(lambda: self._tasks, end - grace / 4 - time())
            for task in self._requests:
                task.cancel()
            await _all_end(lambda: self._requests, min(end - grace / 8 - time(), LAST_WAIT))
            for connection in self.connections:
                connection._close(_naquid.CODE_SHUTDOWN, "the server shuts down", False)
            try:
                for one in self._listening():
                    while (waiter := one._idle_wait()) is not None:
                        await waiter
                await _all_end(lambda: self._tasks, end - time())
                for task in self._tasks - {asyncio.current_task()}:
                    task.cancel()
                await _all_end(lambda: self._tasks, LAST_WAIT)
            finally:
                self._end_all()
        await self.wait_closed()

    def close(self) -> None:
        """Ends the server at once: connections are closed without sending what is queued."""
        if not self.closed:
            for connection in self.connections:
                connection.abort(_naquid.CODE_SHUTDOWN, "the server shuts down")
            asyncio.get_running_loop().call_soon(self._end_all)

    def is_serving(self) -> bool:
        """True until the server is closed, or a socket of it is broken: then nothing comes through it any more. The
        log tells why."""
        return not self.closed and all(one._broken() == 0 for one in self._listening())

    async def serve_forever(self) -> None:
        """Waits until the server has ended; when the waiting task is cancelled, ends it at once."""
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            self.close()
            await self._ended.wait()
            raise

    async def wait_closed(self) -> None:
        """Waits until the server has ended."""
        await self._ended.wait()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown(grace=0.0 if kind is not None else 5.0)

    def __repr__(self) -> str:
        return f"<naquid.Server at {self.address} with {len(self.connections)} connections>"

    def _where(self) -> str:
        return ", ".join(map(where, self.addresses))

    def _listening(self) -> tuple[_naquid.BaseServer, ...]:
        return self, *self._others

    def _reaching(self, host: str) -> _naquid.BaseServer:
        """Whose socket a numeric address is reached from."""
        for one in self._listening():
            bound = one.address
            if bound is not None and (":" in bound[0]) == (":" in host):
                return one
        return self

    def _end_all(self) -> None:
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        if not self.closed:
            logger.info("the server on %s is closed", self._where())
        for one in self._listening():
            one._end()
        if self._given is not None:
            self._given.release()
        self._ended.set()
        engine = self._engine
        if engine is not None:
            self._engine = None
            event_loop.release(engine, self._busy_poll)


async def _all_end(tasks: Callable[[], set[asyncio.Task[Any]]], seconds: float) -> None:
    """Waits until there are no such tasks but the current one; those that are new meanwhile are waited for, too."""
    time = asyncio.get_running_loop().time
    end = time() + seconds
    for _ in range(2):  # tasks that were just cancelled end in one turn, and what follows from that is done in the next
        await asyncio.sleep(0)
    while waiting := tasks() - {asyncio.current_task()}:
        if time() >= end:
            break
        await asyncio.wait(waiting, timeout=end - time())
        await asyncio.sleep(0)


class Serving:
    """A server to be made: await it, or use it in `async with`."""

    __slots__ = (
        "_alpn",
        "_app",
        "_cert",
        "_config",
        "_context",
        "_host",
        "_key",
        "_password",
        "_port",
        "_server",
        "_sock",
    )

    def __init__(
        self,
        app: Apps,
        host: str,
        port: int,
        cert: Blob | None,
        key: Blob | None,
        config: ServerConfig | None,
        *,
        password: Password | None = None,
        optional: bool = False,
        sock: socket.socket | int | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        check_apps(app)
        check_host(host)
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise ConfigError(f"port {port!r}: use 0 to 65535")
        if config is None:
            config = ServerConfig()
        check_type("config", config, ServerConfig, "a naquid.ServerConfig or None")
        check_blob("cert", cert)
        check_blob("key", key)
        check_password(password)
        self._context = chosen_context(context)
        if sock is not None and (host, port) != ("::", 0):
            raise ConfigError("sock has an address of its own: leave host and port out")
        self._sock = sock
        self._alpn = config.tls.alpn
        if not isinstance(app, Handlers):
            if config.tls.alpn != ALPN:
                raise ConfigError("the ALPN names are the keys of the dict of handlers: leave TlsConfig.alpn out")
            self._alpn = tuple(app)
        self._app = app
        self._host = host
        self._port = port
        self._cert = cert if cert is not None else config.tls.cert
        self._key = key if key is not None else config.tls.key
        self._password = password if password is not None else config.tls.password
        self._config = config
        self._server: Server | None = None
        if self._cert is None and not (optional and self._key is None):
            raise ConfigError("a server needs cert= and key=: `naquid cert` makes a pair for development")

    def __await__(self) -> Generator[Any, None, Server]:
        return self._serve().__await__()

    async def __aenter__(self) -> Server:
        self._server = await self._serve()
        return self._server

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.__aexit__(kind, error, trace)

    async def _serve(self) -> Server:
        config = self._config
        settings = config.tls
        tls = None
        if self._cert is not None:
            tls = _naquid.Tls(
                server=True,
                cert=self._cert,
                key=self._key,
                ca=settings.ca,
                verify_client=settings.verify_client,
                alpn=self._alpn,
                groups=settings.groups,
                ciphersuites=settings.ciphersuites,
                keylog=settings.keylog,
                password=self._password,
            )
        most = config.limits.max_handler_tasks
        server_most = 16 * most if config.max_handler_tasks is None else config.max_handler_tasks
        app = compile_apps(self._app, config.call_timeout, most, server_most)
        hosts = []
        if self._sock is None:
            hosts = await local_addresses(self._host, self._port, config.limits.handshake_timeout)
        engine = event_loop.acquire(config.busy_poll)
        try:
            server = self._open(hosts, engine, tls, app) if self._sock is None else self._open_given(engine, tls, app)
        except BaseException:
            event_loop.release(engine, config.busy_poll)
            raise
        server._ended = asyncio.Event()
        server._busy_poll = config.busy_poll
        server._engine = engine
        logger.info("serving on %s, %s", server._where(), ", ".join(self._alpn))
        return server

    def _open(self, hosts: list[str], engine: _naquid.Loop, tls: _naquid.Tls | None, app: _naquid.AppCore) -> Server:
        """Listens on every address of the name, on one port. Those that this machine has not are left out, unless it
        has none."""
        for left in reversed(range(PORTS)):
            opened: list[_naquid.BaseServer] = []
            failure: OSError | None = None
            for host in hosts:
                one = _naquid.BaseServer() if opened else Server()
                port = opened[0].address[1] if opened and opened[0].address else self._port
                try:
                    self._listen(one, engine, host, port, tls, app)
                except OSError as error:
                    failure = error
                    if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                        break
                else:
                    opened.append(one)
            else:
                if opened:
                    server = cast(Server, opened[0])
                    server._others = opened[1:]
                    server._given = None
                    return server
            for one in opened:
                one._end()
            # The system chose a port for the first address that another program has at the second.
            if not (left and opened and self._port == 0 and failure is not None and failure.errno == errno.EADDRINUSE):
                break
        raise failure or OSError(f"{self._host!r} has no address that this machine can listen on")

    def _open_given(self, engine: _naquid.Loop, tls: _naquid.Tls | None, app: _naquid.AppCore) -> Server:
        """Listens on the socket that was given."""
        assert self._sock is not None
        if engine.sim is not None:
            raise ConfigError("sock: a simulated network has no sockets of the system")
        given = Given(self._sock)
        try:
            server = Server()
            self._listen(server, engine, "0.0.0.0", 0, tls, app, given.fd)
        except BaseException:
            given.release()
            raise
        given.opened()
        server._given = given
        server._others = []
        return server

    def _listen(
        self,
        one: _naquid.BaseServer,
        engine: _naquid.Loop,
        host: str,
        port: int,
        tls: _naquid.Tls | None,
        app: _naquid.AppCore,
        sock: int = -1,
    ) -> None:
        config = self._config
        limits = config.limits._engine()
        one._listen(
            engine, host, port, tls, app, limits, Connection, config.always_retry, config.secret, self._context, sock
        )
