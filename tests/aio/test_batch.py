"""Batch handlers and call_many: many requests in one Python call, many calls in one await."""

from __future__ import annotations

import asyncio

import pytest
from harness import Bench, Unraisable, Variant

import naquid


def app(sizes: list[int]) -> naquid.Handlers:
    handlers = naquid.Handlers()

    @handlers.rpc_batch("sum")
    def add(batch: naquid.RpcBatch) -> list[bytes | naquid.RpcError | None]:
        sizes.append(len(batch))
        assert len(batch.rpcs) == len(batch.types) == len(batch.payloads) == len(batch)
        replies: list[bytes | naquid.RpcError | None] = []
        for i, (rpc, type, payload) in enumerate(batch):
            assert isinstance(rpc, naquid.Rpc)
            if type == 2:
                replies.append(naquid.RpcError(payload))
            elif type == 3:
                asyncio.get_running_loop().call_soon(batch.defer(i).reply, b"later " + payload)
                replies.append(None)
            elif type == 4:
                raise ValueError("the whole batch")
            elif type == 5:
                replies.append("not bytes")  # type: ignore[arg-type]
            else:
                replies.append(bytearray(payload) if type == 6 else payload)  # type: ignore[arg-type]
        return replies

    @handlers.rpc_batch("short")
    def short(batch: naquid.RpcBatch) -> list[bytes]:
        return []

    return handlers


def test_many_calls_in_few_batches(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        sizes: list[int] = []
        async with bench.pair(app(sizes)) as (_, conn):
            rpc = await conn.open_rpc("sum")
            payloads = [b"%d" % i for i in range(3000)]
            assert await rpc.call_many(1, payloads) == payloads
            assert sum(sizes) == 3000
            assert len(sizes) < 1000
            assert await rpc.call_many(1, []) == []
            assert await rpc.call_many(6, (p for p in payloads[:3])) == payloads[:3]
            assert await asyncio.create_task(rpc.call_many(3, payloads[:50])) == [b"later " + p for p in payloads[:50]]
            assert await asyncio.gather(rpc.call(1, b"one"), rpc.call_many(1, [b"two"])) == [b"one", [b"two"]]

    run(main)


def test_errors_in_a_batch(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    async def main() -> None:
        async with bench.pair(app([])) as (_, conn):
            rpc = await conn.open_rpc("sum")
            both = await asyncio.gather(rpc.call(1, b"good"), rpc.call(2, b"bad"), return_exceptions=True)
            assert both[0] == b"good"
            assert isinstance(both[1], naquid.RpcError)
            assert both[1].payload == b"bad"
            with pytest.raises(naquid.RpcError):
                await rpc.call_many(2, [b"x"] * 10)
            listed = await rpc.call_many(2, [b"x", b"y"], return_exceptions=True)
            assert [error.payload for error in listed] == [b"x", b"y"]
            assert not unraisable.take()
            for type in (4, 5):
                with pytest.raises(naquid.RpcError):
                    await rpc.call(type, b"")
                assert len(unraisable.take()) == 1
            short = await conn.open_rpc("short")
            with pytest.raises(naquid.RpcError):
                await short.call(1)
            assert "0 replies for 1 requests" in str(unraisable.take()[0])
            assert await rpc.call(1, b"still there") == b"still there"

    run(main)


def test_cancelled_and_lost(run: Variant, bench: Bench) -> None:
    handlers = naquid.Handlers()
    handlers.rpc_batch("silent")(lambda batch: None)

    async def main() -> None:
        async with bench.pair(handlers) as (_, conn):
            rpc = await conn.open_rpc("silent")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await rpc.call_many(1, [b""] * 100)
            assert conn.loop_stats()["pending_calls"] == 0
            with pytest.raises(naquid.CallTimeout):
                await rpc.call_many(1, [b""] * 100, timeout=0.01)
            with pytest.raises(ValueError, match="request type"):
                rpc.call_many(0, [b""])
            with pytest.raises(TypeError):
                rpc.call_many(1, [b"", None])  # type: ignore[list-item]
            assert conn.loop_stats()["pending_calls"] == 0
            lost = asyncio.create_task(rpc.call_many(1, [b""] * 100))
            await asyncio.sleep(0.01)
            await conn.close()
            with pytest.raises(naquid.ConnectionLost):
                await lost

    run(main)


def test_a_batch_handler_is_a_plain_function() -> None:
    async def handler(batch: naquid.RpcBatch) -> None: ...

    with pytest.raises(naquid.ConfigError, match="plain function"):
        naquid.Handlers().rpc_batch("name")(handler)
