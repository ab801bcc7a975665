"""Connections that move to another local address: when asked to, and when the network has changed."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from aio_apps import echo_app, record_echo
from harness import HOST, Bench, OnSim, Variant, until

import naquid
from naquid import roaming


async def echoes(rpc: naquid.Rpc) -> bool:
    data = os.urandom(100_000)
    return await rpc.call(1, data) == data


def test_it_goes_on_from_another_port(run: Variant, bench: Bench) -> None:
    """Streams that are open stay open, and the server sees the new address."""

    async def main() -> None:
        async with bench.pair(record_echo()) as (server, conn):
            stream = await conn.open_stream("echo")
            await stream.send(b"before")
            assert await stream.recv() == b"before"
            seen = {conn.local_address[1] if conn.local_address else 0}
            [peer] = server.connections
            for i in range(3):
                await conn.migrate()
                assert conn.local_address is not None
                assert conn.local_address[1] not in seen
                seen.add(conn.local_address[1])
                await stream.send(b"%d" % i)
                assert await stream.recv() == b"%d" % i
                await until(lambda: peer.remote_address and peer.remote_address[1] in seen)
                assert peer.remote_address == (HOST, conn.local_address[1])
            assert list(server.connections) == [peer]

    run(main)


def test_at_once(run: Variant, bench: Bench) -> None:
    """Before the handshake is confirmed: it waits for that."""

    async def main() -> None:
        async with bench.serve(echo_app()) as server:
            for _ in range(20):
                async with bench.connect(server.port) as conn:
                    port = conn.local_address
                    await conn.migrate()
                    assert conn.local_address != port
                    assert await echoes(await conn.open_rpc("echo"))

    run(main)


def test_a_call_under_way(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    go = asyncio.Event()

    @app.rpc("wait")
    async def wait(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        await go.wait()
        return payload

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            calls = [asyncio.ensure_future((await conn.open_rpc("wait")).call(1, b"%d" % i)) for i in range(5)]
            await conn.migrate()
            go.set()
            assert await asyncio.gather(*calls) == [b"%d" % i for i in range(5)]
        go.clear()

    run(main)


def test_where_it_is_not_possible(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(echo_app()) as server:
            async with bench.connect(server.port) as conn:
                await until(lambda: server.connections)
                [peer] = server.connections
                with pytest.raises(RuntimeError, match="only the side that connected"):
                    await peer.migrate()
            with pytest.raises(naquid.ConnectionLost):
                await conn.migrate()

    run(main)


def test_from_the_port_of_an_endpoint(run: Variant, bench: Bench) -> None:
    """It leaves that port, and the endpoint's others stay."""

    async def main() -> None:
        async with (
            bench.serve(echo_app()) as server,
            naquid.Endpoint(HOST) as endpoint,
            endpoint.connect(HOST, server.port, ca=bench.ca.ca) as mover,
            endpoint.connect(HOST, server.port, ca=bench.ca.ca) as other,
        ):
            await mover.migrate()
            assert mover.local_address != other.local_address == (HOST, endpoint.port)
            for conn in (mover, other):
                assert await echoes(await conn.open_rpc("echo"))

    run(main)


class Told:
    """Stands for the watcher: the test tells of the changes."""

    made: ClassVar[list[Told]] = []

    def __init__(self, changed: Callable[[], object]) -> None:
        self.changed = changed
        self.closed = False
        Told.made.append(self)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    monkeypatch.setattr(Told, "made", [])
    monkeypatch.setattr(roaming, "Watcher", Told)
    monkeypatch.setattr(roaming, "supported", lambda: True)
    return Told.made


def test_the_network_changes(run: Variant, bench: Bench, told: list[Told]) -> None:
    """Those that asked for it move, once for changes close together; with the last of them the watcher ends."""

    async def main() -> None:
        async with bench.serve(echo_app()) as server:
            async with bench.connect(server.port) as still:
                where = still.local_address
                async with bench.connect(server.port, track_network=True) as one:
                    async with bench.connect(server.port, track_network=True) as two:
                        await asyncio.gather(one.ping(), two.ping())
                        [watcher] = told
                        before = one.local_address, two.local_address
                        for _ in range(5):
                            await asyncio.to_thread(watcher.changed)
                        await until(lambda: before[0] != one.local_address)
                        await until(lambda: before[1] != two.local_address)
                        after = one.local_address, two.local_address
                        for conn in (one, two, still):
                            assert await echoes(await conn.open_rpc("echo"))
                        assert (one.local_address, two.local_address) == after
                    assert not watcher.closed
                    assert len(told) == 1
                assert watcher.closed
                assert still.local_address == where
                watcher.changed()  # the thread may be late
            async with bench.connect(server.port, track_network=True):
                assert len(told) == 2

    run(main)
    assert told[1].closed
    assert roaming._trackers == {}
    told[1].changed()


def test_one_that_is_away(run: Variant, bench: Bench, told: list[Told]) -> None:
    """A connection that is being brought back does not move; once it is back it does."""

    async def main() -> None:
        async with bench.serve(echo_app()) as server:
            backoff = naquid.Backoff(initial=0.0)
            async with bench.connect(server.port, track_network=True, reconnect=backoff) as conn:
                await until(lambda: server.connections)
                first = server.connections
                for each in first:
                    each.abort(1)
                told[0].changed()
                await until(lambda: server.connections - first)
                await conn.wait_open()
                await conn.ping()
                before = conn.local_address
                told[0].changed()
                await until(lambda: conn.local_address != before)
                assert await echoes(await conn.open_rpc("echo"))

    run(main)


def test_where_nobody_tells(
    run: Variant, bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(changed: Callable[[], object]) -> Any:
        raise OSError("no netlink")

    async def main() -> None:
        async with bench.serve(echo_app()) as server:
            monkeypatch.setattr(roaming, "supported", lambda: False)
            async with bench.connect(server.port, track_network=True) as conn:
                assert await echoes(await conn.open_rpc("echo"))
            monkeypatch.setattr(roaming, "supported", lambda: True)
            monkeypatch.setattr(roaming, "Watcher", fails)
            async with bench.connect(server.port, track_network=True) as conn:
                assert await echoes(await conn.open_rpc("echo"))

    run(main)
    messages = [record.getMessage() for record in caplog.records if record.name == "naquid"]
    assert messages == [
        "track_network: this system does not tell of changes of its network",
        "track_network: changes of the network cannot be followed: no netlink",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
def test_the_watcher_itself(run: Variant, bench: Bench) -> None:
    """Its thread is there while it is needed, and no longer."""

    def watching() -> int:
        return sum(thread.name == "naquid-reachability" for thread in threading.enumerate())

    async def main() -> None:
        before = watching()
        async with bench.serve(echo_app()) as server:
            async with bench.connect(server.port, track_network=True):
                assert watching() == before + 1
            assert watching() == before

    run(main)


def test_a_simulated_host(run_sim: OnSim, bench: Bench) -> None:
    """It has a port of its own, too, and the network follows it there."""

    async def main() -> None:
        async with bench.pair(echo_app()) as (server, conn):
            await conn.ping()
            before = conn.local_address
            await conn.migrate()
            assert conn.local_address != before
            [peer] = server.connections
            assert peer.remote_address is not None
            assert conn.local_address is not None
            assert peer.remote_address[1] == conn.local_address[1]
            assert await echoes(await conn.open_rpc("echo"))

    run_sim(main)


def test_the_setting_is_checked() -> None:
    wrong: Any = 1
    with pytest.raises(naquid.ConfigError, match="track_network"):
        naquid.ClientConfig(track_network=wrong)
