"""Numbers from outside: what is no message ID, place in a batch or code is refused with a sentence; nothing changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness import Bench, Variant, until

import naquid

WRONG_IDS = [0, -1, 2**32, 2**40, -(2**70)]


@pytest.mark.parametrize("wrong", WRONG_IDS)
def test_wrong_message_ids(run_once: Variant, bench: Bench, wrong: int) -> None:
    """A reply that is refused leaves the request unanswered: the stream stays open for the right one."""

    async def main() -> None:
        asked: list[tuple[Any, int, Any]] = []
        app = naquid.Handlers()
        app.rpc("later")(lambda rpc, type, payload: asked.append((rpc, rpc.current_msgid, rpc.defer())))
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("later")
            calls = [rpc.call(1, b"%d" % i) for i in range(2)]
            await until(lambda: len(asked) == 2)
            peer, first, second = asked[0][0], asked[0][1], asked[1][2]
            for reply in (peer.reply, peer.reply_error):
                with pytest.raises(ValueError, match=f"message ID {wrong}: "):
                    reply(wrong, b"x")
                with pytest.raises(TypeError, match="a message ID is an int, not str"):
                    reply("1", b"x")
                with pytest.raises(TypeError, match="bytes-like"):
                    reply(first, 5)
            with pytest.raises(TypeError, match="bytes-like"):
                second.reply("text")
            for code in (0, 1, -32769, -(2**40), 2**40):
                with pytest.raises(ValueError, match="the code of an error reply is negative"):
                    peer.reply_error(first, b"x", code)
                with pytest.raises(ValueError, match="the code of an error reply is negative"):
                    second.error(b"x", code)
            with pytest.raises(TypeError, match="the code of an error reply is an int"):
                second.error(b"x", 1.5)
            rpc._finish()  # the peer closes the stream once all is answered, and not before
            await asyncio.sleep(0.05)
            peer.reply(first, b"one")
            second.reply(b"two")
            with pytest.raises(RuntimeError, match="has its reply already"):
                second.reply(b"again")
            assert await asyncio.gather(*calls) == [b"one", b"two"]
            await peer.wait_closed()

    run_once(main)


def test_a_reply_of_the_wrong_type_is_one_reply(run_once: Variant, bench: Bench, unraisable: Any) -> None:
    """A coroutine handler returns what cannot be sent: its caller has the error reply, the others have theirs."""

    async def main() -> None:
        waiting: list[Any] = []
        app = naquid.Handlers()

        @app.rpc("mixed")
        async def mixed(rpc: naquid.Rpc, type: int, payload: bytes) -> Any:
            if type == 1:
                return "text"
            waiting.append(rpc.defer())
            return None

        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("mixed")
            later = rpc.call(2)
            with pytest.raises(naquid.RpcError) as caught:
                await rpc.call(1)
            assert caught.value.code == naquid.EUSER
            rpc._finish()
            await asyncio.sleep(0.05)
            waiting[0].reply(b"late")
            assert await later == b"late"
        (error,) = unraisable.take()
        assert isinstance(error, TypeError)

    run_once(main)


@pytest.mark.parametrize("kind", ["coroutine", "function", "batch"])
def test_an_error_that_was_changed_to_what_cannot_be_sent(
    run_once: Variant, bench: Bench, unraisable: Any, kind: str
) -> None:
    async def main() -> None:
        def error() -> naquid.RpcError:
            made = naquid.RpcError(b"x")
            made.code = 2**40
            return made

        app = naquid.Handlers()
        if kind == "coroutine":

            @app.rpc("wrong")
            async def wrong(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
                raise error()

        elif kind == "function":

            @app.rpc("wrong")
            def wrong_too(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
                raise error()

        else:
            app.rpc_batch("wrong")(lambda batch: [error()] * len(batch))
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("wrong")
            with pytest.raises(naquid.RpcError) as caught:
                await rpc.call(1, timeout=20)
            assert caught.value.code == naquid.EUSER
        (reported,) = unraisable.take()
        assert isinstance(reported, ValueError)

    run_once(main)


def test_places_in_a_batch(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        app = naquid.Handlers()

        @app.rpc_batch("batch")
        def handler(batch: Any) -> list[bytes]:
            for wrong in (-1, len(batch), 2**40, 2**70, -(2**70)):
                with pytest.raises(IndexError, match=f"request {wrong} of a batch"):
                    batch.defer(wrong)
            for no_number in ("0", 0.0, None):
                with pytest.raises(TypeError, match="integer"):
                    batch.defer(no_number)
            return [b"ok"] * len(batch)

        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("batch")
            assert await rpc.call(1, timeout=20) == b"ok"

    run_once(main)


def test_sizes_above_memory_and_times_above_floats(run_once: Variant, bench: Bench) -> None:
    """As many bytes as there can be is all there are; a timeout that no float holds is out of range."""

    async def main() -> None:
        app = naquid.Handlers()
        app.rpc("echo")(lambda rpc, type, payload: payload)

        @app.raw_stream
        async def echo(stream: naquid.RawStream) -> None:
            stream.write(await stream.read())
            stream.write_eof()

        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("echo")
            for read in ("read", "read_view"):
                raw = await conn.open_raw_stream()
                raw.write(b"some")
                raw.write_eof()
                assert bytes(await getattr(raw, read)(2**80)) == b"some"
            raw = await conn.open_raw_stream()
            raw.write(b"some")
            raw.write_eof()
            with pytest.raises(asyncio.IncompleteReadError):
                await raw.readexactly(2**80)
            for call in (lambda t: rpc.call(1, b"x", t), lambda t: rpc.call_many(1, [b"x"], t)):
                with pytest.raises(ValueError, match="timeout is "):
                    call(10**400)
            with pytest.raises(TypeError):
                rpc.call(1, b"x", "soon")  # type: ignore[arg-type, unused-coroutine]

    run_once(main)
