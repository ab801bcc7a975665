"""serve(sock=) and Endpoint(sock=): sockets that the program has bound itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from aio_apps import echo_app
from harness import HOST, Bench, OnSim, Variant, descriptors, until

import naquid


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1", "::"])
def bound(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((request.param, 0))
        yield sock


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    return sock


async def echoes(conn: naquid.Connection) -> bool:
    data = os.urandom(100_000)
    return await (await conn.open_rpc("echo")).call(1, data) == data


@pytest.mark.parametrize("by_number", [False, True])
def test_a_server_on_it(run: Variant, bench: Bench, bound: socket.socket, by_number: bool) -> None:
    """It stays the caller's: it is open behind the server, still bound, and can be served on again."""
    host, port = bound.getsockname()[:2]

    async def main() -> None:
        sock: Any = bound.fileno() if by_number else bound
        for _ in range(2):
            async with naquid.serve(echo_app(), cert=bench.leaf.cert, key=bench.leaf.key, sock=sock) as server:
                assert server.port == port
                assert server.address == (host, port)
                for client in ("127.0.0.1", "::1") if host == "::" else ("::1" if host == "::1" else "127.0.0.1",):
                    async with naquid.connect(client, port, ca=bench.ca.ca) as conn:
                        assert await echoes(conn)
            assert bound.getsockname()[:2] == (host, port)

    run(main)


def test_the_caller_may_close_its_own(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        sock = udp()
        port = sock.getsockname()[1]
        async with naquid.serve(echo_app(), cert=bench.leaf.cert, key=bench.leaf.key, sock=sock):
            sock.close()
            async with bench.connect(port) as conn:
                assert await echoes(conn)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as another:
            another.bind((HOST, port))  # the server's duplicate was closed with it

    run(main)


def test_endpoints(run: Variant, bench: Bench) -> None:
    """In both roles, and as a client alone, which then sends from a port of its own choice."""

    async def main() -> None:
        with udp() as first, udp() as second:
            peer = naquid.Endpoint(app=echo_app(), cert=bench.leaf.cert, key=bench.leaf.key, sock=first)
            async with peer, naquid.Endpoint(sock=second) as client:
                assert client.port == second.getsockname()[1]
                async with client.connect(HOST, peer.port, ca=bench.ca.ca) as conn:
                    assert await echoes(conn)
                    await until(lambda: peer.connections)
                    assert [each.remote_address for each in peer.connections] == [(HOST, client.port)]

    run(main)


def test_what_cannot_be_served_on(run: Variant, bench: Bench) -> None:
    async def refused(sock: Any, match: str, **more: Any) -> None:
        with pytest.raises(naquid.ConfigError, match=match):
            await naquid.serve(echo_app(), cert=bench.leaf.cert, key=bench.leaf.key, sock=sock, **more)

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            await refused(tcp, "AF_INET and SOCK_STREAM: QUIC needs one of UDP")
            await refused(tcp.fileno(), "SOCK_STREAM")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
            await refused(local, "AF_UNIX and SOCK_DGRAM")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound:
            await refused(unbound, "is not bound")
        with udp() as one, udp() as other:
            one.connect(other.getsockname())
            await refused(one, "is connected, to 127.0.0.1 port")
            await refused(other, "leave host and port out", port=443)
            await refused(other, "leave host and port out", host=HOST)
            async with naquid.serve(echo_app(), cert=bench.leaf.cert, key=bench.leaf.key, sock=other):
                await refused(other, "uses this socket already")
                with socket.fromfd(other.fileno(), other.family, other.type) as duplicate:
                    await refused(duplicate, "uses this socket already")
                with pytest.raises(naquid.ConfigError, match="uses this socket already"):
                    await naquid.Endpoint(sock=other)
        await refused(other, "is no open descriptor")
        await refused(2**40, "is no open descriptor")
        await refused("8443", "not str")
        await refused(True, "not bool")
        reading, writing = os.pipe()
        await refused(reading, "is no socket")
        os.close(reading)
        os.close(writing)

    run(main)
    before = descriptors()
    run(main)
    assert descriptors() == before


def test_no_socket_of_a_simulated_network(run_sim: OnSim, bench: Bench) -> None:
    async def main() -> None:
        with udp() as sock, pytest.raises(naquid.ConfigError, match="simulated"):
            await naquid.serve(echo_app(), cert=bench.leaf.cert, key=bench.leaf.key, sock=sock)

    run_sim(main)
