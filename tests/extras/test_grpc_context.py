"""naquid.grpc's contexts and calls: wrong use is refused, plain methods get what grpcio's synchronous API gives them,
and all of `grpc.aio`'s surface is there."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from harness import Bench, OnSim, Variant, until

import naquid
from naquid.testing import Authority

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
aio = pytest.importorskip("grpc.aio", reason="grpcio is not installed")

import naquid.grpc  # noqa: E402
from naquid.grpc import wire  # noqa: E402

Code = grpc.StatusCode


class Service:
    """Methods by their kind; what is missing is not served."""

    def __init__(self, pool: Any = None, **methods: Callable[..., Any]) -> None:
        self.pool, self.methods = pool, methods

    def add(self, services: Any) -> None:
        made = {name: getattr(grpc, f"{name}_rpc_method_handler")(method) for name, method in self.methods.items()}
        services.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("S", made),))


@contextlib.asynccontextmanager
async def served(bench: Bench, service: Service, **sides: Any) -> AsyncIterator[Any]:
    """A channel to the service."""
    app = naquid.Handlers()
    service.add(naquid.grpc.Services(app, service.pool))
    async with bench.pair(app, **sides) as (_, conn):
        yield naquid.grpc.Channel(conn)


def call(channel: Any, kind: str, request: Any = b"", **settings: Any) -> Any:
    return getattr(channel, kind)(f"/S/{kind}")(request, **settings)


async def outcome(made: Any) -> Any:
    """The response, or all of a stream's, or (status, details)."""
    try:
        return [each async for each in made] if made._method.many_responses else await made
    except aio.AioRpcError as error:
        told = error
    assert await made.code() is told.code()
    assert await made.trailing_metadata() == told.trailing_metadata()
    return told.code(), told.details()


KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def methods(body: Callable[[Any], Any], asynchronous: bool) -> dict[str, Callable[..., Any]]:
    """Methods of all four kinds that call `body(context)`, then give a secret away."""

    async def value(request: Any, context: Any) -> bytes:
        result = body(context)
        if inspect.isawaitable(result):
            await result
        return b"secret"

    async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield await value(request, context)

    def plain_value(request: Any, context: Any) -> bytes:
        body(context)
        return b"secret"

    def plain_stream(request: Any, context: Any) -> Iterator[bytes]:
        yield plain_value(request, context)

    made = (value, stream) if asynchronous else (plain_value, plain_stream)
    return {kind: made[kind.endswith("stream")] for kind in KINDS}


def request_of(kind: str) -> Any:
    return iter([b"x"]) if kind.startswith("stream") else b"x"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_abort_ends_every_kind_of_method(run: Variant, bench: Bench, asynchronous: bool) -> None:
    """Awaited or not: what stands behind it is not reached, and nothing is sent."""
    reached: list[str] = []

    def check(context: Any) -> None:
        if dict(context.invocation_metadata()).get("authorization") != "token":
            context.abort(Code.PERMISSION_DENIED, "no token", (("why", "none came"),))
        reached.append("behind")

    async def main() -> None:
        async with served(bench, Service(**methods(check, asynchronous))) as channel:
            for kind in KINDS:
                made = call(channel, kind, request_of(kind))
                assert await outcome(made) == (Code.PERMISSION_DENIED, "no token")
                assert await made.trailing_metadata() == aio.Metadata(("why", "none came"))
            assert reached == []
            for kind in KINDS:
                made = call(channel, kind, request_of(kind), metadata=(("authorization", "token"),))
                assert await outcome(made) in (b"secret", [b"secret"])
            assert len(reached) == 4

    run(main)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_abort_that_is_swallowed_ends_the_call_all_the_same(run: Variant, bench: Bench, asynchronous: bool) -> None:
    def check(context: Any) -> None:
        with contextlib.suppress(Exception):
            context.abort(Code.UNAUTHENTICATED, "who are you")
        with contextlib.suppress(Exception):
            context.abort(Code.OK, "well then")
        context.set_code(Code.OK)

    async def main() -> None:
        async with served(bench, Service(**methods(check, asynchronous))) as channel:
            for kind in KINDS:
                made = call(channel, kind, request_of(kind))
                assert await outcome(made) == (Code.UNAUTHENTICATED, "who are you")

    run(main)


def test_kinds_of_abort(run_once: Variant, bench: Bench) -> None:
    class Status(grpc.Status):  # type: ignore[name-defined]
        code, details, trailing_metadata = Code.DATA_LOSS, "half", (("left-bin", b"\0"),)

    bodies: list[tuple[Callable[[Any], Any], Any, str]] = [
        (lambda context: context.abort(Code.OK, "x"), Code.UNKNOWN, "abort() was called with StatusCode.OK"),
        (lambda context: context.abort(5, b"gone"), Code.NOT_FOUND, "gone"),
        (lambda context: context.abort_with_status(Status()), Code.DATA_LOSS, "half"),
        (lambda context: context.set_code(9), Code.FAILED_PRECONDITION, ""),
    ]

    async def main() -> None:
        for body, code, details in bodies:
            for asynchronous in (False, True):
                async with served(bench, Service(**methods(body, asynchronous))) as channel:
                    for kind in KINDS:
                        made = call(channel, kind, request_of(kind))
                        assert await outcome(made) == (code, details)
                        trailing = aio.Metadata(("left-bin", b"\0")) if code is Code.DATA_LOSS else aio.Metadata()
                        assert await made.trailing_metadata() == trailing

    run_once(main)


def test_a_coroutine_that_is_not_awaited_fails_the_call(run: Variant, bench: Bench) -> None:
    """To forget the `await` does not lose a message in silence."""

    async def talk(requests: Any, context: Any) -> None:
        context.write(b"lost")

    async def get(request: Any, context: Any) -> bytes:
        context.send_initial_metadata((("a", "b"),))
        return b"secret"

    async def put(requests: Any, context: Any) -> bytes:
        context.read()
        return b"secret"

    async def main() -> None:
        service = Service(stream_stream=talk, unary_unary=get, stream_unary=put)
        async with served(bench, service) as channel:
            for kind, name in (
                ("stream_stream", "write"),
                ("unary_unary", "send_initial_metadata"),
                ("stream_unary", "read"),
            ):
                code, details = await outcome(call(channel, kind, request_of(kind)))
                assert (code, details) == (Code.INTERNAL, f"the method did not await context.{name}()")

    run(main)


def test_plain_methods_read_and_write_as_grpcio_has_them(run: Variant, bench: Bench) -> None:
    """Requests are a plain iterator, and methods may block: they have threads of their own."""
    here = threading.get_ident()
    threads: set[int] = set()
    both = threading.Barrier(2)

    def total(requests: Any, context: Any) -> bytes:
        threads.add(threading.get_ident())
        both.wait(60)  # another call runs meanwhile, and so does the event loop
        return b"%d" % sum(len(request) for request in requests)

    def echo(requests: Any, context: Any) -> Iterator[bytes]:
        for request in requests:
            yield request * 2

    def listing(request: Any, context: Any) -> list[bytes]:
        context.write(b"first")
        return [b"second", b"third"]

    def by_hand(requests: Any, context: Any) -> bytes:
        both = [next(requests), context.read()]
        assert context.read() is aio.EOF
        assert list(requests) == []
        return b"+".join(both)

    async def main() -> None:
        service = Service(stream_unary=total, stream_stream=echo, unary_stream=listing)
        async with served(bench, service) as channel:
            calls = [call(channel, "stream_unary", iter([b"a", b"bc"])) for _ in range(2)]
            assert await asyncio.gather(*(outcome(each) for each in calls)) == [b"3", b"3"]
            assert here not in threads
            requests = [b"%d" % n for n in range(300)]
            assert await outcome(call(channel, "stream_stream", iter(requests))) == [each * 2 for each in requests]
            assert await outcome(call(channel, "unary_stream")) == [b"first", b"second", b"third"]
        async with served(bench, Service(stream_unary=by_hand)) as channel:
            assert await outcome(call(channel, "stream_unary", iter([b"x", b"y"]))) == b"x+y"

    run(main)


def test_a_plain_method_is_let_go_when_its_caller_is(run: Variant, bench: Bench) -> None:
    """A thread that waits for requests, or that gives responses, comes back; a generator is closed."""
    ends: list[str] = []
    waiting = threading.Event()

    def wait(requests: Any, context: Any) -> bytes:
        context.add_callback(lambda: ends.append("callback"))
        waiting.set()
        try:
            for _ in requests:
                pass
        except grpc.RpcError:
            assert not context.is_active()
            assert context.cancelled()
            ends.append("requests")
            with pytest.raises(grpc.RpcError):
                context.send_initial_metadata(())
        return b""

    def give(request: Any, context: Any) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            ends.append("generator")

    async def main() -> None:
        pool = ThreadPoolExecutor(2)
        try:
            async with served(bench, Service(pool, stream_unary=wait, unary_stream=give)) as channel:
                put = channel.stream_unary("/S/stream_unary")()
                await put.write(b"x")
                await until(waiting.is_set)
                put.cancel()
                await until(lambda: sorted(ends) == ["callback", "requests"])
                listing = call(channel, "unary_stream")
                assert await listing.read() == b"x" * 100_000
                listing.cancel()
                await until(lambda: "generator" in ends)
        finally:
            pool.shutdown()

    run(main)


def test_a_plain_method_cancels_its_call(run: Variant, bench: Bench) -> None:
    go_on = threading.Event()

    def get(request: Any, context: Any) -> bytes:
        context.cancel()
        assert go_on.wait(60)
        return b"secret"

    async def main() -> None:
        async with served(bench, Service(unary_unary=get)) as channel:
            try:
                assert (await outcome(call(channel, "unary_unary")))[0] is Code.CANCELLED
            finally:
                go_on.set()

    run(main)


def test_where_methods_run(run: Variant, bench: Bench) -> None:
    """What a decorator or a partial has made of a coroutine function stays one; plain ones see the call's context."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    here = threading.get_ident()

    async def get(request: Any, context: Any, more: bytes = b"") -> bytes:
        await asyncio.sleep(0)
        return b"loop" if threading.get_ident() == here else b"thread"

    @functools.wraps(get)
    def wrapped(request: Any, context: Any) -> Any:
        return get(request, context)

    def bare(request: Any, context: Any) -> Any:  # nobody can see what it returns
        return get(request, context)

    class Callable_:
        async def __call__(self, request: Any, context: Any) -> bytes:
            return await get(request, context)

    def plain(request: Any, context: Any) -> Iterator[bytes]:
        variable.set("mine")
        yield b"thread" if threading.get_ident() != here else b"loop"
        yield variable.get().encode()

    async def main() -> None:
        for method in (get, wrapped, bare, functools.partial(get, more=b"x"), Callable_()):
            async with served(bench, Service(unary_unary=method)) as channel:
                assert await outcome(call(channel, "unary_unary")) == b"loop"
        async with served(bench, Service(unary_stream=plain)) as channel:
            assert await outcome(call(channel, "unary_stream")) == [b"thread", b"mine"]
        assert variable.get() == "unset"

    run(main)


def test_plain_methods_in_simulated_time(run_sim: OnSim, bench: Bench) -> None:
    def get(request: Any, context: Any) -> bytes:
        if request == b"no":
            context.abort(Code.NOT_FOUND, "nothing")
        return b"yes"

    async def main() -> None:
        async with served(bench, Service(unary_unary=get)) as channel:
            assert await outcome(call(channel, "unary_unary")) == b"yes"
            assert await outcome(call(channel, "unary_unary", b"no")) == (Code.NOT_FOUND, "nothing")

    run_sim(main)


def test_stop_iteration_is_a_failure_as_any_other(run_once: Variant, bench: Bench) -> None:
    def get(request: Any, context: Any) -> bytes:
        context.set_code(Code.ABORTED)
        raise StopIteration

    async def main() -> None:
        async with served(bench, Service(unary_unary=get)) as channel:
            assert (await outcome(call(channel, "unary_unary")))[0] is Code.ABORTED

    run_once(main)


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
