"""Datagrams and PINGs."""

from __future__ import annotations

import asyncio

import pytest
from harness import Bench, Unraisable, Variant, noise, until

import naquid

# ---- datagrams ----


def test_datagrams(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        conn.send_datagram(data[::-1])

    got: list[bytes] = []
    client_app = naquid.Handlers()

    @client_app.datagram
    async def back(conn: naquid.Connection, data: bytes) -> None:
        got.append(data)

    async def main() -> None:
        async with bench.pair(app, client_app) as (_, conn):
            most = conn.max_datagram_size
            assert 1000 < most < 1452
            sent = [b"", b"1", noise(500), noise(most)]
            for data in sent:
                conn.send_datagram(data)
            await until(lambda: len(got) == len(sent))
            assert got == [data[::-1] for data in sent]
            with pytest.raises(naquid.MessageTooBig):
                conn.send_datagram(bytes(most + 1))
            with pytest.raises(TypeError):
                conn.send_datagram("text")  # type: ignore[arg-type]
        with pytest.raises(naquid.ConnectionLost):
            conn.send_datagram(b"late")

    run(main)


def test_datagrams_are_refused(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        none = {"limits": naquid.Limits(max_datagram_size=0)}
        async with bench.pair(naquid.Handlers(), server=none) as (_, conn):
            assert conn.max_datagram_size == 0
            with pytest.raises(naquid.MessageTooBig):
                conn.send_datagram(b"x")
            assert conn.is_open

    run(main)


def test_newest_datagrams_are_kept(run: Variant, bench: Bench) -> None:
    got: list[bytes] = []
    app = naquid.Handlers()
    app.datagram(lambda conn, data: got.append(data))

    async def main() -> None:
        few = {"limits": naquid.Limits(datagram_queue=4)}
        async with bench.pair(app, client=few) as (_, conn):
            for number in range(100):
                conn.send_datagram(b"%d" % number)
            await until(lambda: b"99" in got)
            assert got == [b"96", b"97", b"98", b"99"]

    run(main)


def test_datagram_handler_that_raises(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    app = naquid.Handlers()
    got: list[bytes] = []

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        got.append(data)
        raise ZeroDivisionError

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            conn.send_datagram(b"1")
            await until(lambda: len(got) == 1)
            conn.send_datagram(b"2")
            await until(lambda: len(got) == 2)
        assert len(unraisable.take()) == 2

    run(main)


def test_ping(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(naquid.Handlers()) as (server, conn):
            assert await conn.ping() > 0
            await until(lambda: server.connections)
            (accepted,) = server.connections
            results = await asyncio.gather(conn.ping(), conn.ping(), accepted.ping())
            assert all(rtt > 0 for rtt in results)
            cancelled = asyncio.ensure_future(conn.ping())
            await asyncio.sleep(0)
            cancelled.cancel()
            assert await conn.ping() > 0

    run(main)
