"""The client's side: a channel for generated stubs, and the calls they make."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Generator, Iterable
from typing import Any, TypeVar

import grpc
import grpc.aio

from ..connection import Connection
from ..errors import StreamError
from ..rpc import Rpc
from ..stream import Stream
from . import wire

__all__ = ["Call", "Channel"]

T = TypeVar("T")
Serialize = Callable[[Any], bytes] | None
Metadata = Iterable[tuple[str, str | bytes]] | None


class Channel:
    """What a generated stub takes for a channel: calls go over one connection, which stays its maker's to
    close.

    Unary methods are calls on one RPC stream for each method; any other call is a record stream of its own. Failures
    are grpc.aio.AioRpcError with gRPC's status codes: UNAVAILABLE when the connection is gone, UNIMPLEMENTED when the
    peer has no such method, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED at a limit of naquid's, UNKNOWN when the handler
    raised.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rpcs: dict[str, asyncio.Future[Rpc]] = {}

    def unary_unary(
        self, method: str, request_serializer: Serialize = None, response_deserializer: Serialize = None, **_: Any
    ) -> Callable[..., Call]:
        """A function `(request, *, timeout=None, metadata=None) -> Call`, to be awaited."""
        return functools.partial(self._call, method, request_serializer, response_deserializer, False, False)

    def unary_stream(
        self, method: str, request_serializer: Serialize = None, response_deserializer: Serialize = None, **_: Any
    ) -> Callable[..., Call]:
        """The same; the call is iterated over, or `read()`."""
        return functools.partial(self._call, method, request_serializer, response_deserializer, False, True)

    def stream_unary(
        self, method: str, request_serializer: Serialize = None, response_deserializer: Serialize = None, **_: Any
    ) -> Callable[..., Call]:
        """A function `(request_iterator=None, *, timeout=None, metadata=None) -> Call`, to be awaited. Without an
        iterator, `write()` and `done_writing()`."""
        return functools.partial(self._call, method, request_serializer, response_deserializer, True, False)

    def stream_stream(
        self, method: str, request_serializer: Serialize = None, response_deserializer: Serialize = None, **_: Any
    ) -> Callable[..., Call]:
        """Both."""
        return functools.partial(self._call, method, request_serializer, response_deserializer, True, True)

    def _call(
        self,
        method: str,
        serialize: Serialize,
        deserialize: Serialize,
        many_requests: bool,
        many_responses: bool,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Metadata = None,
        **_: Any,
    ) -> Call:
        call = Call(self, method, serialize, deserialize, timeout, tuple(metadata or ()))
        if many_requests or many_responses:
            call._begin_stream(request, many_requests, many_responses)
        else:
            call._begin(call._unary(request))
        return call

    async def _rpc(self, method: str) -> Rpc:
        """The RPC stream of a method, opened when first needed and when it has ended."""
        opening = self._rpcs.get(method)
        if opening is None or (
            opening.done() and (opening.cancelled() or opening.exception() or opening.result().is_closed)
        ):
            opening = self._rpcs[method] = asyncio.ensure_future(self._connection.open_rpc(method))
        return await asyncio.shield(opening)


class Call:
    """A call, as `grpc.aio` has them: awaited, iterated over, or read from and written to, as its method is."""

    def __init__(
        self,
        channel: Channel,
        method: str,
        serialize: Serialize,
        deserialize: Serialize,
        timeout: float | None,
        metadata: wire.Metadata,
    ) -> None:
        self._channel = channel
        self._method = method
        self._serialize = serialize or bytes
        self._deserialize = deserialize or bytes
        self._timeout = timeout
        self._deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        self._metadata = metadata
        self._status: asyncio.Future[wire.Status] = asyncio.get_running_loop().create_future()
        self._stream: asyncio.Task[Stream] | None = None
        self._sender: asyncio.Task[Any] | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._result().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def read(self) -> Any:
        """The next response, grpc.aio.EOF after the last one. Raises AioRpcError."""
        try:
            return await self._bounded(self._read())
        except Exception as error:
            raise self._failed(error) from error

    async def write(self, request: Any) -> None:
        """Sends one request more. Raises AioRpcError."""
        try:
            stream = await self._opened()
            await self._bounded(stream.send(wire.MESSAGE + self._serialize(request)))
        except Exception as error:
            # A stream that takes no more has an end that reading tells.
            raise self._failed(error, not isinstance(error, StreamError)) from error

    async def done_writing(self) -> None:
        """No more requests; responses go on."""
        (await self._opened()).finish()

    def __del__(self) -> None:
        if not self._status.done() and not self._status.get_loop().is_closed():
            self.cancel()

    def cancel(self) -> bool:
        """Ends the call at this side; a server's handler of a stream sees it reset. False when it has ended before."""
        if self._status.done():
            return False
        self._end(wire.Status(grpc.StatusCode.CANCELLED, "cancelled at this side"))
        for task in self._tasks:
            task.cancel()
        return True

    def done(self) -> bool:
        """True once its status is known."""
        return self._status.done()

    def cancelled(self) -> bool:
        """True after `cancel()`, or when the server said so."""
        return self._status.done() and self._status.result().code is grpc.StatusCode.CANCELLED

    async def code(self) -> grpc.StatusCode:
        """Its status; waits for its end."""
        return (await asyncio.shield(self._status)).code

    async def details(self) -> str:
        """The text that came with the status."""
        return (await asyncio.shield(self._status)).details

    # ---- inside ----

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # the status tells
        self._tasks.append(task)
        return task

    async def _unary(self, request: Any) -> Any:
        try:
            message = self._serialize(request)
            rpc = await self._bounded(self._channel._rpc(self._method))
            if self._metadata:
                answer = rpc.call(wire.WITH_METADATA, wire.pack_request(message, self._metadata), self._timeout)
            else:
                answer = rpc.call(wire.PLAIN, message, self._timeout)
            response = self._deserialize(await answer)
        except Exception as error:
            raise self._failed(error) from error
        self._end(wire.Status(grpc.StatusCode.OK))
        return response

    def _begin_stream(self, request: Any, many_requests: bool, many_responses: bool) -> None:
        self._stream = self._begin(self._open())
        if not many_requests or request is not None:
            self._sender = self._begin(self._send(request if many_requests else (request,)))
        if not many_responses:
            self._begin(self._only())

    async def _open(self) -> Stream:
        stream: Stream = await self._bounded(self._channel._connection.open_stream(self._method))
        # Also without metadata: the server learns of a stream by its first record.
        stream.send_nowait(wire.METADATA + wire.pack_metadata(self._metadata))
        return stream

    async def _opened(self) -> Stream:
        if self._stream is None:
            raise grpc.aio.UsageError("this method has one request and one response: await the call")
        return await asyncio.shield(self._stream)

    async def _send(self, requests: Iterable[Any] | AsyncIterable[Any]) -> None:
        try:
            if isinstance(requests, AsyncIterable):
                async for request in requests:
                    await self.write(request)
            else:
                for request in requests:
                    await self.write(request)
            await self.done_writing()
        except (StreamError, grpc.aio.AioRpcError):
            return  # the status is told, or will be
        except Exception as error:
            self._failed(error)

    async def _only(self) -> Any:
        """The one response of a method that has one, and the status after it."""
        response = await self.read()
        if response is grpc.aio.EOF or await self.read() is not grpc.aio.EOF:
            raise self._failed(wire.Status(grpc.StatusCode.INTERNAL, "there is to be one response"))
        return response

    async def _read(self) -> Any:
        if self._status.done():
            if self._status.result().code is grpc.StatusCode.OK:
                return grpc.aio.EOF
            raise self._status.result()
        record = await (await self._opened()).recv()
        if record is None:
            raise wire.Status(grpc.StatusCode.INTERNAL, "the stream ended without a status")
        kind, body = record[:1], record[1:]
        if kind == wire.MESSAGE:
            return self._deserialize(body)
        if kind != wire.STATUS or not body:
            raise wire.Status(grpc.StatusCode.INTERNAL, "the server's record cannot be read")
        status = wire.Status(wire.code_of(body[0]), body[1:].decode(errors="replace"))
        self._end(status)
        if status.code is not grpc.StatusCode.OK:
            raise status
        return grpc.aio.EOF

    async def _result(self) -> Any:
        try:
            return await asyncio.shield(self._tasks[-1])
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _bounded(self, work: Any) -> Any:
        async with asyncio.timeout_at(self._deadline):
            return await work

    def _failed(self, error: Exception, ends: bool = True) -> grpc.aio.AioRpcError:
        """The exception for the caller; ends the call."""
        if isinstance(error, grpc.aio.AioRpcError):
            return error
        status = wire.status_of(error, self._channel._connection.is_open)
        if ends:
            self._end(status)
            status = self._status.result()
        return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), grpc.aio.Metadata(), status.details)

    def _end(self, status: wire.Status) -> None:
        if self._status.done():
            return
        self._status.set_result(status)
        if self._sender is not None and self._sender is not asyncio.current_task(self._status.get_loop()):
            self._sender.cancel()
        if self._stream is not None:
            self._stream.add_done_callback(functools.partial(_release, status.code is grpc.StatusCode.OK))


def _release(well: bool, opened: asyncio.Future[Stream]) -> None:
    if opened.cancelled() or opened.exception() is not None:
        return
    with contextlib.suppress(Exception):
        if not well:
            opened.result().reset()
        opened.result().close()
