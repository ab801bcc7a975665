"""Streams that the reader asks to stop end on both sides, whatever is lost or overtaken on the way."""

from __future__ import annotations

import random
from typing import Any

import pytest
from harness import Bench, Variant, until

import naquid
from naquid.testing import Relay


@pytest.mark.parametrize("seed", range(3))
def test_they_end_on_a_bad_network(run: Variant, bench: Bench, seed: int) -> None:
    """What came out of order before or after the stream was stopped is acknowledged: it counts as come, for its writer
    may have everything acknowledged, and then says no more."""
    came: list[naquid.RawStream] = []
    conns: list[naquid.Connection] = []
    app, peer = naquid.Handlers(), naquid.Handlers()
    app.on_connect(conns.append)
    dice = random.Random(seed)

    @peer.uni_stream
    async def take(stream: naquid.RawStream) -> None:
        await stream.readexactly(2)
        came.append(stream)
        await stream.wait_closed()

    def do(what: str, writer: naquid.RawStream, reader: naquid.RawStream) -> None:
        try:
            if what == "stop":
                reader.stop_sending(1)
            elif what == "write":
                for _ in range(3):
                    writer.write(bytes(5000))
            else:
                writer.write_eof()
        except (naquid.StreamReset, naquid.StreamClosed):
            assert what != "stop"  # it was stopped already

    async def main() -> None:
        limits: dict[str, Any] = {"limits": naquid.Limits(keep_alive=0.02)}
        async with (
            bench.serve(app) as server,
            Relay(server, seed=seed, loss=0.1, reorder=0.1) as relay,
            bench.connect(relay.port, peer, **limits) as conn,
        ):
            await until(lambda: conns)
            for number in range(40):
                writer = await conns[0].open_uni_stream()
                writer.write(b"hi")
                await until(lambda number=number: len(came) > number)
                steps = ["stop", "write", "finish"][: dice.choice([2, 3])]
                dice.shuffle(steps)
                for step in steps:
                    do(step, writer, came[-1])
                    if dice.random() < 0.5:
                        await conn.ping()
                for end in (came[-1], writer):
                    end.close()
                for end in (came[-1], writer):
                    await end.wait_closed()
            assert conn.stats().streams == conns[0].stats().streams == 0
            relay.change(loss=0.0, reorder=0.0)

    run(main)
