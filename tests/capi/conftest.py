"""A server with its workers and a client on UDP, for the tests of the C API."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aio_apps import never

import naquid
from naquid.capi import (
    nq_addr_t,
    nq_clconf_t,
    nq_client_connect,
    nq_client_create,
    nq_client_destroy,
    nq_client_hdmap,
    nq_client_poll,
    nq_log_config,
    nq_logconf_t,
    nq_server_create,
    nq_server_join,
    nq_server_listen,
    nq_server_start,
    nq_svconf_t,
    nq_time_sec,
)
from naquid.testing import SimNetwork

PATIENCE = 20.0


class World:
    """A server and clients of one test. Everything that is made here is torn down at its end."""

    def __init__(self, leaf: Any, ca: Any, workers: int) -> None:
        self.leaf = leaf
        self.ca = ca
        self.workers = workers
        self.servers: list[Any] = []
        self.clients: list[Any] = []
        self.port = 0
        self.events: list[Any] = []

    def listen(self, server: Any, conf: nq_svconf_t | None = None, port: int = 0, **addr: Any) -> Any:
        fields = {"cert": self.leaf.cert, "key": self.leaf.key} | addr
        conf = conf or nq_svconf_t(idle_timeout=nq_time_sec(20))
        return nq_server_listen(server, nq_addr_t("127.0.0.1", port=port, **fields), conf)

    def serve(
        self, fill: Callable[[Any], object], conf: nq_svconf_t | None = None, workers: int | None = None, port: int = 0
    ) -> int:
        """Starts a server; fill(hdmap) gives it handlers. Its port, which connect() uses."""
        server = nq_server_create(workers or self.workers)
        assert server is not None
        hdmap = self.listen(server, conf, port)
        assert hdmap is not None
        fill(hdmap)
        nq_server_start(server, False)
        self.servers.append(server)
        self.port = hdmap.address[1]
        return self.port

    def client(self, fill: Callable[[Any], object] | None = None) -> Any:
        client = nq_client_create(16, 16)
        assert client is not None
        if fill:
            fill(nq_client_hdmap(client))
        self.clients.append(client)
        return client

    def connect(self, client: Any, port: int = 0, host: str = "127.0.0.1", **conf: Any) -> None:
        conf = {"idle_timeout": nq_time_sec(20), "handshake_timeout": nq_time_sec(10)} | conf
        ok = nq_client_connect(client, nq_addr_t(host, ca=self.ca.ca, port=port or self.port), nq_clconf_t(**conf))
        assert ok is True

    def until(self, done: Callable[[], object], *clients: Any, patience: float = PATIENCE) -> None:
        """Polls the clients (all of them by default) until done()."""
        end = time.monotonic() + patience
        while not done():
            if time.monotonic() > end:
                raise AssertionError(f"not within {patience} s; events: {self.events[-30:]}")
            for client in clients or self.clients:
                nq_client_poll(client)
            if not self.clients:
                time.sleep(0.002)

    def settle(self, seconds: float = 0.05) -> None:
        """Lets things happen that should not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in self.clients:
                nq_client_poll(client)
            if not self.clients:
                time.sleep(0.002)

    def note(self, *event: Any) -> None:
        self.events.append(event if len(event) > 1 else event[0])

    def close(self) -> None:
        for client in self.clients:
            nq_client_destroy(client)
        for server in self.servers:
            nq_server_join(server)


class SimWorld(World):
    """Clients on a simulated network, for what depends on time: `now` is its clock, which `until` and `settle` move on.
    A server of the C API has threads, so the one here is of asyncio."""

    def __init__(self, leaf: Any, ca: Any, network: SimNetwork) -> None:
        super().__init__(leaf, ca, 0)
        self.network = network
        self._runner = asyncio.Runner(loop_factory=network.new_event_loop)
        self._server: naquid.Server | None = None
        self.port = 4433

    @property
    def now(self) -> float:
        return self.network.time

    def serve_app(self, app: naquid.Handlers) -> None:
        async def main() -> naquid.Server:
            return await naquid.serve(app, "127.0.0.1", self.port, cert=self.leaf.cert, key=self.leaf.key)

        self._server = self._runner.run(main())

    def serve_rpc(self) -> None:
        """Requests of type 1 on "rpc" are answered, others are not."""
        app = naquid.Handlers()
        app.rpc("rpc")(lambda rpc, type, payload: payload if type == 1 else never(rpc, type, payload))
        self.serve_app(app)

    def stop(self) -> None:
        """Ends the server in order."""
        server, self._server = self._server, None
        if server is not None:
            self._runner.run(self._while_polling(server.shutdown(0)))

    def client(self, fill: Callable[[Any], object] | None = None) -> Any:
        with self.network.host("10.0.0.2"):
            return super().client(fill)

    def until(self, done: Callable[[], object], *clients: Any, patience: float = 60.0) -> None:
        """Polls the clients every millisecond until done()."""
        end = self.now + patience

        async def main() -> None:
            while not done():
                assert self.now < end, f"not within {patience} s; events: {self.events[-30:]}"
                for client in clients or self.clients:
                    nq_client_poll(client)
                await asyncio.sleep(0.001)

        self._runner.run(main())

    def settle(self, seconds: float = 0.05) -> None:
        end = self.now + seconds
        self.until(lambda: self.now >= end)

    async def _while_polling(self, what: Any) -> None:
        task = asyncio.ensure_future(what)
        while not task.done():
            for client in self.clients:
                nq_client_poll(client)
            await asyncio.sleep(0.001)
        await task

    def close(self) -> None:
        super().close()
        self.clients.clear()
        self.stop()
        self._runner.close()


@pytest.fixture
def sim(leaf: Any, ca: Any, logs: list[str]) -> Iterator[SimWorld]:
    """A client and a server on a simulated network: times are exact, and nobody waits for them."""
    with SimNetwork(delay=0.001) as network:
        made = SimWorld(leaf, ca, network)
        yield made
        made.close()


@pytest.fixture(params=[1, 2], ids=["1worker", "2workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def world(leaf: Any, ca: Any, workers: int, logs: list[str]) -> Iterator[World]:
    """With 1 worker and with 2."""
    made = World(leaf, ca, workers)
    yield made
    made.close()


@pytest.fixture
def small(leaf: Any, ca: Any, logs: list[str]) -> Iterator[World]:
    """With 1 worker only."""
    made = World(leaf, ca, 1)
    yield made
    made.close()


@pytest.fixture
def logs() -> Iterator[list[str]]:
    """What was logged during the test."""
    lines: list[str] = []
    lock = threading.Lock()

    def keep(text: str) -> None:
        with lock:
            lines.append(text)

    nq_log_config(nq_logconf_t(callback=keep))
    yield lines
    nq_log_config(nq_logconf_t(id="nq", callback=lambda text: None))


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Exceptions that callbacks raised."""
    import sys

    seen: list[BaseException] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: seen.append(report.exc_value))
    return seen
