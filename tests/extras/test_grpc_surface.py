"""naquid.grpc's metadata and calls: `grpc.aio`'s whole surface is there, and what is not carried is refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc_service import KINDS, Code, Service, aio, call, grpc, methods, outcome, request_of, served
from harness import Bench, Variant

import naquid
import naquid.grpc
from naquid.grpc import wire
from naquid.testing import Authority

# ---- metadata ----


@pytest.mark.parametrize(
    "metadata",
    [
        (("x", 7),),
        (("x", True),),
        (("x", [1, 2]),),
        (("x", None),),
        (("x", 1.5),),
        (("x", 200_000_000),),
        (("x-bin", "text"),),
        (("x-bin", 9),),
        ((7, "x"),),
        (("alone",),),
        ("ab",),
        "ab",
        7,
        {"ab": "b"},
    ],
)
def test_metadata_of_a_wrong_type_is_a_type_error(run_once: Variant, bench: Bench, metadata: Any) -> None:
    """In both directions, before anything is sent."""
    raised: list[type[Exception]] = []

    async def get(request: Any, context: Any) -> bytes:
        for use in (context.send_initial_metadata, context.set_trailing_metadata):
            with pytest.raises(TypeError):
                use(metadata)
            raised.append(TypeError)
        return b"good"

    async def main() -> None:
        async with served(bench, Service(unary_unary=get)) as channel:
            for kind in KINDS:
                with pytest.raises(TypeError, match=r"metadata|iterable"):
                    call(channel, kind, request_of(kind), metadata=metadata)
            assert await outcome(call(channel, "unary_unary")) == b"good"
            assert len(raised) == 2

    run_once(main)


@pytest.mark.parametrize("key", ["Upper", "a b", "", "ä", "a:b", "a\n"])
def test_metadata_keys_are_grpcs(run_once: Variant, bench: Bench, key: str) -> None:
    async def main() -> None:
        async with served(bench, Service()) as channel:
            with pytest.raises(ValueError, match="metadata key"):
                call(channel, "unary_unary", metadata=((key, "x"),))

    run_once(main)


def test_metadata_arrives_as_grpc_has_it(run_once: Variant, bench: Bench) -> None:
    seen: list[Any] = []

    async def get(request: Any, context: Any) -> bytes:
        seen.append(context.invocation_metadata())
        return b""

    async def main() -> None:
        async with served(bench, Service(unary_unary=get)) as channel:
            given = (
                (b"bytes", b"text"),
                ["list", "text"],
                ("raw-bin", bytearray(b"\xff")),
                ("same", "1"),
                ("same", "2"),
            )
            await call(channel, "unary_unary", metadata=given)
            assert seen == [(("bytes", "text"), ("list", "text"), ("raw-bin", b"\xff"), ("same", "1"), ("same", "2"))]

    run_once(main)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_metadata_of_responses(run: Variant, bench: Bench, asynchronous: bool) -> None:
    def body(context: Any) -> Any:
        context.set_trailing_metadata((("cost", "3"), ("proof-bin", b"\1")))
        assert context.trailing_metadata() == (("cost", "3"), ("proof-bin", b"\1"))
        return context.send_initial_metadata((("server", "one"),))

    async def main() -> None:
        async with served(bench, Service(**methods(body, asynchronous))) as channel:
            for kind in KINDS:
                made = call(channel, kind, request_of(kind))
                if kind.endswith("stream"):  # before anything is read, and no message is lost by it
                    assert await made.initial_metadata() == aio.Metadata(("server", "one"))
                assert await outcome(made) in (b"secret", [b"secret"])
                assert await made.initial_metadata() == aio.Metadata(("server", "one"))
                assert await made.trailing_metadata() == aio.Metadata(("cost", "3"), ("proof-bin", b"\1"))
                assert await made.code() is Code.OK

    run(main)


def test_calls_without_metadata_of_responses(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with served(bench, Service(**methods(lambda context: None, True))) as channel:
            for kind in KINDS:
                made = call(channel, kind, request_of(kind))
                if kind.endswith("stream"):
                    assert await made.initial_metadata() == aio.Metadata()
                assert await outcome(made) in (b"secret", [b"secret"])
                assert await made.initial_metadata() == await made.trailing_metadata() == aio.Metadata()

    run_once(main)


def test_initial_metadata_that_is_too_late(run_once: Variant, bench: Bench) -> None:
    async def listing(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        with pytest.raises(aio.UsageError):
            await context.send_initial_metadata(())
        yield b"second"

    async def get(request: Any, context: Any) -> bytes:
        await context.send_initial_metadata((("a", "b"),))
        with pytest.raises(aio.UsageError):
            await context.send_initial_metadata((("c", "d"),))
        return b"good"

    async def main() -> None:
        async with served(bench, Service(unary_stream=listing, unary_unary=get)) as channel:
            assert await outcome(call(channel, "unary_stream")) == [b"first", b"second"]
            assert await outcome(call(channel, "unary_unary")) == b"good"

    run_once(main)


@pytest.mark.parametrize(
    "payload", [b"", b"\0\0\0\2[]\0", b"\0\0\0\4[[]]\0", b"\0\0\0\5[[],[]]", b"\0\0\0\7[[1],[]]\0", b"\xff" * 9]
)
def test_answers_that_cannot_be_read(run_once: Variant, bench: Bench, payload: bytes) -> None:
    async def main() -> None:
        app = naquid.Handlers()

        @app.rpc("/S/unary_unary")
        def get(rpc: naquid.Rpc, type: int, request: bytes) -> bytes:
            raise naquid.RpcError(payload, wire.ANSWER)

        async with bench.pair(app) as (_, conn):
            channel = naquid.grpc.Channel(conn)
            assert await outcome(call(channel, "unary_unary")) == (Code.INTERNAL, "the server's answer cannot be read")

    run_once(main)


# ---- the surface ----


def test_the_whole_surface_of_grpc_aio_is_there() -> None:
    """An abstract method that a newer grpcio adds would fail here, and when the class is made."""
    surfaces = [
        (naquid.grpc.Context, (aio.ServicerContext, grpc.ServicerContext)),
        (naquid.grpc.Channel, (aio.Channel,)),
        (naquid.grpc.Call, (aio.UnaryUnaryCall, aio.UnaryStreamCall, aio.StreamUnaryCall, aio.StreamStreamCall)),
    ]
    for ours, theirs in surfaces:
        assert not getattr(ours, "__abstractmethods__", None)
        for surface in theirs:
            names = [name for name in dir(surface) if not name.startswith("_") and callable(getattr(surface, name))]
            for name in names:
                if name in ("initial_metadata", "trailing_metadata") and surface is grpc.ServicerContext:
                    continue
                found = getattr(ours, name, None)
                assert found is not None, f"{ours.__name__}.{name}"
                assert found is not getattr(surface, name), f"{ours.__name__}.{name} is not our own"


def test_what_is_not_carried_is_refused_by_name(run_once: Variant, bench: Bench) -> None:
    refused: list[str] = []

    async def get(request: Any, context: Any) -> bytes:
        with pytest.raises(aio.UsageError, match="compress"):
            context.set_compression(grpc.Compression.Gzip)
        context.set_compression(grpc.Compression.NoCompression)
        context.disable_next_message_compression()
        for use in (
            lambda: context.set_code("NOT_FOUND"),
            lambda: context.set_code(99),
            lambda: context.set_details(7),
        ):
            with pytest.raises(TypeError):
                use()
            refused.append("TypeError")
        with pytest.raises(aio.UsageError, match="one request"):
            context.read()
        with pytest.raises(aio.UsageError, match="one response"):
            context.write(b"")
        return b"good"

    async def main() -> None:
        async with served(bench, Service(unary_unary=get)) as channel:
            for kind in KINDS:
                with pytest.raises(aio.UsageError, match="credentials"):
                    call(channel, kind, credentials=grpc.access_token_call_credentials("x"))
                with pytest.raises(aio.UsageError, match="compress"):
                    call(channel, kind, compression=grpc.Compression.Deflate)
                with pytest.raises(TypeError, match="unexpected"):
                    call(channel, kind, time_out=3)
            with pytest.raises(TypeError, match="request"):
                channel.unary_unary("/S/unary_unary")()
            assert await outcome(call(channel, "unary_unary", compression=grpc.Compression.NoCompression)) == b"good"
            assert len(refused) == 3

    run_once(main)


def test_calls_refuse_what_is_not_their_methods(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with served(bench, Service(**methods(lambda context: None, True))) as channel:
            get = call(channel, "unary_unary")
            for use in (get.read, lambda: get.write(b""), get.done_writing):
                with pytest.raises(aio.UsageError):
                    await use()
            with pytest.raises(aio.UsageError):
                aiter(get)
            assert await outcome(get) == b"secret", "the call went on"
            listing = call(channel, "unary_stream")
            with pytest.raises(aio.UsageError):
                await listing
            with pytest.raises(aio.UsageError):
                await listing.write(b"")
            assert await outcome(listing) == [b"secret"]
            talk = call(channel, "stream_stream", iter([b"x"]))
            with pytest.raises(aio.UsageError, match="iterator"):
                await talk.write(b"")
            assert await outcome(talk) == [b"secret"]

    run_once(main)


def test_the_rest_of_a_call(run_once: Variant, bench: Bench) -> None:
    seen: list[Any] = []

    async def get(request: Any, context: Any) -> bytes:
        assert context.time_remaining() is None
        assert (context.code(), context.details()) == (Code.OK, "")
        assert not context.done()
        assert context.is_active()
        context.add_done_callback(lambda it: seen.append((it is context, it.done(), it.cancelled())))
        return b"good"

    async def main() -> None:
        async with served(bench, Service(unary_unary=get)) as channel:
            made = call(channel, "unary_unary", timeout=60)
            made.add_done_callback(lambda it: seen.append(it is made))
            assert 0 < made.time_remaining() <= 60
            assert call(channel, "unary_unary").time_remaining() is None
            await made.wait_for_connection()
            assert await made == b"good"
            await asyncio.sleep(0)
            assert (True, True, False) in seen
            assert True in seen
            made.add_done_callback(lambda it: seen.append("at once"))
            assert seen[-1] == "at once"

    run_once(main)


def test_channels(run_once: Variant, bench: Bench) -> None:
    async def get(request: Any, context: Any) -> bytes:
        if request:
            await asyncio.sleep(1000)
        return b"good"

    async def main() -> None:
        async with served(bench, Service(unary_unary=get)) as channel:
            conn = channel._connection
            await channel.channel_ready()
            assert channel.get_state() is grpc.ChannelConnectivity.READY
            async with naquid.grpc.Channel(conn) as other:
                under_way = call(other, "unary_unary", b"sleep")
                await asyncio.sleep(0)
            assert (await under_way.code()) is Code.CANCELLED
            assert other.get_state() is grpc.ChannelConnectivity.SHUTDOWN
            with pytest.raises(aio.UsageError, match="closed"):
                call(other, "unary_unary")
            assert await call(channel, "unary_unary") == b"good", "the connection is its maker's"
            third = naquid.grpc.Channel(conn)
            last = call(third, "unary_unary")
            await third.close(60)
            assert await last.code() is Code.OK
            change = asyncio.ensure_future(channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
            await asyncio.sleep(0)
            assert not change.done()
            await conn.close()
            await change
            failed = call(channel, "unary_unary", wait_for_ready=False)
            assert (await outcome(failed))[0] is Code.UNAVAILABLE
            with pytest.raises(aio.AioRpcError):
                await call(channel, "unary_unary").wait_for_connection()

    run_once(main)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_who_the_caller_is(run_once: Variant, bench: Bench, ca: Authority, asynchronous: bool) -> None:
    seen: list[Any] = []

    def body(context: Any) -> None:
        seen.append((context.peer_identity_key(), context.peer_identities(), context.auth_context(), context.peer()))

    async def main() -> None:
        pytest.importorskip("cryptography")
        service = Service(**methods(body, asynchronous))
        async with served(bench, service) as channel:
            await call(channel, "unary_unary")
            assert seen.pop()[:3] == (None, None, {"transport_security_type": [b"ssl"]})
        mine = ca.issue("player.test", client=True)
        tls = naquid.TlsConfig(cert=mine.cert, key=mine.key)
        server = {"tls": naquid.TlsConfig(ca=ca.ca, verify_client=True)}
        async with served(bench, service, server=server, client={"tls": tls}) as channel:
            await call(channel, "unary_unary")
            key, identities, found, peer = seen.pop()
            assert found[key] == identities
            assert b"player.test" in identities + found["x509_common_name"]
            assert found["x509_pem_cert"] == [mine.cert_pem]
            assert peer.startswith("udp:127.0.0.1:")

    run_once(main)
