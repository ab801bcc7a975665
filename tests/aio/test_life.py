"""The lives of servers and connections: in the log, in the counters, in on_handshake_failed."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest
from aio_apps import echo_app
from harness import HOST, Bench, OnSim, Unraisable, Variant, engine, until

import naquid
from naquid.testing import Authority


def lines(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == name]


def test_servers_and_connections(run: Variant, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "naquid")

    async def main() -> None:
        async with bench.serve(echo_app()) as server:
            where = f"{HOST}:{server.port}"
            assert lines(caplog, "naquid.server") == [f"serving on {where}, nq/1"]
            conn = await bench.connect(server.port)
            await until(lambda: len(lines(caplog, "naquid.connection")) == 2)
            peer = next(iter(server.connections)).remote_address
            assert peer is not None
            opened = sorted(lines(caplog, "naquid.connection"))
            assert opened[0].startswith(f"connection from {HOST}:{peer[1]} opened: nq/1, TLS_")
            assert opened[1].startswith(f"connection to {where} opened: nq/1, TLS_")
            caplog.clear()
            await conn.close(3, "had enough")
            await until(lambda: len(lines(caplog, "naquid.connection")) == 2)
            closed = sorted(lines(caplog, "naquid.connection"))
            assert closed[0].startswith(f"connection from {HOST}:{peer[1]} closed: the peer closed the connection")
            assert closed[1].startswith(f"connection to {where} closed: this side closed the connection")
            assert all("had enough" in line and "0x3" in line for line in closed)
            caplog.clear()
            async with bench.connect(server.port):
                pass
            await until(lambda: len(lines(caplog, "naquid.connection")) == 4)
            assert sum(line.endswith(" closed: in order") for line in lines(caplog, "naquid.connection")) == 2
        assert lines(caplog, "naquid.server") == [f"the server on {where} is closed"]

    run(main)


def test_nothing_when_it_is_off(run: Variant, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "naquid")

    async def main() -> None:
        async with bench.pair(echo_app()):
            pass

    run(main)
    assert [record.name for record in caplog.records if record.name.startswith("naquid.")] == []


def test_a_connection_that_comes_back(run: Variant, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "naquid.connection")

    async def main() -> None:
        async with bench.serve(echo_app()) as server:
            async with bench.connect(server.port, reconnect=naquid.Backoff(initial=0.0)):
                await until(lambda: server.connections)
                first = server.connections
                for each in first:
                    each.abort(9)
                await until(lambda: server.connections - first)
            mine = [line.split(": ")[0] for line in lines(caplog, "naquid.connection") if f"to {HOST}" in line]
            where = f"connection to {HOST}:{server.port}"
            assert mine == [f"{where} opened", f"{where} lost", f"{where} opened", f"{where} closed"]

    run(main)


class Failed(list[tuple[tuple[str, int], naquid.HandshakeFailed]]):
    """What on_handshake_failed is told."""

    def app(self) -> naquid.Handlers:
        app = echo_app()
        app.on_handshake_failed(lambda address, error: self.append((address, error)))
        return app


def test_a_certificate_that_is_not_trusted(
    run: Variant, bench: Bench, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    caplog.set_level(logging.INFO, "naquid.connection")
    failed = Failed()
    stranger = Authority(tmp_path)

    async def main() -> None:
        async with bench.serve(failed.app()) as server:
            with pytest.raises(naquid.HandshakeFailed):
                await naquid.connect(HOST, server.port, ca=stranger.ca)
            await until(lambda: failed)
            [(address, error)] = failed
            assert address[0] == HOST
            assert (error.alert, error.remote) == (48, True)
            assert "does not trust who signed this side's certificate" in str(error)
            [line] = lines(caplog, "naquid.connection")
            assert line == f"handshake with {HOST}:{address[1]} failed: {error}"
            stats = server.stats()
            assert stats["handshakes_failed_tls"] == 2  # both sides are in this event loop
            assert stats["handshakes"] == 0
            assert stats["handshakes_failed_timeout"] + stats["handshakes_failed_closed"] == 0

    run(main)


def test_a_client_that_falls_silent(run_sim: OnSim, bench: Bench) -> None:
    """And none for the one that got through."""
    failed = Failed()

    async def main() -> None:
        limits = naquid.Limits(handshake_timeout=3.0)
        async with bench.serve(failed.app(), limits=limits) as server, bench.connect(server.port):
            run_sim.network.link(delay=0.1)
            attempt = asyncio.ensure_future(opening(bench, server.port))
            await until(lambda: server.stats()["accepted"] == 2)
            run_sim.network.link(loss=1.0)
            await asyncio.sleep(4)
            [(address, error)] = failed
            assert "did not complete the handshake within the handshake timeout" in str(error)
            assert error.alert is None
            assert address[1] > 0
            assert server.stats()["handshakes_failed_timeout"] >= 1
            run_sim.network.link(loss=0.0)
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)

    run_sim(main)


async def opening(bench: Bench, port: int) -> None:
    """To this side the handshake may be completed: then it is the caller who ends it, by cancelling this."""
    async with bench.connect(port) as conn:
        await conn.wait_closed()


def test_a_server_that_closes_is_no_failure(run: Variant, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A handshake that is under way when the server itself ends."""
    caplog.set_level(logging.INFO, "naquid.connection")
    failed = Failed()

    async def main() -> None:
        async with bench.serve(failed.app()) as server:
            attempt = asyncio.ensure_future(opening(bench, server.port))
            await until(lambda: server.stats()["accepted"])
            server.close()
            await server.wait_closed()
            await asyncio.gather(attempt, return_exceptions=True)

    run(main)
    assert failed == []


@pytest.mark.parametrize("coroutine", [False, True])
def test_a_handler_that_raises(run: Variant, bench: Bench, unraisable: Unraisable, coroutine: bool) -> None:
    app = echo_app()

    async def late(address: tuple[str, int], error: naquid.HandshakeFailed) -> None:
        await asyncio.sleep(0)
        raise LookupError("in the handler")

    def at_once(address: tuple[str, int], error: naquid.HandshakeFailed) -> None:
        raise LookupError("in the handler")

    app.on_handshake_failed(late if coroutine else at_once)

    async def main() -> None:
        async with bench.serve(app) as server:
            with pytest.raises(naquid.HandshakeFailed):
                await naquid.connect(HOST, server.port)  # whom the system's roots do not know
            await until(lambda: unraisable)
            assert isinstance(unraisable.take()[0], LookupError)
            async with bench.connect(server.port) as conn:
                assert await (await conn.open_rpc("echo")).call(1, b"goes on") == b"goes on"

    run(main)


def test_a_flood_is_a_few_records(run_sim: OnSim, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "naquid.connection")
    failed = Failed()

    async def main() -> None:
        async with bench.serve(failed.app()) as server:
            for _ in range(20):
                with pytest.raises(naquid.HandshakeFailed):
                    await naquid.connect(HOST, server.port, config=naquid.ClientConfig(server_name="elsewhere.example"))
            await until(lambda: len(failed) == 20)
            await asyncio.sleep(1.1)
            logged = [line for line in lines(caplog, "naquid.connection") if "handshake" in line]
            assert 2 <= len(logged) <= 4
            assert " more within 1 s: handshakes failed: " in logged[-1]

    run_sim(main)


# ---- datagrams that are not delivered ----


def test_datagrams_dropped_by_reason(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        limits = naquid.Limits(datagram_queue=4)
        async with bench.pair(echo_app(), client={"limits": limits}) as (server, conn):
            await conn.ping()
            for i in range(10):
                conn.send_datagram(b"%d" % i)
            await until(lambda: server.stats()["datagrams_dropped_unhandled"] == 4)
            assert server.stats()["datagrams_dropped_queue"] == 6
            stats = engine().stats()
            assert stats["datagrams_dropped"] == 10
            assert stats["datagrams_dropped_memory"] == stats["datagrams_dropped_tasks"] == 0

    run(main)


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="SO_RXQ_OVFL is Linux's")
def test_what_the_kernel_drops(run: Variant, bench: Bench) -> None:
    """A flood while the event loop is busy; what the kernel says of it comes with the next datagram."""

    async def main() -> None:
        async with bench.serve(echo_app()) as server:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
                for _ in range(60_000):
                    flood.sendto(bytes(1400), (HOST, server.port))
            async with bench.connect(server.port):
                stats = server.stats()
                assert stats["rx_kernel_dropped"] > 0
                assert stats["rx_kernel_dropped"] + stats["rx_datagrams"] >= 60_000

    run(main)
