"""The client's address changes while calls run: they go on, on the same connection and stream.

By a relay that forgets its mappings, as a NAT does; and where this process may make network namespaces, by addresses
that really go away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from netns import Namespaces, made

from naquid.capi import (
    NQ_OK,
    NQ_REACHABLE_WIFI,
    NQ_REACHABLE_WWAN,
    nq_addr_t,
    nq_conn_fd,
    nq_conn_reachability_change,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_rpc_reply,
    nq_server_create,
    nq_server_listen,
    nq_server_start,
    nq_svconf_t,
    nq_time_msec,
    nq_time_sec,
)
from naquid.testing import Relay

SERVER, FIRST, SECOND = "10.77.0.1", "10.77.0.2", "10.77.0.3"


def serve_rpc(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d)))


class Traffic:
    """One connection with four calls under way at any time, each answered call followed by the next."""

    def __init__(self, world: Any, **connect: Any) -> None:
        self.world = world
        self.order: list[Any] = []
        self.sent = 0
        self.replies = 0
        self.conn: Any = None
        handler = nq_rpc_handler_t(
            on_rpc_open=self.rpc_open, on_rpc_close=lambda r: self.order.append("rpc close"), timeout=nq_time_sec(15)
        )
        client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
        world.connect(client, on_open=self.on_open, on_close=self.on_close, **connect)
        self.go_on(100)

    def on_open(self, conn: Any, pctx: Any) -> None:
        self.order.append("open")
        self.conn = conn
        nq_conn_rpc(conn, "rpc")

    def on_close(self, conn: Any, error: int, detail: Any, remote: bool) -> int:
        self.order.append((detail, remote))
        return 0

    def rpc_open(self, rpc: Any, pctx: Any) -> None:
        self.order.append("rpc open")
        for _ in range(4):
            self.call(rpc)

    def call(self, rpc: Any) -> None:
        number = b"%d" % self.sent
        self.sent += 1

        def on_reply(rpc: Any, result: int, data: bytes) -> None:
            if (result, data) != (NQ_OK, number):
                self.order.append((result, data, number))
                return
            self.replies += 1
            self.call(rpc)

        nq_rpc_call(rpc, 1, number, on_reply)

    def go_on(self, calls: int) -> None:
        """Until so many more calls are answered, all that were ever made in their order."""
        want = self.replies + calls
        self.world.until(lambda: self.replies >= want or len(self.order) > 2)
        assert self.order == ["open", "rpc open"]

    def moved(self, fd: int) -> None:
        """Until the connection has another socket than fd."""
        self.world.until(lambda: nq_conn_fd(self.conn) != fd)
        assert nq_conn_fd(self.conn) > 0


def test_calls_go_on_when_a_nat_forgets(world: Any) -> None:
    """10: the source address changes without the client knowing, again and again, and also by its own migrations."""
    conf = nq_svconf_t(idle_timeout=nq_time_sec(20), shutdown_timeout=nq_time_msec(100))
    world.serve(serve_rpc, conf)
    with Relay(("127.0.0.1", world.port), delay=0.001) as relay:
        traffic = Traffic(world, port=relay.port)
        for status in (NQ_REACHABLE_WIFI, NQ_REACHABLE_WWAN, NQ_REACHABLE_WIFI):
            relay.rebind()
            traffic.go_on(50)
            fd = nq_conn_fd(traffic.conn)
            nq_conn_reachability_change(traffic.conn, status)
            traffic.moved(fd)
            traffic.go_on(50)
        assert relay.clients >= 2


class Cable(Namespaces):
    """Two network namespaces joined by a cable: the server's with one address, the client's with two."""

    names = ("client", "server")

    def make(self) -> None:
        super().make()
        peer = ("peer", "name", "wire", "netns", self.full("server"))
        self.ip_in("client", "link", "add", "wire", "type", "veth", *peer)
        for name, mine, theirs in (("client", (FIRST, SECOND), (SERVER,)), ("server", (SERVER,), (FIRST, SECOND))):
            for address in mine:
                self.ip_in(name, "address", "add", f"{address}/32", "dev", "wire")
            self.ip_in(name, "link", "set", "wire", "up")
            for address in theirs:
                self.ip_in(name, "route", "add", address, "dev", "wire")


@pytest.fixture
def namespaces() -> Iterator[Cable]:
    with made(Cable) as cable:
        yield cable


def serve_in(namespaces: Cable, world: Any) -> None:
    server = nq_server_create(world.workers)
    assert server is not None
    world.servers.append(server)
    with namespaces.inside("server"):
        address = nq_addr_t(SERVER, cert=world.leaf.cert, key=world.leaf.key)
        hdmap = nq_server_listen(server, address, nq_svconf_t(idle_timeout=nq_time_sec(20)))
    assert hdmap is not None
    serve_rpc(hdmap)
    nq_server_start(server, False)
    assert hdmap.address is not None
    world.port = hdmap.address[1]


def test_calls_go_on_from_another_address(world: Any, namespaces: Cable) -> None:
    """10: the address in use is taken away; the application says that the network changed."""
    serve_in(namespaces, world)
    with namespaces.inside("client"):
        traffic = Traffic(world, host=SERVER, insecure=True)
        fd = nq_conn_fd(traffic.conn)
        namespaces.ip_in("client", "address", "delete", f"{FIRST}/32", "dev", "wire")
        nq_conn_reachability_change(traffic.conn, NQ_REACHABLE_WIFI)
        traffic.moved(fd)
        traffic.go_on(200)


def test_the_kernel_tells_of_another_address(world: Any, namespaces: Cable) -> None:
    """Better on purpose 11: with track_reachability the connection moves by itself, there and back again."""
    serve_in(namespaces, world)
    with namespaces.inside("client"):
        traffic = Traffic(world, host=SERVER, insecure=True, track_reachability=True)
        for gone, back in ((FIRST, SECOND), (SECOND, FIRST)):
            fd = nq_conn_fd(traffic.conn)
            namespaces.ip_in("client", "address", "delete", f"{gone}/32", "dev", "wire")
            traffic.moved(fd)
            traffic.go_on(200)
            if back == SECOND:
                fd = nq_conn_fd(traffic.conn)
                namespaces.ip_in("client", "address", "add", f"{gone}/32", "dev", "wire")
                traffic.moved(fd)
                traffic.go_on(200)


def test_no_address_for_a_while(world: Any, namespaces: Cable) -> None:
    """10: without any address sending fails, which is no end of the connection as long as one comes back in time."""
    serve_in(namespaces, world)
    with namespaces.inside("client"):
        traffic = Traffic(world, host=SERVER, insecure=True, track_reachability=True)
        for address in (FIRST, SECOND):
            namespaces.ip_in("client", "address", "delete", f"{address}/32", "dev", "wire")
        before = traffic.replies
        world.settle(0.5)
        assert traffic.replies <= before + 4
        namespaces.ip_in("client", "address", "add", f"{FIRST}/32", "dev", "wire")
        namespaces.ip_in("client", "route", "replace", SERVER, "dev", "wire")
        traffic.go_on(200)
