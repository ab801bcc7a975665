"""A call as the client sees it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from ..errors import RpcError, StreamError
from ..stream import Stream
from . import wire

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["Call", "Method", "Serialize"]

T = TypeVar("T")
Serialize = Callable[[Any], bytes] | None


@dataclass(frozen=True, slots=True)
class Method:
    """A method as the stub describes it."""

    name: str
    serialize: Serialize
    deserialize: Serialize
    many_requests: bool
    many_responses: bool


class Call(grpc.aio.Call):
    """A call, as `grpc.aio` has them: awaited, iterated over, or read from and written to, as its method is. What does
    not belong to its method raises grpc.aio.UsageError, and the call goes on."""

    def __init__(
        self,
        channel: Channel,
        method: Method,
        timeout: float | None,
        metadata: wire.Metadata,
        wait_for_ready: bool | None,
    ) -> None:
        self._channel = channel
        self._method = method
        self._serialize = method.serialize or bytes
        self._deserialize = method.deserialize or bytes
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._metadata = metadata
        self._fails_fast = wait_for_ready is False
        self._status: asyncio.Future[wire.Status] = self._loop.create_future()
        self._initial: wire.Metadata = ()
        self._trailing: wire.Metadata = ()
        self._begun = False  # is the initial metadata known?
        self._early: bytes | None = None  # the record behind it, when only the metadata was wanted
        self._reading = asyncio.Lock()
        self._stream: asyncio.Task[Stream] | None = None
        self._sender: asyncio.Task[Any] | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._method.many_responses:
            raise grpc.aio.UsageError("this method has a stream of responses: iterate over the call, or read()")
        return self._result().__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        self._takes()
        return self._responses()

    async def read(self) -> Any:
        """The next response, grpc.aio.EOF after the last one. Raises AioRpcError."""
        self._takes()
        return await self._next()

    async def write(self, request: Any) -> None:
        """Sends one request more. Raises AioRpcError."""
        self._writes()
        await self._write(request)

    async def done_writing(self) -> None:
        """No more requests; responses go on. Raises AioRpcError."""
        self._writes()
        await self._done_writing()

    def __del__(self) -> None:
        status = getattr(self, "_status", None)
        if status is not None and not status.done() and not status.get_loop().is_closed():
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

    def time_remaining(self) -> float | None:
        """Seconds until `timeout` has passed, at least 0; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def add_done_callback(self, callback: Callable[[Call], Any]) -> None:
        """`callback(call)` is called when the call has ended; at once if it has."""
        if self._status.done():
            callback(self)
        else:
            self._status.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """What the server sent ahead of its first response; waits for that. Of a unary method it comes with the
        response. Empty when the call ended without."""
        if self._stream is None:
            await asyncio.shield(self._status)
        elif not self._begun and not self._status.done():
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._guarded(self._peek())
        return grpc.aio.Metadata(*self._initial)

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """What came with the status; waits for the call's end."""
        await asyncio.shield(self._status)
        return grpc.aio.Metadata(*self._trailing)

    async def code(self) -> grpc.StatusCode:
        """Its status; waits for its end."""
        return (await asyncio.shield(self._status)).code

    async def details(self) -> str:
        """The text that came with the status."""
        return (await asyncio.shield(self._status)).details

    async def wait_for_connection(self) -> None:
        """Waits until the connection is open. Raises AioRpcError."""
        await self._guarded(self._channel._connection.wait_open())

    # ---- inside ----

    def _start(self, request: Any) -> None:
        method = self._method
        if not method.many_requests and not method.many_responses:
            self._begin(self._unary(request))
            return
        self._stream = self._begin(self._open())
        if not method.many_requests or request is not None:
            self._sender = self._begin(self._send(request if method.many_requests else (request,)))
        if not method.many_responses:
            self._begin(self._only())

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # the status tells
        self._tasks.append(task)
        return task

    def _takes(self) -> None:
        if not self._method.many_responses:
            raise grpc.aio.UsageError("this method has one response: await the call")

    def _writes(self) -> None:
        if not self._method.many_requests:
            raise grpc.aio.UsageError("this method has one request: it was given to the call")
        if self._sender is not None:
            raise grpc.aio.UsageError("the call was given an iterator of requests: write() is for calls without one")

    async def _unary(self, request: Any) -> Any:
        try:
            self._fail_fast()
            message = self._serialize(request)
            rpc = await self._bounded(self._channel._rpc(self._method.name))
            if self._metadata:
                answer = rpc.call(wire.WITH_METADATA, wire.pack_request(message, self._metadata), self._timeout)
            else:
                answer = rpc.call(wire.PLAIN, message, self._timeout)
            response = self._deserialize(await self._answered(answer))
        except Exception as error:
            raise self._failed(error) from error
        self._end(wire.Status(grpc.StatusCode.OK))
        return response

    async def _answered(self, answer: Coroutine[Any, Any, bytes]) -> bytes:
        """The response's bytes; metadata that came with it is kept."""
        try:
            return await answer
        except RpcError as error:
            if error.code != wire.ANSWER:
                raise
            self._initial, self._trailing, code, body = wire.unpack_answer(error.payload)
        if code is not grpc.StatusCode.OK:
            raise wire.Status(code, body.decode(errors="replace"))
        return body

    def _fail_fast(self) -> None:
        if self._fails_fast and not self._channel._connection.is_open:
            raise wire.Status(grpc.StatusCode.UNAVAILABLE, "the connection is not open, and wait_for_ready is False")

    async def _open(self) -> Stream:
        self._fail_fast()
        stream: Stream = await self._bounded(self._channel._connection.open_stream(self._method.name))
        # Also without metadata: the server learns of a stream by its first record.
        stream.send_nowait(wire.METADATA + wire.pack_metadata(self._metadata))
        return stream

    async def _opened(self) -> Stream:
        assert self._stream is not None
        return await asyncio.shield(self._stream)

    async def _send(self, requests: Iterable[Any] | AsyncIterable[Any]) -> None:
        try:
            if isinstance(requests, AsyncIterable):
                async for request in requests:
                    await self._write(request)
            else:
                for request in requests:
                    await self._write(request)
            await self._done_writing()
        except (StreamError, grpc.aio.AioRpcError):
            return  # the status is told, or will be
        except Exception as error:
            self._failed(error)

    async def _write(self, request: Any) -> None:
        try:
            stream = await self._opened()
            await self._bounded(stream.send(wire.MESSAGE + self._serialize(request)))
        except Exception as error:
            # A stream that takes no more has an end that reading tells.
            raise self._failed(error, not isinstance(error, StreamError)) from error

    async def _done_writing(self) -> None:
        try:
            (await self._opened()).finish()
        except Exception as error:
            raise self._failed(error, not isinstance(error, StreamError)) from error

    async def _only(self) -> Any:
        """The one response of a method that has one, and the status after it."""
        response = await self._next()
        if response is grpc.aio.EOF or await self._next() is not grpc.aio.EOF:
            raise self._failed(wire.Status(grpc.StatusCode.INTERNAL, "there is to be one response"))
        return response

    async def _responses(self) -> AsyncIterator[Any]:
        while (message := await self._next()) is not grpc.aio.EOF:
            yield message

    async def _next(self) -> Any:
        return await self._guarded(self._read())

    async def _read(self) -> Any:
        async with self._reading:
            if self._status.done():
                if self._status.result().code is grpc.StatusCode.OK:
                    return grpc.aio.EOF
                raise self._status.result()
            record = await self._record()
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

    async def _record(self) -> bytes:
        """The next message or status; metadata on the way is kept."""
        if self._early is not None:
            record, self._early = self._early, None
            return record
        stream = await self._opened()
        while True:
            received = await stream.recv()
            if received is None:
                raise wire.Status(grpc.StatusCode.INTERNAL, "the stream ended without a status")
            if received[:1] == wire.TRAILERS:
                self._trailing = wire.unpack_metadata(received[1:])
                continue
            first, self._begun = not self._begun, True
            if not first or received[:1] != wire.METADATA:
                return received
            self._initial = wire.unpack_metadata(received[1:])

    async def _peek(self) -> None:
        """Waits until the initial metadata is known. What came behind it is kept for who reads."""
        async with self._reading:
            if self._begun or self._status.done():
                return
            stream = await self._opened()
            received = await stream.recv()
            self._begun = True
            if received is not None and received[:1] == wire.METADATA:
                self._initial = wire.unpack_metadata(received[1:])
            elif received is not None and received[:1] == wire.TRAILERS:
                self._trailing = wire.unpack_metadata(received[1:])
            else:
                self._early = received

    async def _result(self) -> Any:
        try:
            return await asyncio.shield(self._tasks[-1])
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _guarded(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result, within the call's time; a failure ends the call. Raises AioRpcError."""
        try:
            return await self._bounded(work)
        except Exception as error:
            raise self._failed(error) from error

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
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
        initial, trailing = grpc.aio.Metadata(*self._initial), grpc.aio.Metadata(*self._trailing)
        return grpc.aio.AioRpcError(status.code, initial, trailing, status.details)

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
