"""What the tests of threads share: servers and clients of naquid.capi, each client with a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import naquid.capi as capi

PATIENCE = 60.0
IDLE = capi.nq_time_sec(30)


class Failures:
    """Runs functions in threads; the first exception of any of them fails the test."""

    def __init__(self) -> None:
        self.raised: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def start(self, fn: Callable[..., object], *args: object) -> threading.Thread:
        def run() -> None:
            try:
                fn(*args)
            except BaseException as error:
                self.raised.append(error)

        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def join(self) -> None:
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread hangs"
        self.threads.clear()
        if self.raised:
            raise self.raised[0]


class Net:
    """Makes servers and clients."""

    def __init__(self, ca: Any, leaf: Any) -> None:
        self.ca = ca
        self.leaf = leaf

    def serve(self, workers: int, fill: Callable[[Any], object], **conf: Any) -> tuple[Any, int]:
        """A server that runs, and its port."""
        server = capi.nq_server_create(workers)
        assert server is not None
        address = capi.nq_addr_t("127.0.0.1", port=0, cert=self.leaf.cert, key=self.leaf.key)
        conf = {"idle_timeout": IDLE, "shutdown_timeout": capi.nq_time_msec(500)} | conf
        hdmap = capi.nq_server_listen(server, address, capi.nq_svconf_t(**conf))
        assert hdmap is not None
        fill(hdmap)
        capi.nq_server_start(server, False)
        assert hdmap.address is not None
        return server, hdmap.address[1]

    def client(self, fill: Callable[[Any], object]) -> Any:
        """A client of the calling thread."""
        client = capi.nq_client_create(16, 16)
        assert client is not None
        fill(capi.nq_client_hdmap(client))
        return client

    def connect(self, client: Any, port: int, **conf: Any) -> None:
        conf = {"idle_timeout": IDLE, "handshake_timeout": capi.nq_time_sec(30)} | conf
        assert capi.nq_client_connect(
            client, capi.nq_addr_t("127.0.0.1", ca=self.ca.ca, port=port), capi.nq_clconf_t(**conf)
        )


def until(done: Callable[[], object], *clients: Any) -> None:
    """Polls the clients until done()."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, f"not within {PATIENCE} s"
        for client in clients:
            capi.nq_client_poll(client)
        if not clients:
            time.sleep(0.001)


@pytest.fixture
def net(ca: Any, leaf: Any) -> Net:
    capi.nq_log_config(capi.nq_logconf_t(id="nq", callback=lambda text: None))
    return Net(ca, leaf)


@pytest.fixture
def threads() -> Iterator[Failures]:
    made = Failures()
    yield made
    made.join()


@pytest.fixture
def polled() -> Callable[..., None]:
    return until
