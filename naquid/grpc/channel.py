"""The client's side: a channel for generated stubs."""

from __future__ import annotations

import asyncio
import functools
import weakref
from typing import Any

import grpc
import grpc.aio

from ..connection import Connection, ConnectionState
from ..rpc import Rpc
from . import wire
from .call import Call, Method, Serialize
from .context import no_compression

__all__ = ["Channel"]

_CONNECTIVITY = {
    ConnectionState.CONNECTING: grpc.ChannelConnectivity.CONNECTING,
    ConnectionState.OPEN: grpc.ChannelConnectivity.READY,
    ConnectionState.WAITING: grpc.ChannelConnectivity.TRANSIENT_FAILURE,
    ConnectionState.CLOSING: grpc.ChannelConnectivity.SHUTDOWN,
    ConnectionState.CLOSED: grpc.ChannelConnectivity.SHUTDOWN,
}


class Channel(grpc.aio.Channel):
    """What a generated stub takes for a channel: calls go over one connection, which stays its maker's to
    close.

    Unary methods are calls on one RPC stream for each method; any other call is a record stream of its own. Failures
    are grpc.aio.AioRpcError with gRPC's status codes: UNAVAILABLE when the connection is gone, UNIMPLEMENTED when the
    peer has no such method, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED at a limit of naquid's, UNKNOWN when the handler
    raised.

    Calls take timeout=, metadata= and wait_for_ready= as with `grpc.aio`. What is not carried is refused when the call
    begins, by grpc.aio.UsageError: credentials=, and any compression=.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rpcs: dict[str, asyncio.Future[Rpc]] = {}
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()
        self._closed = False

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *why: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """No more calls; those under way are cancelled after `grace` seconds, None: at once. The connection goes on."""
        self._closed = True
        calls = [call for call in self._calls if not call.done()]
        if calls and grace is not None:
            await asyncio.wait([call._status for call in calls], timeout=grace)
        for call in calls:
            call.cancel()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The connection's state in gRPC's terms; TRANSIENT_FAILURE while it waits to be brought back."""
        if self._closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        return _CONNECTIVITY[self._connection.state]

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Waits until the connection's state is another one."""
        async for _ in self._connection.states():
            if self.get_state() is not last_observed_state:
                return

    async def channel_ready(self) -> None:
        """Waits until the connection is open. Raises why it ended."""
        await self._connection.wait_open()

    def unary_unary(  # type: ignore[override]
        self,
        method: str,
        request_serializer: Serialize = None,
        response_deserializer: Serialize = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        """A function `(request, *, timeout=None, metadata=None, wait_for_ready=None) -> Call`, to be awaited."""
        return functools.partial(self._with, Method(method, request_serializer, response_deserializer, False, False))

    def unary_stream(  # type: ignore[override]
        self,
        method: str,
        request_serializer: Serialize = None,
        response_deserializer: Serialize = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        """The same; the call is iterated over, or `read()`."""
        return functools.partial(self._with, Method(method, request_serializer, response_deserializer, False, True))

    def stream_unary(  # type: ignore[override]
        self,
        method: str,
        request_serializer: Serialize = None,
        response_deserializer: Serialize = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        """A function `(request_iterator=None, *, timeout=None, metadata=None, wait_for_ready=None) -> Call`, to be
        awaited. Without an iterator, `write()` and `done_writing()`."""
        return functools.partial(self._call, Method(method, request_serializer, response_deserializer, True, False))

    def stream_stream(  # type: ignore[override]
        self,
        method: str,
        request_serializer: Serialize = None,
        response_deserializer: Serialize = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        """Both."""
        return functools.partial(self._call, Method(method, request_serializer, response_deserializer, True, True))

    def _with(self, method: Method, request: Any, **settings: Any) -> Call:
        """A call with one request, which cannot be left out."""
        return self._call(method, request, **settings)

    def _call(
        self,
        method: Method,
        request_iterator: Any = None,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Call:
        if self._closed:
            raise grpc.aio.UsageError("the channel is closed")
        if credentials is not None:
            raise grpc.aio.UsageError("naquid.grpc has no credentials of calls: send them as metadata=")
        no_compression(compression)
        call = Call(self, method, timeout, wire.metadata_of(metadata), wait_for_ready)
        self._calls.add(call)
        call._start(request_iterator)
        return call

    async def _rpc(self, method: str) -> Rpc:
        """The RPC stream of a method, opened when first needed and when it has ended."""
        opening = self._rpcs.get(method)
        if opening is None or (
            opening.done() and (opening.cancelled() or opening.exception() or opening.result().is_closed)
        ):
            opening = self._rpcs[method] = asyncio.ensure_future(self._connection.open_rpc(method))
        return await asyncio.shield(opening)
