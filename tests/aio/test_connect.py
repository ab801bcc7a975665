"""Handshakes that succeed and what both sides then know; those that cannot, and how they say so."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from aio_apps import echo_app
from cryptography import x509
from harness import HOST, Bench, OnSim, Variant, engine, free_port, until

import naquid


def test_handshake(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    seen: list[Any] = []
    app.on_connect(lambda conn: seen.append(("open", conn)))
    app.on_disconnect(lambda conn, error: seen.append(("closed", conn, error)))

    async def main() -> None:
        async with bench.serve(app) as server:
            async with bench.connect(server.port) as conn:
                assert conn.is_open
                assert conn.is_client
                assert not conn.is_closed
                assert conn.error is None
                assert conn.alpn == "nq/1"
                assert conn.remote_address == (HOST, server.port)
                assert [x509.load_der_x509_certificate(der) for der in conn.peer_certificates] == [
                    x509.load_der_x509_certificate(bench.leaf.cert_der)
                ]
                stats = conn.stats()
                assert stats.version == 1
                assert stats.cipher == "TLS_AES_128_GCM_SHA256"
                assert stats.packets_sent > 0
                assert stats.smoothed_rtt > 0
                await until(lambda: server.connections)
                (accepted,) = server.connections
                assert seen == [("open", accepted)]
                assert not accepted.is_client
                assert accepted.alpn == "nq/1"
                assert accepted.remote_address is not None
                assert accepted.remote_address[1] == conn.local_address[1]
            await accepted.wait_closed()
            assert seen == [("open", accepted), ("closed", accepted, None)]
            assert conn.is_closed
            assert conn.error is None
            assert conn.remote_address == (HOST, server.port)

            async with bench.connect(server.port) as unasked:
                pass
            assert unasked.remote_address == (HOST, server.port), "known also when nobody had asked before"
            assert unasked.alpn == "nq/1"

    run(main)


def test_packet_io_is_the_one_asked_for(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(naquid.Handlers()):
            stats = engine().stats()
            fast = [stats[name] for name in ("mmsg", "gso", "gro")]
            assert any(fast) == (run.io == "native"), stats

    run(main)


def test_awaiting_instead_of_with(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        server = await bench.serve(naquid.Handlers())
        conn = await bench.connect(server.port)
        assert conn.is_open
        await conn.close()
        await conn.close()
        await server.shutdown()
        await server.shutdown()
        assert server.port == 0

    run(main)


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_addresses(run_once: Variant, bench: Bench, host: str) -> None:
    async def main() -> None:
        async with (
            bench.serve(naquid.Handlers(), "::") as server,
            bench.connect(server.port, host=host) as conn,
        ):
            assert conn.is_open

    run_once(main)


@pytest.mark.parametrize("version", [0, 1, 0x6B3343CF])
def test_versions(run_once: Variant, bench: Bench, version: int) -> None:
    async def main() -> None:
        async with bench.pair(naquid.Handlers(), client={"version": version}) as (_, conn):
            assert conn.stats().version == (version or 1)

    run_once(main)


def test_retry(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(naquid.Handlers(), server={"always_retry": True}) as (_, conn):
            assert conn.is_open
            assert engine().stats()["retries_sent"] >= 1  # a client that has to wait asks again, and gets another

    run(main)


def test_200_connections(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    app.rpc("add")(lambda rpc, type, payload: payload + type.to_bytes(2, "big"))

    async def one(port: int, number: int) -> bytes:
        conn = await bench.connect(port)
        rpc = await conn.open_rpc("add")
        reply: bytes = await rpc.call(number, b"client")
        await everyone.wait()
        await conn.close()
        return reply

    everyone: asyncio.Barrier

    async def main() -> None:
        nonlocal everyone
        everyone = asyncio.Barrier(201)
        async with bench.serve(app) as server, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(server.port, number)) for number in range(1, 201)]
            await until(lambda: everyone.n_waiting == 200)
            assert len(server.connections) == 200
            await everyone.wait()
            assert await asyncio.gather(*tasks) == [b"client" + n.to_bytes(2, "big") for n in range(1, 201)]

    run(main)


# ---- servers that are not there ----


def test_one_of_them_in_a_tick(run_sim: OnSim, bench: Bench) -> None:
    """accept_per_tick bounds the new connections of a tick; the others have the next ones, and wait for no timeout."""

    async def main() -> None:
        async with bench.serve(echo_app(), limits=naquid.Limits(accept_per_tick=1)) as server:
            start = asyncio.get_running_loop().time()
            conns = await asyncio.gather(*(bench.connect(server.port) for _ in range(50)))
            took = asyncio.get_running_loop().time() - start
            for number, conn in enumerate(conns):
                assert await (await conn.open_rpc("echo")).call(1, b"%d" % number) == b"%d" % number
                await conn.close()
            assert took < 0.02  # a probe would come after 30 ms and more (RFC 9002 6.2.2)

    run_sim(main)


def test_no_server(run: Variant, bench: Bench) -> None:
    """Linux says at once that nothing listens there: nobody waits for the handshake timeout."""

    async def main() -> None:
        limits = naquid.Limits(handshake_timeout=600)
        with pytest.raises(naquid.HandshakeFailed, match="port unreachable: nothing listens there") as caught:
            await bench.connect(free_port(), limits=limits)
        assert caught.value.alert is None

    run(main)


def test_silent_server(run_once: Variant, bench: Bench) -> None:
    """A socket that takes packets and says nothing."""

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
            hole.bind((HOST, 0))
            with pytest.raises(naquid.HandshakeFailed, match="handshake timeout"):
                await bench.connect(hole.getsockname()[1], limits=naquid.Limits(handshake_timeout=0.3))

    run_once(main)


def test_cancelled_while_connecting(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
            hole.bind((HOST, 0))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await bench.connect(hole.getsockname()[1])

    run(main)


def test_second_address_is_tried(run_once: Variant, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address never answers, the second does."""

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
            async with bench.serve(naquid.Handlers()) as server:
                hole.bind(("127.0.0.2", server.port))

                async def resolve(host: str, port: int, **_: Any) -> list[Any]:
                    return [(2, 2, 17, "", (address, port)) for address in ("127.0.0.2", HOST)]

                monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
                async with bench.connect(server.port, host="localhost", attempt_delay=0.02) as conn:
                    assert conn.remote_address == (HOST, server.port)

    run_once(main)


def test_unknown_name(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        with pytest.raises(naquid.ResolveError, match=r"'no-such-host\.invalid'"):
            await bench.connect(4433, host="no-such-host.invalid")

    run_once(main)


def test_port_in_use(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(naquid.Handlers()) as server:
            with pytest.raises(OSError, match=f"{HOST} port {server.port}.*in use") as caught:
                await bench.serve(naquid.Handlers(), port=server.port)
            assert caught.value.errno == errno.EADDRINUSE

    run(main)


def test_address_of_another_machine(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match=r"192\.0\.2\.1") as caught:
            await bench.serve(naquid.Handlers(), "192.0.2.1")
        assert caught.value.errno == errno.EADDRNOTAVAIL

    run_once(main)


def test_server_refuses_while_it_shuts_down(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    entered = asyncio.Event()
    leave = asyncio.Event()

    @app.rpc("slow")
    async def slow(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        entered.set()
        await leave.wait()
        return payload

    async def main() -> None:
        async with bench.pair(app) as (server, conn):
            rpc = await conn.open_rpc("slow")
            call = asyncio.ensure_future(rpc.call(1, b"still answered"))
            await entered.wait()
            port = server.port
            ending = asyncio.ensure_future(server.shutdown(grace=30))

            async def connect_again_and_again() -> None:
                while True:  # the shutdown begins in another task
                    await asyncio.sleep(0)
                    await (await bench.connect(port)).close()

            with pytest.raises(naquid.HandshakeFailed):
                await connect_again_and_again()
            leave.set()
            assert await call == b"still answered"
            await ending
            await conn.wait_closed()
            assert isinstance(conn.error, naquid.ConnectionLost)
            assert conn.error.code == 8
            assert conn.error.remote

    run(main)


def test_handlers_see_the_connection(run: Variant, bench: Bench) -> None:
    """A coroutine as on_connect may use the connection; a client's handlers serve what the server opens."""
    app = naquid.Handlers()
    answers: list[bytes] = []

    @app.on_connect
    async def greet(conn: naquid.Connection) -> None:
        rpc = await conn.open_rpc("client")
        answers.append(await rpc.call(7, b"from the server"))

    client_app = naquid.Handlers()
    events: list[str] = []
    client_app.on_connect(lambda conn: events.append("open"))
    client_app.on_disconnect(lambda conn, error: events.append(f"closed {error}"))
    client_app.rpc("client")(lambda rpc, type, payload: payload.upper())
    left: list[BaseException | None] = []

    @app.on_disconnect
    async def gone(conn: naquid.Connection, error: BaseException | None) -> None:
        left.append(error)

    async def main() -> None:
        async with bench.pair(app, client_app) as (_, conn):
            assert conn.is_open
            await until(lambda: answers)
            await conn.close()
            await until(lambda: left)
        assert left == [None]
        assert answers == [b"FROM THE SERVER"]
        assert events == ["open", "closed None"]

    run(main)
