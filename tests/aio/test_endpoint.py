"""Endpoints: servers and clients of one UDP port."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from harness import HOST, Bench, Variant, until

import naquid


def greeter(name: str) -> naquid.Handlers:
    """Handlers that say who they are, and what the port of the caller is."""
    app = naquid.Handlers()

    @app.rpc("who")
    def who(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        address = rpc.connection.remote_address
        assert address is not None
        return f"{name} to {address[1]}".encode()

    return app


def endpoint(bench: Bench, app: naquid.Handlers | None = None, host: str = HOST, **arguments: Any) -> naquid.Endpoint:
    return naquid.Endpoint(host, app=app, cert=bench.leaf.cert, key=bench.leaf.key, **arguments)


async def ask(conn: naquid.Connection) -> str:
    return (await (await conn.open_rpc("who")).call(1)).decode()


def test_peers_connect_both_ways(run: Variant, bench: Bench) -> None:
    """Two endpoints, each the client and the server of the other, from the ports they listen on."""

    async def main() -> None:
        async with endpoint(bench, greeter("a")) as a, endpoint(bench, greeter("b")) as b:
            assert a.port != b.port
            assert a.address == (HOST, a.port)
            there = await a.connect(HOST, b.port, ca=bench.ca.ca)
            back = await b.connect(HOST, a.port, ca=bench.ca.ca)
            assert await ask(there) == f"b to {a.port}"
            assert await ask(back) == f"a to {b.port}"
            assert there.local_address == (HOST, a.port)
            for end in (a, b):
                assert len(end.connections) == 2
                assert sorted(conn.is_client for conn in end.connections) == [False, True]
            # Over what the other side opened, requests go the other way: both have handlers.
            (taken,) = [conn for conn in a.connections if not conn.is_client]
            assert await ask(taken) == f"b to {a.port}"
            await there.close()
            assert there not in a.connections
            assert await ask(back) == f"a to {b.port}"
            assert a.stats()["connections"] >= 2
        assert back.is_closed
        assert a.port == 0

    run(main)


def test_both_at_the_same_time(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with endpoint(bench, greeter("a")) as a, endpoint(bench, greeter("b")) as b:
            conns = await asyncio.gather(
                *(a.connect(HOST, b.port, ca=bench.ca.ca)._connect() for _ in range(10)),
                *(b.connect(HOST, a.port, ca=bench.ca.ca)._connect() for _ in range(10)),
            )
            answers = await asyncio.gather(*(ask(conn) for conn in conns))
            assert answers == [f"b to {a.port}"] * 10 + [f"a to {b.port}"] * 10
            assert len(a.connections) == len(b.connections) == 20

    run(main)


def test_to_itself(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with endpoint(bench, greeter("me")) as one, one.connect(HOST, one.port, ca=bench.ca.ca) as conn:
            assert await ask(conn) == f"me to {one.port}"

    run(main)


def test_many_servers_from_one_port(run: Variant, bench: Bench) -> None:
    """An endpoint without a certificate: clients only."""

    async def main() -> None:
        async with (
            bench.serve(greeter("x")) as x,
            bench.serve(greeter("y")) as y,
            naquid.Endpoint(HOST) as clients,
        ):
            async with (
                clients.connect(HOST, x.port, ca=bench.ca.ca) as first,
                clients.connect(HOST, y.port, ca=bench.ca.ca) as second,
            ):
                assert await ask(first) == f"x to {clients.port}"
                assert await ask(second) == f"y to {clients.port}"
            limits = naquid.Limits(handshake_timeout=0.2)
            with pytest.raises(naquid.HandshakeFailed):
                await bench.connect(clients.port, limits=limits)

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_an_endpoint_of_both_families(run: Variant, bench: Bench, host: str) -> None:
    async def main() -> None:
        async with endpoint(bench, greeter("both"), host="::") as both, bench.serve(greeter("x"), host=host) as server:
            async with both.connect(host, server.port, ca=bench.ca.ca) as conn:
                assert await ask(conn) == f"x to {both.port}"
            async with bench.connect(both.port, host=host) as conn:
                assert (await ask(conn)).startswith("both to")

    run(main)


def test_a_family_that_cannot_be_reached(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with endpoint(bench) as one:
            with pytest.raises(OSError, match=r"::1 cannot be reached from 127\.0\.0\.1"):
                await one.connect("::1", 4433, ca=bench.ca.ca)

    run_once(main)


def test_other_handlers_for_a_connection(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with (
            endpoint(bench, greeter("a")) as a,
            endpoint(bench, greeter("b")) as b,
            a.connect(HOST, b.port, ca=bench.ca.ca, app=greeter("other")),
        ):
            await until(lambda: b.connections)
            (taken,) = b.connections
            assert await ask(taken) == f"other to {b.port}"

    run(main)


def test_shutdown_ends_both_roles(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        a = await endpoint(bench, greeter("a"))
        async with endpoint(bench, greeter("b")) as b:
            made = await a.connect(HOST, b.port, ca=bench.ca.ca)
            taken = await b.connect(HOST, a.port, ca=bench.ca.ca)
            lasting = await a.connect(
                HOST, b.port, ca=bench.ca.ca, config=naquid.ClientConfig(reconnect=naquid.Backoff())
            )
            await until(lambda: len(b.connections) == 3)
            await a.shutdown()
            assert made.is_closed
            assert lasting.is_closed
            await taken.wait_closed()
            assert isinstance(taken.error, naquid.ConnectionLost)
            assert taken.error.code == 8
            await a.shutdown()
            await a.wait_closed()
            assert not a.connections
            await until(lambda: not b.connections)
            with pytest.raises(naquid.Error):
                a.stats()

    run(main)


def test_close_ends_attempts(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with naquid.Endpoint(HOST) as silent:
            one = await endpoint(bench)
            attempt = asyncio.ensure_future(one.connect(HOST, silent.port, ca=bench.ca.ca)._connect())
            await asyncio.sleep(0.02)
            one.close()
            await one.wait_closed()
            with pytest.raises(naquid.HandshakeFailed, match="endpoint"):
                await attempt

    run(main)


def test_comes_back_to_the_same_port(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        config = naquid.ClientConfig(reconnect=naquid.Backoff(initial=0.01, maximum=0.05))
        async with endpoint(bench, greeter("a")) as a:
            b = await endpoint(bench, greeter("b"))
            port = b.port
            async with a.connect(HOST, port, ca=bench.ca.ca, config=config) as conn:
                assert await ask(conn) == f"b to {a.port}"
                b.close()
                await b.wait_closed()
                async with naquid.Endpoint(HOST, port, app=greeter("c"), cert=bench.leaf.cert, key=bench.leaf.key):
                    assert await ask(conn) == f"c to {a.port}"
                    assert conn in a.connections

    run(main)


def test_mistakes(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        closed = endpoint(bench)
        for use in (lambda: closed.port, lambda: closed.connect(HOST, 1), lambda: closed.connections):
            with pytest.raises(RuntimeError, match="not open yet"):
                use()
        with pytest.raises(naquid.ConfigError, match="cert= and key="):
            naquid.Endpoint(HOST, key=bench.leaf.key)
        with pytest.raises(naquid.ConfigError, match=r"key is missing and certificate file '.*' holds none"):
            await naquid.Endpoint(HOST, cert=bench.leaf.cert)
        with pytest.raises(naquid.ConfigError, match="port"):
            naquid.Endpoint(HOST, 70000)
        async with endpoint(bench) as one:
            assert str(one.port) in repr(one)
            with pytest.raises(OSError, match="address"):
                await naquid.Endpoint(HOST, one.port)

    run_once(main)


# ---- what a server and a client count ----


def test_counters(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        with pytest.raises(naquid.Error):
            naquid.loop_stats()
        async with bench.pair(greeter("a")) as (server, conn):
            await ask(conn)
            stats = server.stats()
            assert stats == naquid.loop_stats() == conn.loop_stats()
            assert set(stats) == set(naquid.LoopStats.__annotations__)
            assert stats["handshakes"] == 2
            assert stats["accepted"] == 1
            assert stats["rx_datagrams"] >= stats["rx_messages"] > 0
            assert stats["rx_calls"] > 0
            assert stats["tx_datagrams"] >= stats["tx_messages"] >= stats["tx_calls"] > 0
            assert stats["connections"] == 2
        with pytest.raises(naquid.Error):
            server.stats()

    run(main)


# ---- contexts that are kept ----


def test_a_changed_certificate_is_read_again(run_once: Variant, bench: Bench, other_ca: Any, tmp_path: Any) -> None:
    async def main() -> None:
        trusted = tmp_path / "trusted.pem"
        trusted.write_bytes(other_ca.ca_pem)
        async with bench.serve(naquid.Handlers()) as server:
            for _ in range(2):
                with pytest.raises(naquid.HandshakeFailed):
                    await naquid.connect(HOST, server.port, ca=trusted)
            trusted.unlink()
            with pytest.raises(naquid.ConfigError, match=r"trusted\.pem"):
                await naquid.connect(HOST, server.port, ca=trusted)
            trusted.write_bytes(bench.ca.ca_pem)
            for ca in (trusted, str(trusted), bench.ca.ca_pem, bytearray(bench.ca.ca_pem), bench.ca.ca_pem.decode()):
                await (await naquid.connect(HOST, server.port, ca=ca)).close()  # type: ignore[arg-type]

    run_once(main)


def test_contexts_are_kept_and_bounded(bench: Bench) -> None:
    from naquid._net import tls_cache

    first = tls_cache.client_context(ca=bench.ca.ca)
    assert tls_cache.client_context(ca=str(bench.ca.ca)) is first
    assert tls_cache.client_context(ca=bench.ca.ca_pem) is not first
    assert tls_cache.client_context(ca=bench.ca.ca, insecure=True) is not first
    for n in range(2 * tls_cache.KEPT):
        tls_cache.client_context(ca=bench.ca.ca_pem, alpn=(f"test/{n}",))
    assert len(tls_cache._contexts) == tls_cache.KEPT
    assert tls_cache.client_context(ca=bench.ca.ca) is not first


def test_insecure_is_told_once(run_once: Variant, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with bench.serve(naquid.Handlers()) as server:
            for _ in range(3):
                await (await naquid.connect(HOST, server.port, insecure=True)).close()
            assert [str(server.port) in record.getMessage() for record in caplog.records] == [True]

    with caplog.at_level(logging.WARNING, "naquid"):
        run_once(main)
