"""Endpoint: a server and any number of clients on one UDP port."""

from __future__ import annotations

import contextvars
import socket
from collections.abc import Generator
from types import TracebackType

from .client import Connecting
from .config import ALPN, Blob, ClientConfig, Password, ServerConfig
from .connection import Connection
from .event_loop import LoopStats
from .handlers import Apps, Handlers
from .server import Server, Serving

__all__ = ["Endpoint"]


class Endpoint:
    """One UDP port on which this side takes connections and makes them, as peers do that know each other's address:

        async with naquid.Endpoint("0.0.0.0", 8443, app=app, cert="cert.pem", key="key.pem") as endpoint:
            conn = await endpoint.connect("peer.example", 8443, ca="ca.pem")

    host: a numeric address or a name of this machine; an address of IPv4 reaches IPv4 only, "::" reaches both. port: 0
    lets the system choose. cert, key, password: as for `serve`; without them it takes no connections and is a client
    with a port of its own choice. app: handlers of the connections it takes, or a dict of them by ALPN name as
    `serve` has; and of those it makes, unless `connect` is given others. context: as for `serve`, of the connections
    that it takes. sock: a bound UDP socket, as for `serve`; a client that is to send from one of its own is an endpoint
    without a certificate.

    Opening raises as `serve` does. At the end of the block the endpoint is shut down with all its connections.
    """

    def __init__(
        self,
        host: str = "::",
        port: int = 0,
        *,
        app: Apps | None = None,
        cert: Blob | None = None,
        key: Blob | None = None,
        password: Password | None = None,
        config: ServerConfig | None = None,
        sock: socket.socket | int | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        self._app: Apps = app if app is not None else Handlers()
        self._serving = Serving(
            self._app, host, port, cert, key, config, password=password, optional=True, sock=sock, context=context
        )
        self._server: Server | None = None

    def __await__(self) -> Generator[object, None, Endpoint]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Endpoint:
        if self._server is None:
            self._server = await self._serving
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.__aexit__(kind, error, trace)

    def connect(
        self,
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
        """Connects from this endpoint's port, as `naquid.connect` does from one of the system's choice: `async with`
        or `await`. Raises OSError for a host that has no address of the endpoint's family."""
        if app is None:
            app = self._handlers(alpn)
        return Connecting(host, port, ca, app, config, insecure, alpn, self._opened, context=context)

    def _handlers(self, alpn: str | None) -> Handlers | None:
        """Those that connections made here have unless they are given others."""
        if isinstance(self._app, Handlers):
            return self._app
        return self._app.get(ALPN[0] if alpn is None else alpn)

    @property
    def port(self) -> int:
        """The UDP port, 0 once it is closed."""
        return self._opened.port

    @property
    def address(self) -> tuple[str, int] | None:
        """(host, port) it is bound to, None once it is closed."""
        return self._opened.address

    @property
    def connections(self) -> frozenset[Connection]:
        """The connections that are open now, in both roles: see `Connection.is_client`."""
        return self._opened.connections

    def stats(self) -> LoopStats:
        """Counters of the event loop's engine (`naquid.loop_stats`)."""
        return self._opened.stats()

    async def shutdown(self, grace: float = 5.0) -> None:
        """Ends the endpoint and all its connections in order, as `Server.shutdown` does."""
        await self._opened.shutdown(grace)

    def close(self) -> None:
        """Ends the endpoint at once: connections are closed without sending what is queued."""
        self._opened.close()

    async def wait_closed(self) -> None:
        """Waits until the endpoint has ended."""
        await self._opened.wait_closed()

    def __repr__(self) -> str:
        return f"<naquid.Endpoint {self._server!r}>"

    @property
    def _opened(self) -> Server:
        if self._server is None:
            raise RuntimeError("the endpoint is not open yet: use it in `async with`, or await it")
        return self._server
