"""naquid.grpc with stubs and servicers that the real protoc plugin generates from store.proto."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Bench, Unraisable, Variant

import naquid

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is not installed")

importlib.import_module("grpc.aio")

import naquid.grpc  # noqa: E402
from naquid.grpc import wire  # noqa: E402

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The generated modules: store_pb2 and store_pb2_grpc."""
    folder = tmp_path_factory.mktemp("generated")
    here = Path(__file__).parent
    assert protoc.main(["", f"-I{here}", f"--python_out={folder}", f"--grpc_python_out={folder}", "store.proto"]) == 0
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("store_pb2"), importlib.import_module("store_pb2_grpc")
    finally:
        sys.path.remove(str(folder))


@pytest.fixture
def item(made: Any) -> Callable[..., Any]:
    return made[0].Item


def store_of(made: Any) -> Any:
    """A servicer with methods of every kind; what it is asked to do is in the item's name."""
    item = made[0].Item

    class Store(made[1].StoreServicer):
        seen: list[Any] = []  # noqa: RUF012

        async def Get(self, request: Any, context: Any) -> Any:
            self.seen.append((context.peer(), context.invocation_metadata()))
            if request.name == "abort":
                await context.abort(Code.NOT_FOUND, "no such thing")
            if request.name == "crash":
                raise ZeroDivisionError("crash")
            if request.name == "sleep":
                await asyncio.sleep(2)
            return item(name=request.name.upper(), count=request.count + 1)

        async def List(self, request: Any, context: Any) -> AsyncIterator[Any]:
            for n in range(request.count):
                yield item(name=request.name, count=n)
            if request.name == "abort":
                await context.abort(Code.DATA_LOSS, "half of it")
            if request.name == "crash":
                raise ZeroDivisionError("crash")
            if request.name == "sleep":
                await asyncio.sleep(2)

        async def Put(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
            total = 0
            async for each in request_iterator:
                if each.name == "enough":
                    return item(name="early", count=total)
                total += each.count
            return item(name="total", count=total)

        async def Talk(self, request_iterator: AsyncIterator[Any], context: Any) -> None:
            while (request := await context.read()) is not grpc.aio.EOF:
                await context.write(item(name=f"re: {request.name}"))

    return Store()


@contextlib.asynccontextmanager
async def served(bench: Bench, made: Any, servicer: Any = None, **client: Any) -> AsyncIterator[tuple[Any, Any, Any]]:
    """A stub, its connection, the servicer."""
    servicer = servicer or store_of(made)
    app = naquid.Handlers()
    made[1].add_StoreServicer_to_server(servicer, naquid.grpc.Services(app))
    async with bench.pair(app, client=client) as (_, conn):
        yield made[1].StoreStub(naquid.grpc.Channel(conn)), conn, servicer


def test_every_kind_of_method(run: Variant, bench: Bench, made: Any, item: Any) -> None:
    async def main() -> None:
        async with served(bench, made) as (stub, _, _):
            call = stub.Get(item(name="one", count=1))
            assert await call == item(name="ONE", count=2)
            assert await call.code() is Code.OK
            assert [each.count async for each in stub.List(item(count=1000))] == list(range(1000))
            assert await stub.Put(item(count=n) for n in range(100)) == item(name="total", count=4950)
            assert await stub.Put(iter(())) == item(name="total")

            async def talk() -> AsyncIterator[Any]:
                for n in range(50):
                    yield item(name=str(n))

            assert [each.name async for each in stub.Talk(talk())] == [f"re: {n}" for n in range(50)]
            assert [each async for each in stub.List(item())] == []

    run(main)


def test_reading_and_writing_by_hand(run: Variant, bench: Bench, made: Any, item: Any) -> None:
    async def main() -> None:
        async with served(bench, made) as (stub, _, _):
            call = stub.Talk()
            for n in range(3):
                await call.write(item(name=str(n)))
                assert (await call.read()).name == f"re: {n}"
            assert not call.done()
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is Code.OK
            put = stub.Put()
            await put.write(item(count=3))
            await put.done_writing()
            assert (await put).count == 3

    run(main)


def test_many_calls_at_once(run: Variant, bench: Bench, made: Any, item: Any) -> None:
    async def main() -> None:
        async with served(bench, made) as (stub, _, _):
            answers = await asyncio.gather(*(stub.Get(item(count=n)) for n in range(500)))
            assert [answer.count for answer in answers] == list(range(1, 501))
            lists = await asyncio.gather(*(collect(stub.List(item(count=n))) for n in range(50)))
            assert [len(each) for each in lists] == list(range(50))

    run(main)


async def collect(call: Any) -> list[Any]:
    return [each async for each in call]


async def failure(call: Any) -> tuple[Any, str]:
    """The status with which awaiting a call fails; the call tells the same."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert await call.code() is caught.value.code()
    return caught.value.code(), caught.value.details()


async def failure_of_stream(call: Any) -> tuple[Any, int]:
    """The status with which iterating ends, and how many came before."""
    got: list[Any] = []

    async def drain() -> None:
        async for each in call:
            got.append(each)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drain()
    assert await call.code() is caught.value.code()
    assert await call.details() == caught.value.details()
    return caught.value.code(), len(got)


def test_failures_are_status_codes(run: Variant, bench: Bench, made: Any, item: Any, unraisable: Unraisable) -> None:
    async def main() -> None:
        async with served(bench, made) as (stub, conn, _):
            assert await failure(stub.Get(item(name="abort"))) == (Code.NOT_FOUND, "no such thing")
            assert (await failure(stub.Get(item(name="crash"))))[0] is Code.UNKNOWN
            assert [type(error) for error in unraisable.take()] == [ZeroDivisionError]
            assert (await failure(stub.Get(item(name="sleep"), timeout=0.01)))[0] is Code.DEADLINE_EXCEEDED
            assert await failure_of_stream(stub.List(item(name="abort", count=3))) == (Code.DATA_LOSS, 3)
            code, _ = await failure_of_stream(stub.List(item(name="crash", count=3)))
            assert code is Code.UNKNOWN
            assert [type(error) for error in unraisable.take()] == [ZeroDivisionError]
            code, got = await failure_of_stream(stub.List(item(name="sleep", count=3), timeout=2))
            assert (code, got) == (Code.DEADLINE_EXCEEDED, 3)
            assert await stub.Get(item(name="and on")) == item(name="AND ON", count=1)
            conn.abort()
            assert (await failure(stub.Get(item())))[0] is Code.UNAVAILABLE
            assert (await failure_of_stream(stub.List(item())))[0] is Code.UNAVAILABLE
            assert (await failure(stub.Put(iter([item()]))))[0] is Code.UNAVAILABLE

    run(main)


def test_a_server_that_has_had_enough(run: Variant, bench: Bench, made: Any, item: Any) -> None:
    """It answers while requests still come: the answer counts."""

    async def main() -> None:
        async with served(bench, made) as (stub, _, _):
            ended = asyncio.Event()

            async def endless() -> AsyncIterator[Any]:
                try:
                    yield item(count=7)
                    yield item(name="enough")
                    while True:
                        yield item(name="x" * 10_000)
                        await asyncio.sleep(0)
                finally:
                    ended.set()

            assert await stub.Put(endless()) == item(name="early", count=7)
            await ended.wait()

    run(main)


def test_methods_that_are_not_there(run: Variant, bench: Bench, made: Any, item: Any) -> None:
    async def main() -> None:
        async with served(bench, made, made[1].StoreServicer()) as (stub, _, _):  # as generated: nothing implemented
            for call in (stub.Get(item()), stub.Put(iter(()))):
                assert await failure(call) == (Code.UNIMPLEMENTED, "Method not implemented!")
            assert (await failure_of_stream(stub.List(item())))[0] is Code.UNIMPLEMENTED
        app = naquid.Handlers()
        app.rpc("other")(lambda rpc, type, payload: payload)
        async with bench.pair(app) as (_, conn):
            stub = made[1].StoreStub(naquid.grpc.Channel(conn))
            assert (await failure(stub.Get(item())))[0] is Code.UNIMPLEMENTED
            assert (await failure_of_stream(stub.List(item())))[0] is Code.UNIMPLEMENTED

    run(main)


def test_metadata_and_peer(run: Variant, bench: Bench, made: Any, item: Any) -> None:
    metadata = (("token", "\N{SNOWMAN}"), ("trace-bin", b"\x00\xff"))

    async def main() -> None:
        async with served(bench, made) as (stub, conn, store):
            await stub.Get(item(), metadata=metadata)
            await stub.Get(item(), metadata=grpc.aio.Metadata(("a", "b")))
            await stub.Get(item())
            _, port = conn.local_address
            assert store.seen == [(f"udp:127.0.0.1:{port}", sent) for sent in (metadata, (("a", "b"),), ())]

    run(main)


def test_cancelling(run: Variant, bench: Bench, made: Any, item: Any) -> None:
    async def main() -> None:
        async with served(bench, made) as (stub, conn, _):
            call = stub.Get(item(name="sleep"))
            await asyncio.sleep(0)
            assert call.cancel()
            assert not call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert call.cancelled()
            waiting = asyncio.ensure_future(await_it(stub.Get(item(name="sleep"))))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            talk = stub.Talk()
            await talk.write(item(name="x"))
            assert (await talk.read()).name == "re: x"
            assert talk.cancel()
            assert (await failure_of_stream(talk))[0] is Code.CANCELLED
            listing = stub.List(item(name="sleep", count=5))
            assert (await listing.read()).count == 0
            del listing  # nobody can read it any more
            assert (await stub.Get(item())).count == 1
            while conn.loop_stats()["streams"] > 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    run(main)


async def await_it(call: Any) -> Any:
    return await call


def test_plain_functions_and_generators(run_once: Variant, bench: Bench, made: Any, item: Any) -> None:
    class Plain(made[1].StoreServicer):
        def Get(self, request: Any, context: Any) -> Any:
            if not request.name:
                context.set_code(Code.INVALID_ARGUMENT)
                context.set_details("it has no name")
            return item(name=request.name)

        def List(self, request: Any, context: Any) -> Any:
            yield from (item(count=n) for n in range(3))

    async def main() -> None:
        async with served(bench, made, Plain()) as (stub, _, _):
            assert await stub.Get(item(name="x")) == item(name="x")
            assert await failure(stub.Get(item())) == (Code.INVALID_ARGUMENT, "it has no name")
            assert [each.count async for each in stub.List(item())] == [0, 1, 2]

    run_once(main)


def test_limits(run_once: Variant, bench: Bench, made: Any, item: Any) -> None:
    async def main() -> None:
        small = naquid.Limits(max_message_size=1000)
        async with served(bench, made, limits=small) as (stub, _, _):
            assert (await failure(stub.Get(item(name="x" * 5000))))[0] is Code.RESOURCE_EXHAUSTED

    run_once(main)


@pytest.mark.parametrize("kind", ["/store.Store/Get", "/store.Store/Put"])
@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\1", b"\1{", b"\1[[1,2]]", b"\1[]\0", b"\2\0", b"\0\0\0\xff[", b"\xff" * 40]
)
def test_bytes_that_are_no_call(run_once: Variant, bench: Bench, made: Any, kind: str, data: bytes) -> None:
    """A peer that speaks naquid but not this: its call fails, nothing else does."""

    async def main() -> None:
        async with served(bench, made) as (stub, conn, _):
            if kind.endswith("Get"):
                rpc = await conn.open_rpc(kind)
                for type in (wire.WITH_METADATA, 3):
                    with pytest.raises(naquid.RpcError) as caught:
                        await rpc.call(type, data)
                    assert caught.value.code == wire.ERRORS - wire.number(Code.INTERNAL)
            else:
                stream = await conn.open_stream(kind)
                await stream.send(data)
                await stream.send(b"\0\xff\xff")
                record = await stream.recv()
                assert record is not None
                assert record[:2] == wire.STATUS + bytes([wire.number(Code.INTERNAL)])
            assert (await stub.Get(made[0].Item(count=1))).count == 2

    run_once(main)


def test_answers_that_are_none(run_once: Variant, bench: Bench, made: Any, item: Any) -> None:
    """A server that speaks naquid but not this."""
    answers = [b"", b"\2", b"\7", b"\0\xff\xff", b"\2\x05why"]

    async def main() -> None:
        app = naquid.Handlers()

        @app.stream("/store.Store/List")
        async def listing(stream: naquid.Stream) -> None:
            await stream.recv()
            request = await stream.recv()
            assert request is not None
            await stream.send(answers[item.FromString(request[1:]).count])

        @app.rpc("/store.Store/Get")
        def get(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
            return b"\xff\xff"

        async with bench.pair(app) as (_, conn):
            stub = made[1].StoreStub(naquid.grpc.Channel(conn))
            codes = [(await failure_of_stream(stub.List(item(count=n))))[0] for n in range(5)]
            assert codes == [Code.INTERNAL] * 4 + [Code.NOT_FOUND]
            assert (await failure(stub.Get(item())))[0] is Code.INTERNAL

    run_once(main)


def test_the_stream_of_a_method_is_opened_anew(run_once: Variant, bench: Bench, made: Any, item: Any) -> None:
    async def main() -> None:
        async with served(bench, made) as (_, conn, _):
            channel = naquid.grpc.Channel(conn)
            stub = made[1].StoreStub(channel)
            assert (await stub.Get(item())).count == 1
            first = await channel._rpc("/store.Store/Get")
            first.close()
            await first.wait_closed()
            assert (await stub.Get(item(count=1))).count == 2

    run_once(main)


def test_handlers_that_do_not_tell_their_methods() -> None:
    class Generic(grpc.GenericRpcHandler):  # type: ignore[name-defined]
        def service(self, handler_call_details: Any) -> None:
            return None

    with pytest.raises(TypeError, match="add_registered_method_handlers"):
        naquid.grpc.Services(naquid.Handlers()).add_generic_rpc_handlers((Generic(),))
