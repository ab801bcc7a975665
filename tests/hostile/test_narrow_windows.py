"""Peers that ask for more than they take: their windows are of 1 KiB, and the server's memory is bounded."""

from __future__ import annotations

from typing import Any

import pytest
from harness import Bench, Variant, engine, until
from quic import client, frame

import naquid

KIB = 1024
MIB = KIB * KIB
WINDOW = 1024
ASKED = 20_000


def answering(kind: str, size: int, made: list[int]) -> naquid.Handlers:
    """Handlers whose replies are bytes of their own: nothing is shared."""
    app = naquid.Handlers()

    def reply() -> bytes:
        made.append(size)
        return bytes([len(made) & 255]) * size

    async def coroutine(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return reply()

    if kind == "plain":
        app.rpc("ask")(lambda rpc, type, payload: reply())
    elif kind == "coroutine":
        app.rpc("ask")(coroutine)
    else:
        app.rpc_batch("ask")(lambda batch: [reply() for _ in range(len(batch))])
    app.rpc("echo")(lambda rpc, type, payload: payload)
    return app


@pytest.mark.parametrize("size", [100, KIB, 64 * KIB])
@pytest.mark.parametrize("kind", ["plain", "coroutine", "batch"])
def test_replies_that_nobody_takes(run: Variant, bench: Bench, kind: str, size: int) -> None:
    """Twenty thousand requests on four streams of a peer that never gives credit: at most 1 MiB of their replies is
    made and waits, the connection is told apart, and others are served as ever."""
    made: list[int] = []

    async def main() -> None:
        async with (
            bench.serve(answering(kind, size, made)) as server,
            bench.connect(server.port) as witness,
            client(server.port, bench.ca.ca, max_data=WINDOW, max_stream_data=WINDOW) as peer,
        ):
            rpc = await witness.open_rpc("echo")
            assert await rpc.call(1, b"before") == b"before"
            peer._quic._write_connection_limits = lambda *a, **k: None  # type: ignore[method-assign]
            peer._quic._write_stream_limits = lambda *a, **k: None  # type: ignore[method-assign]
            most = 0
            for _ in range(4):
                peer.open(b"ask\0" + b"".join(frame(1, 1 + number, b"") for number in range(ASKED // 4)))
            for _ in range(200):
                most = max(most, engine().stats()["send_buffer_bytes"])
                assert await rpc.call(1, b"meanwhile") == b"meanwhile"
            await until(lambda: engine().stats()["held_connections"] == 1)
            assert engine().stats()["reply_holds"] >= 1
            settled = len(made)
            for _ in range(50):
                assert await rpc.call(1, b"meanwhile") == b"meanwhile"
            most = max(most, engine().stats()["send_buffer_bytes"])
            assert len(made) == settled
            assert sum(made) <= MIB
            assert most <= MIB

    run(main)


@pytest.mark.parametrize("size", [100, 4 * KIB])
def test_replies_that_are_taken_slowly(run: Variant, bench: Bench, size: int) -> None:
    """A naquid client with such windows, which reads: all of its replies arrive, a few at a time."""
    made: list[int] = []
    narrow = naquid.Limits(stream_window=WINDOW, connection_window=WINDOW)

    async def main() -> None:
        async with bench.pair(answering("plain", size, made), client={"limits": narrow}) as (_, conn):
            rpc = await conn.open_rpc("ask")
            calls: list[Any] = [rpc.call(1, b"") for _ in range(200)]
            ahead = 0
            for number, call in enumerate(calls):
                assert len(await call) == size
                ahead = max(ahead, sum(made) - number * size)
            assert ahead <= MIB

    run(main)
