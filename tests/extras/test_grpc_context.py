"""naquid.grpc's contexts: wrong use is refused, and plain methods get what grpcio's synchronous API gives them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from grpc_service import KINDS, Code, Service, aio, call, grpc, methods, outcome, request_of, served
from harness import Bench, OnSim, Variant, until


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
    class Status(grpc.Status):
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
