"""Batch handlers and call_many: many requests in one Python call, many calls in one await."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import Callable
from typing import Any

import pytest
from harness import Bench, Unraisable, Variant, settled

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


def test_a_batch_of_several_streams(run: Variant, bench: Bench) -> None:
    batches: list[list[tuple[object, int, bytes]]] = []
    handlers = naquid.Handlers()

    @handlers.rpc_batch("who")
    def who(batch: naquid.RpcBatch) -> list[bytes | None]:
        batches.append(list(batch))
        assert [type for _, type, _ in batch] == batch.types
        assert [rpc for rpc, _, _ in batch] == batch.rpcs
        assert len(batch) == len(batch.rpcs) == len(batch.payloads)
        for i in (-1, len(batch)):
            with pytest.raises(IndexError):
                batch.defer(i)
        for i, type in enumerate(batch.types):
            batch.defer(i).reply(b"%d of %d" % (type, batch.rpcs[i].stream_id))
        batch.payloads.clear()  # the handler's own now
        return [None] * len(batch)

    async def main() -> None:
        async with bench.pair(handlers) as (_, conn):
            rpcs = [await conn.open_rpc("who") for _ in range(5)]
            calls = [rpc.call(type, b"") for type in range(1, 30) for rpc in rpcs]
            many = [rpc.call_many(40, [b""] * 50) for rpc in rpcs]
            wanted = [b"%d of %d" % (type, rpc.stream_id) for type in range(1, 30) for rpc in rpcs]
            assert await asyncio.gather(*calls) == wanted
            assert await asyncio.gather(*many) == [[b"40 of %d" % rpc.stream_id] * 50 for rpc in rpcs]
            assert any(len({rpc for rpc, _, _ in batch}) > 1 for batch in batches)

    run(main)


def test_payloads_of_every_kind(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app([])) as (_, conn):
            rpc = await conn.open_rpc("sum")
            wanted = [bytes([i % 256]) * (i % 40) for i in range(1000)] + [bytes(100_000)]
            kinds = (bytes, bytes, bytearray, bytes, memoryview)
            payloads = [kinds[i * i % 5](data) for i, data in enumerate(wanted)]
            assert await rpc.call_many(1, payloads) == wanted
            with pytest.raises(TypeError):
                rpc.call_many(1, [*payloads, "text"])  # type: ignore[list-item, unused-coroutine]
            assert conn.loop_stats()["pending_calls"] == 0
            assert await rpc.call_many(1, payloads) == wanted

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
            assert [getattr(error, "payload", None) for error in listed] == [b"x", b"y"]
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
    handlers.rpc_batch("silent")(lambda batch: None)  # type: ignore[type-var]

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
                rpc.call_many(0, [b""])  # type: ignore[unused-coroutine]
            with pytest.raises(TypeError):
                rpc.call_many(1, [b"", None])  # type: ignore[list-item, unused-coroutine]
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
        naquid.Handlers().rpc_batch("name")(handler)  # type: ignore[type-var]


class Interrupted(asyncio.SelectorEventLoop):
    """Runs something of somebody else's, once, where another thread could run."""

    hook: Callable[[], None] | None = None

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        hook, self.hook = self.hook, None
        if hook:
            hook()
        return super().call_soon(callback, *args, context=context)


@pytest.mark.parametrize("left", [0, 50])
def test_the_list_of_payloads_changes_when_a_turn_begins(bench: Bench, left: int) -> None:
    """The first call of a turn lets other threads run. What is sent is what is in the list then, and no memory of
    payloads that are gone. Without the interpreter's lock they could run at any time, so there it is what was given."""
    payloads = [b"%040d" % i for i in range(50)]
    sent = list(payloads) if sysconfig.get_config_var("Py_GIL_DISABLED") else [b"new"] * left
    others: list[bytes] = []

    def change() -> None:
        payloads[:] = [b"new"] * left
        others.extend(bytes([i]) * 40 for i in range(200))  # where the payloads were

    async def main(loop: Interrupted) -> None:
        async with bench.pair(app([])) as (_, conn):
            rpc = await conn.open_rpc("sum")
            await rpc.call(1)
            await asyncio.sleep(0.02)  # the turn that the reply began is over
            loop.hook = change
            assert await rpc.call_many(1, payloads) == sent
            assert payloads == [b"new"] * left
            assert others
        await settled()

    loop = Interrupted()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main(loop))
