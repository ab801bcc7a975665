"""Streams that the peer has no handler for: StreamRefused, whatever is done with them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from aio_apps import echo_app
from harness import Bench, Variant, until

import naquid


def test_what_it_is() -> None:
    error = naquid.StreamRefused("chat")
    assert (error.name, error.code) == ("chat", 2)
    assert isinstance(error, naquid.StreamError)
    assert not isinstance(error, naquid.ConnectionError)
    assert "'chat'" in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.name, str(copy)) == (naquid.StreamRefused, "chat", str(error))
    assert "raw_stream" in str(naquid.StreamRefused(None))


def test_calls(run: Variant, bench: Bench) -> None:
    """Those that wait, those that come later, and everything else of an RPC stream."""

    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            rpc = await conn.open_rpc("nobody")
            results: list[int] = []
            rpc.call_soon(1, b"", lambda result, payload: results.append(result))
            waiting = [rpc.call(type) for type in (1, 2, 3)]
            many = rpc.call_many(1, [b"", b""])
            for call in (*waiting, many, rpc.call_many(1, [b""], return_exceptions=True)):
                with pytest.raises(naquid.StreamRefused, match="'nobody'") as caught:
                    await call
                assert caught.value.name == "nobody"
            assert results == [naquid.EGOAWAY]
            await rpc.wait_closed()
            doings: list[Any] = [
                lambda: rpc.call(1),
                lambda: rpc.call_many(1, [b""]),
                lambda: rpc.call_soon(1, b"", print),
                lambda: rpc.notify(1),
            ]
            for do in doings:
                with pytest.raises(naquid.StreamRefused):
                    do()
            assert await (await conn.open_rpc("echo")).call(1, b"goes on") == b"goes on"
        with pytest.raises(naquid.StreamRefused):  # still the reason, once the connection has ended
            rpc.notify(1)

    run(main)


def test_records(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            stream = await conn.open_stream("nobody")
            await stream.send(b"one")
            with pytest.raises(naquid.StreamRefused, match="'nobody'"):
                await stream.recv()
            with pytest.raises(naquid.StreamRefused):
                await anext(stream)
            for _ in range(2):
                with pytest.raises(naquid.StreamRefused):
                    await stream.send(b"two")
            with pytest.raises(naquid.StreamRefused):
                stream.send_nowait(b"three")
            await stream.wait_closed()
            with pytest.raises(naquid.StreamRefused):
                await stream.drain()

    run(main)


def test_a_sender_that_waits(run: Variant, bench: Bench) -> None:
    """More than the peer takes of what it refuses."""

    async def main() -> None:
        limits = naquid.Limits(send_high=1, send_low=0)
        async with bench.pair(echo_app(), client={"limits": limits}) as (_, conn):
            stream = await conn.open_stream("nobody")
            await stream.send(bytes(100_000))
            refusal: naquid.StreamRefused | None = None
            while refusal is None:
                try:
                    await stream.send(bytes(100_000))
                except naquid.StreamRefused as error:
                    refusal = error

    run(main)


@pytest.mark.parametrize(("opened", "named"), [("nobody", "nobody"), (None, "raw"), ("", None)])
def test_bytes(run: Variant, bench: Bench, opened: str | None, named: str | None) -> None:
    app = echo_app()

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            await (await conn.open_rpc("echo")).call(1)  # names are in use from here on
            stream = await conn.open_raw_stream(opened)
            stream.write(b"\x05")  # as bare bytes it is the start of a name that never comes
            stream.write_eof()
            for read in (stream.read, stream.readline):
                with pytest.raises(naquid.StreamRefused) as caught:
                    await read()
                assert caught.value.name == named

    run(main)


def test_one_direction(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(echo_app()) as (_, conn):
            stream = await conn.open_uni_stream()
            stream.write(b"one")
            await until(lambda: stream.is_closed)
            with pytest.raises(naquid.StreamRefused, match="uni_stream"):
                await stream.drain()
            with pytest.raises(naquid.StreamRefused, match="uni_stream"):
                stream.write(b"more")

    run(main)


def test_a_protocol_of_bare_bytes(run: Variant, bench: Bench) -> None:
    """Under an ALPN name of its own, where the server has handlers for nothing."""
    silent = naquid.Handlers()

    async def main() -> None:
        async with (
            naquid.serve({"own/1": silent}, "127.0.0.1", cert=bench.leaf.cert, key=bench.leaf.key) as server,
            naquid.connect("127.0.0.1", server.port, ca=bench.ca.ca, alpn="own/1") as conn,
        ):
            stream = await conn.open_raw_stream()
            stream.write(b"hello")
            with pytest.raises(naquid.StreamRefused, match="bare bytes"):
                await stream.read()

    run(main)


def test_a_code_of_the_applications_own(run: Variant, bench: Bench) -> None:
    """The number is the application's as soon as a handler has answered; and other numbers are no refusal."""
    app = naquid.Handlers()

    @app.stream("resets")
    async def resets(stream: naquid.Stream) -> None:
        code = await stream.recv()
        await stream.send(b"an answer")
        await stream.recv()  # it has arrived
        stream.reset(int(code or b""))

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            for code in (2, 1, 0):
                stream = await conn.open_stream("resets")
                await stream.send(b"%d" % code)
                assert await stream.recv() == b"an answer"
                await stream.send(b"")
                with pytest.raises(naquid.StreamReset) as caught:
                    await stream.recv()
                assert (type(caught.value), caught.value.code) == (naquid.StreamReset, code)

    run(main)
