"""connect(): the client's side of a connection."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Generator
from functools import lru_cache
from types import NoneType, TracebackType
from typing import TYPE_CHECKING, Any

from . import _naquid, event_loop
from ._net.race import Race
from ._net.resolve import Address, host_name, reachable_from, resolve
from ._net.tls_cache import client_context
from .config import Blob, ClientConfig, check_blob, check_host, check_type
from .connection import Connection, chosen_context, opened
from .errors import ConfigError, HandshakeFailed
from .handlers import Handlers, compile_for
from .logs import where
from .reconnect import Reconnector
from .roaming import track

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Connecting", "connect"]

logger = logging.getLogger("naquid")

_DEFAULT = ClientConfig()


def connect(
    host: str,
    port: int,
    *,
    ca: Blob | None = None,
    app: Handlers | None = None,
    config: ClientConfig | None = None,
    insecure: bool = False,
    alpn: str | None = None,
    context: contextvars.Context | None = None,
) -> Connecting:
    """Connects to a QUIC server: `async with connect(...) as conn`, or `conn = await connect(...)`.

    host: a name or a numeric address. A name with several addresses is tried in the resolver's order, the next one
    `ClientConfig.attempt_delay` seconds after one that does not answer (RFC 8305). ca: what the server's certificate
    must be signed by; None trusts the system's roots. insecure: accept any certificate, which protects against nobody
    who can touch the packets; a warning is logged, once for each host and port. app: handlers for what the server opens
    and sends. alpn: the application protocol that is wanted (RFC 7301), of those that the server has; None is what
    `TlsConfig.alpn` says, "nq/1" by default. context: the handlers of the connection run in a `contextvars` context of
    its own, a copy of this one; None: of the one in which `connect` is called.

    Awaiting raises HandshakeFailed, ResolveError, ConfigError (a bad `ca`, an argument out of range), OSError.
    """
    return Connecting(host, port, ca, app, config, insecure, alpn, context=context)


class Connecting:
    """A connection to be made: await it, or use it in `async with`."""

    __slots__ = (
        "_alpn",
        "_app",
        "_ca",
        "_config",
        "_connection",
        "_context",
        "_host",
        "_insecure",
        "_port",
        "_server",
    )

    def __init__(
        self,
        host: str,
        port: int,
        ca: Blob | None,
        app: Handlers | None,
        config: ClientConfig | None,
        insecure: bool,
        alpn: str | None = None,
        server: Server | None = None,
        *,
        context: contextvars.Context | None = None,
    ) -> None:
        check_host(host)
        if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
            raise ConfigError(f"port {port!r}: use 1 to 65535")
        check_blob("ca", ca)
        check_type("app", app, (Handlers, NoneType), "a naquid.Handlers or None")
        check_type("config", config, (ClientConfig, NoneType), "a naquid.ClientConfig or None")
        check_type("insecure", insecure, bool, "True or False")
        if alpn is not None and (not isinstance(alpn, str) or not 1 <= len(alpn.encode()) <= 255):
            raise ConfigError(f"alpn is {alpn!r:.80}: it must be one ALPN name, a str of 1 to 255 bytes, or None")
        self._context = chosen_context(context)
        self._host = host
        self._port = port
        self._ca = ca
        self._alpn = alpn
        self._app = app
        self._config = config if config is not None else _DEFAULT
        self._server = server
        self._insecure = insecure
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._connect().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._connect()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _connect(self) -> Connection:
        config = self._config
        if self._insecure:
            _warn(self._host, self._port)
        settings = config.tls
        tls = client_context(
            ca=settings.ca if self._ca is None else self._ca,
            insecure=self._insecure,
            cert=settings.cert,
            key=settings.key,
            password=settings.password,
            alpn=settings.alpn if self._alpn is None else (self._alpn,),
            groups=settings.groups,
            ciphersuites=settings.ciphersuites,
            keylog=settings.keylog,
        )
        if self._app is None:
            app = _no_handlers(config.call_timeout, config.limits.max_handler_tasks)
        else:
            app = compile_for(self._alpn, self._app, config.call_timeout, config.limits.max_handler_tasks, "connect()")
        limits = config.limits._engine()
        name = host_name(config.server_name or self._host)
        attempts = _Attempts(config, app, tls, name, limits, self._server, self._context)
        connection = await attempts.run(await self._resolve())
        if config.reconnect is not None:
            connection._keep(Reconnector(config.reconnect, self._resolve, config.attempt_delay))
        engine = connection._engine
        if config.track_network and engine is not None and engine.sim is None:
            connection._tracker = track(connection)
        return connection

    async def _resolve(self) -> list[Address]:
        addresses = await resolve(self._host, self._port, self._config.limits.handshake_timeout)
        bound = self._server.addresses if self._server is not None else ()
        return reachable_from([host for host, _ in bound], addresses) if bound else addresses


@lru_cache(maxsize=64)
def _no_handlers(call_timeout: float, max_tasks: int) -> _naquid.AppCore:
    return Handlers()._compile(call_timeout, max_tasks)


_warned: set[Address] = set()


def _warn(host: str, port: int) -> None:
    if (host, port) not in _warned:
        if len(_warned) >= 1024:
            _warned.clear()
        _warned.add((host, port))
        logger.warning("insecure=True: the certificate of %s port %d is not verified", host, port)


class _Attempts:
    """Tries addresses, the next one a little later, until one answers."""

    def __init__(
        self,
        config: ClientConfig,
        app: _naquid.AppCore,
        tls: _naquid.Tls,
        name: str,
        limits: _naquid.EngineLimits,
        server: Server | None,
        context: contextvars.Context,
    ) -> None:
        self.config = config
        self.context = context
        self.app = app
        self.tls = tls
        self.name = name
        self.limits = limits
        self.server = server

    def start(self, address: Address, alone: bool) -> Connection:
        """Begins to connect. alone: no other attempt may win instead, so that handlers may see the connection."""
        logger.debug("connecting to %s", where(address))
        connection = Connection()
        connection._busy_poll = self.config.busy_poll
        engine = connection._engine = event_loop.acquire(self.config.busy_poll, getattr(self.server, "_engine", None))
        try:
            connection._connect(
                engine,
                *address,
                self.name,
                self.tls,
                self.app,
                self.limits,
                not alone,
                self.config.version,
                None if self.server is None else self.server._reaching(address[0]),
                self.context,
            )
        except BaseException:
            connection._released()
            raise
        return connection

    def start_task(self, address: Address, alone: bool) -> asyncio.Task[Connection]:
        return asyncio.ensure_future(opened(self.start(address, alone)))

    async def run(self, addresses: list[Address]) -> Connection:
        if len(addresses) == 1:
            return await opened(self.start(addresses[0], True))
        race = Race(addresses, self.start_task)
        try:
            while race.start_next():
                timeout = self.config.attempt_delay if race.waiting else None
                done, _ = await asyncio.wait(race.running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    refusal = task.exception()
                    if refusal is None:
                        task.result()._announce()
                        race.running.remove(task)
                        return task.result()
                    logger.debug("an attempt to connect to %s failed: %s", self.name, refusal)
                    race.lost(task, refusal)
                    if isinstance(refusal, HandshakeFailed) and refusal.alert is not None:
                        raise refusal  # it is there, and says no
            raise race.failure or HandshakeFailed("no address could be tried")
        finally:
            for task in race.running:
                task.add_done_callback(_give_up)
                task.cancel()


def _give_up(task: asyncio.Task[Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().abort()
