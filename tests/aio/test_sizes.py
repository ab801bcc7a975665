"""Messages from 0 bytes to the limit, and one byte more: refused with a clear error and the right code."""

from __future__ import annotations

import asyncio

import pytest
from harness import Bench, Unraisable, Variant, engine, noise, until

import naquid

MIB = 1 << 20
SIZES = [0, 1, 127, 128, 1000, 1024, 1025, 16383, 16384, 65535, 65536, MIB, 2 * MIB + 1, 2097151, 2097152, 16 * MIB]
TOO_BIG = 0x04  # NQ_CODE_TOO_BIG
BIG = {"limits": naquid.Limits(max_message_size=17 * MIB)}


def app() -> naquid.Handlers:
    handlers = naquid.Handlers()
    handlers.rpc("rpc")(lambda rpc, type, payload: payload)

    @handlers.stream("records")
    async def records(stream: naquid.Stream) -> None:
        async for record in stream:
            await stream.send(record)

    return handlers


def test_records(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            stream = await conn.open_stream("records")
            for size in SIZES:
                record = noise(size)
                await stream.send(record)
                assert await stream.recv() == record

    run(main)


def test_records_in_a_row(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            stream = await conn.open_stream("records")

            async def send() -> None:
                for number in range(3000):
                    await stream.send(noise(number % 700, number))
                stream.finish()

            sending = asyncio.ensure_future(send())
            number = 0
            async for record in stream:
                assert record == noise(number % 700, number)
                number += 1
            assert number == 3000
            await sending
            await stream.wait_closed()

    run(main)


def test_payloads(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            rpc = await conn.open_rpc("rpc")
            for size in SIZES:
                payload = noise(size)
                assert await rpc.call(1, payload) == payload

    run(main)


def test_own_limit(run: Variant, bench: Bench) -> None:
    """The sender refuses what is above its own limit; the stream is unharmed."""

    async def main() -> None:
        async with bench.pair(app()) as (_, conn):
            stream = await conn.open_stream("records")
            rpc = await conn.open_rpc("rpc")
            huge = bytes(16 * MIB + 1)
            with pytest.raises(naquid.MessageTooBig, match="max_message_size"):
                await stream.send(huge)
            with pytest.raises(naquid.MessageTooBig, match="max_message_size"):
                await rpc.call(1, huge)
            with pytest.raises(naquid.MessageTooBig, match="max_message_size"):
                rpc.notify(1, huge)
            with pytest.raises(ValueError, match="max_message_size"):
                rpc.call_soon(1, huge, print)
            await stream.send(b"fits")
            assert await stream.recv() == b"fits"
            assert await rpc.call(1, b"fits") == b"fits"

    run(main)


def test_limit_of_the_peer(run: Variant, bench: Bench) -> None:
    """A peer with a higher limit sends one byte too many: a stream of records ends with the code, one call fails."""

    async def main() -> None:
        async with bench.pair(app(), client=BIG) as (_, conn):
            for size in (16 * MIB + 1, 17 * MIB):
                stream = await conn.open_stream("records")
                await stream.send(b"before")
                assert await stream.recv() == b"before"
                await stream.send(bytes(size))
                with pytest.raises(naquid.StreamReset) as reset:
                    await stream.recv()
                assert reset.value.code == TOO_BIG
                with pytest.raises(naquid.StreamReset) as reset:
                    await stream.send(b"after")
                assert reset.value.code == TOO_BIG
                rpc = await conn.open_rpc("rpc")
                with pytest.raises(naquid.RpcError, match=r"above the peer's Limits\.max_message_size") as error:
                    await rpc.call(1, bytes(size))
                assert error.value.code == naquid.ETOOBIG
                assert await rpc.call(1, b"goes on") == b"goes on"

    run(main)


def test_notifications_above_the_limit_of_the_peer(run: Variant, bench: Bench) -> None:
    """Nobody waits for an answer: it is dropped and counted, and what comes behind it is delivered."""
    handlers = naquid.Handlers()
    got: list[bytes] = []
    handlers.rpc("rpc")(lambda rpc, type, payload: payload)
    handlers.rpc_notify("rpc")(lambda rpc, type, payload: got.append(payload))

    async def main() -> None:
        async with bench.pair(handlers, server={"limits": naquid.Limits(max_message_size=1000)}) as (_, conn):
            before = engine().stats()["too_big"]
            rpc = await conn.open_rpc("rpc")
            for size in (1001, 1000, 70_000, 0):
                rpc.notify(1, bytes(size))
            replies = await asyncio.gather(
                *(rpc.call(1, bytes(size)) for size in (1001, 1000, 2 * MIB, 5)), return_exceptions=True
            )
            assert [getattr(reply, "code", None) for reply in replies] == [naquid.ETOOBIG, None, naquid.ETOOBIG, None]
            assert [len(each) for each in got] == [1000, 0]
            assert engine().stats()["too_big"] - before == 4

    run(main)


def test_reply_that_is_too_big(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    """A reply above the server's own limit becomes an error reply; one above the caller's ends its call."""
    handlers = naquid.Handlers()
    handlers.rpc("size")(lambda rpc, type, payload: bytes(int(payload)))

    async def main() -> None:
        async with bench.pair(handlers) as (_, conn):
            rpc = await conn.open_rpc("size")
            with pytest.raises(naquid.RpcError) as caught:
                await rpc.call(1, b"%d" % (16 * MIB + 1))
            assert caught.value.code == naquid.ETOOBIG
            assert len(await rpc.call(1, b"%d" % (16 * MIB))) == 16 * MIB

    async def smaller() -> None:
        limits = naquid.Limits(max_message_size=1000)
        async with bench.pair(handlers, client={"limits": limits}) as (_, conn):
            rpc = await conn.open_rpc("size")
            assert len(await rpc.call(1, b"1000")) == 1000
            results: list[int] = []
            rpc.call_soon(1, b"1001", lambda result, payload: results.append(result))
            many = rpc.call_many(1, [b"1000", b"50000", b"999"], return_exceptions=True)
            with pytest.raises(naquid.MessageTooBig, match="this side's"):
                await rpc.call(1, b"1001")
            assert [type(each) for each in await many] == [bytes, naquid.MessageTooBig, bytes]
            assert results == [naquid.ETOOBIG]
            assert len(await rpc.call(1, b"1000")) == 1000
            assert conn.loop_stats()["too_big"] >= 3

    run(main)
    assert [type(error) for error in unraisable.take()] == [naquid.MessageTooBig]
    run(smaller)


def test_a_message_of_one_byte_limit(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        config = {"limits": naquid.Limits(max_message_size=1)}
        async with bench.pair(app(), server=config, client=config) as (_, conn):
            rpc = await conn.open_rpc("rpc")
            assert await rpc.call(1, b"1") == b"1"
            with pytest.raises(naquid.MessageTooBig):
                await rpc.call(1, b"22")

    run_once(main)


def test_send_queue_is_bounded(run: Variant, bench: Bench) -> None:
    """What nobody takes may queue up to max_send_queue, then sending raises and nothing is lost."""
    handlers = naquid.Handlers()
    go = asyncio.Event()
    got: list[int] = []

    @handlers.stream("later")
    async def later(stream: naquid.Stream) -> None:
        await go.wait()
        async for record in stream:
            assert record == noise(100_000, len(got))
            got.append(len(record))

    async def main() -> None:
        limits = naquid.Limits(max_send_queue=4 * MIB)
        async with bench.pair(handlers, client={"limits": limits}) as (_, conn):
            stream = await conn.open_stream("later")
            sent = 0

            def fill() -> None:
                nonlocal sent
                while True:
                    stream.send_nowait(noise(100_000, sent))
                    sent += 1

            with pytest.raises(naquid.QueueFull, match="max_send_queue"):
                fill()
            assert 4 * MIB - 200_000 < stream.queued <= 4 * MIB
            assert conn.stats().queued == stream.queued
            go.set()
            stream.finish()
            await until(lambda: len(got) == sent)

    run(main)
