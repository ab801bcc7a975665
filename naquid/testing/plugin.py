"""The pytest plugin: fixtures for programs that use naquid. Their names begin with `naquid_`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .. import client, server
from ..config import ClientConfig, ServerConfig
from ..handlers import Handlers
from .authority import Authority, Issued
from .relay import Relay, Target, address_of
from .sim import SimNetwork

__all__ = [
    "NaquidClient",
    "NaquidNetwork",
    "NaquidRelay",
    "NaquidServer",
    "naquid_ca",
    "naquid_client",
    "naquid_network",
    "naquid_relay",
    "naquid_server",
]


class NaquidServer:
    """The fixture `naquid_server`: call it to serve."""

    def __init__(self, issued: Issued) -> None:
        self.issued = issued
        """The certificate that it shows."""

    def __call__(
        self, app: Handlers, host: str = "127.0.0.1", port: int = 0, *, config: ServerConfig | None = None
    ) -> server.Serving:
        """`naquid.serve` on this machine with a certificate of `naquid_ca`: `async with naquid_server(app) as server`.

        A certificate in `config.tls` goes before it.
        """
        if config is not None and config.tls.cert is not None:
            return server.serve(app, host, port, config=config)
        return server.serve(app, host, port, cert=self.issued.cert, key=self.issued.key, config=config)


class NaquidClient:
    """The fixture `naquid_client`: call it to connect."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    def __call__(
        self, target: Target, *, app: Handlers | None = None, config: ClientConfig | None = None
    ) -> client.Connecting:
        """`naquid.connect` to a server or relay, trusting `naquid_ca`: `async with naquid_client(server) as conn`.

        A `ca` in `config.tls` goes before it.
        """
        host, port = address_of(target)
        ca = self._authority.ca if config is None or config.tls.ca is None else None
        return client.connect(host, port, ca=ca, app=app, config=config)


class NaquidRelay:
    """The fixture `naquid_relay`: call it to put a bad network before a server."""

    def __init__(self) -> None:
        self._made: list[Relay] = []

    def __call__(self, target: Target, **options: Any) -> Relay:
        """A `naquid.testing.Relay` to a server (or another relay) with these options, such as `loss=0.05`. It is closed
        at the end of the test if it was not before."""
        relay = Relay(target, **options)
        self._made.append(relay)
        return relay

    def close(self) -> None:
        """Closes every relay it made."""
        while self._made:
            self._made.pop().close()


class NaquidNetwork:
    """The fixture `naquid_network`: call it to make a network in memory."""

    def __init__(self) -> None:
        self._made: list[SimNetwork] = []

    def __call__(self, **options: Any) -> SimNetwork:
        """A `naquid.testing.SimNetwork` with these options, such as `seed=1, loss=0.05`. It is closed at the end of the
        test if it was not before."""
        network = SimNetwork(**options)
        self._made.append(network)
        return network

    def close(self) -> None:
        """Closes every network it made."""
        while self._made:
            self._made.pop().close()


@pytest.fixture(scope="session")
def naquid_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of the test run: `naquid_ca.issue("game.example")` gives a certificate and its key,
    `naquid_ca.ca` is what clients trust. Needs the package cryptography."""
    return Authority(tmp_path_factory.mktemp("naquid-ca"))


@pytest.fixture(scope="session")
def _naquid_leaf(naquid_ca: Authority) -> Issued:
    return naquid_ca.issue()


@pytest.fixture
def naquid_server(_naquid_leaf: Issued) -> NaquidServer:
    """Serves on this machine: `async with naquid_server(app) as server`. `naquid_client` trusts its certificate."""
    return NaquidServer(_naquid_leaf)


@pytest.fixture
def naquid_client(naquid_ca: Authority) -> NaquidClient:
    """Connects to a server or a relay: `async with naquid_client(server) as conn`."""
    return NaquidClient(naquid_ca)


@pytest.fixture
def naquid_relay() -> Iterator[NaquidRelay]:
    """A bad network before a server: `relay = naquid_relay(server, loss=0.05, delay=0.02)`, `naquid_client(relay)`,
    and `relay.change(...)`, `cut()`, `restore()`, `rebind()` at any time."""
    factory = NaquidRelay()
    yield factory
    factory.close()


@pytest.fixture
def naquid_network() -> Iterator[NaquidNetwork]:
    """A network in memory with a clock of its own: `network = naquid_network(seed=1, loss=0.05)`, then
    `network.run(main())`. In `main()` the other fixtures but `naquid_relay` work as they do elsewhere, and minutes take
    no time."""
    factory = NaquidNetwork()
    yield factory
    factory.close()
