"""Services of gRPC without protoc: methods of every kind, and calls of them over naquid."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from harness import Bench

import naquid

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
aio = pytest.importorskip("grpc.aio", reason="grpcio is not installed")

import naquid.grpc  # noqa: E402

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
