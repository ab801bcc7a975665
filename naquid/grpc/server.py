"""The server's side: generated `add_..._to_server` functions put servicers among naquid's handlers."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

from ..errors import ConnectionError, RpcError, StreamError
from ..handlers import Handlers
from ..rpc import Rpc
from ..stream import Stream
from . import wire
from .context import Context, Requests, deserialized, serialized

__all__ = ["Services"]

THREADS = 32


class Services:
    """What `add_XServicer_to_server(servicer, server)` takes for a server: it adds the methods to the handlers.

    Methods are coroutine functions and async generators, as with `grpc.aio`. Plain functions and generators run in a
    thread, as grpcio's synchronous API and `grpc.aio` have them: they may block, and their requests are a plain
    iterator. thread_pool: where; default: one of its own, of 32 threads. A method that waits for a request or a
    response holds one, and calls above their number wait. An exception that is no status is reported as any handler's,
    and the caller gets UNKNOWN.
    """

    def __init__(self, app: Handlers, thread_pool: Executor | None = None) -> None:
        self._app = app
        self._pool = thread_pool

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """For generated code."""
        for name, handler in handlers.items():
            self._add(f"/{service}/{name}", handler)

    def add_generic_rpc_handlers(self, generic_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """For generated code. Raises TypeError for handlers that do not tell which methods they have."""
        for generic in generic_handlers:
            handlers = getattr(generic, "_method_handlers", None)
            if not isinstance(handlers, Mapping):
                raise TypeError(f"{generic!r} does not tell its methods: use add_registered_method_handlers")
            for path, handler in handlers.items():
                self._add(path.decode() if isinstance(path, bytes) else path, handler)

    def _add(self, path: str, handler: Any) -> None:
        for table in (self._app._requests, self._app._streams):
            table.pop(path, None)  # generated code registers each method twice
        if handler.request_streaming or handler.response_streaming:
            self._app.stream(path)(self._streaming(handler))
        else:
            self._app.rpc(path)(self._unary(handler))

    def _threads(self) -> Executor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="naquid.grpc")
        return self._pool

    def _unary(self, handler: Any) -> Callable[..., Any]:
        async def serve(rpc: Rpc, type: int, payload: bytes) -> bytes:
            context = Context(rpc.connection)
            context._handler = handler
            with _whole(context):
                try:
                    message, context._metadata = wire.unpack_request(type, payload)
                    request = deserialized(handler, message)
                    response = await self._value(handler.unary_unary, request, context)
                    context._raise_unless_ok()
                    status, body = wire.Status(grpc.StatusCode.OK), serialized(handler, response)
                except (Exception, asyncio.CancelledError) as error:
                    status = _status(error, context)
                    body = status.details.encode()
                    if not _has_metadata(context):
                        raise RpcError(body, wire.ERRORS - wire.number(status.code)) from error
            if _has_metadata(context):
                answer = wire.pack_answer(context._initial or (), context._trailing, status.code, body)
                raise RpcError(answer, wire.ANSWER)
            return body

        return serve

    def _streaming(self, handler: Any) -> Callable[..., Any]:
        async def serve(stream: Stream) -> None:
            context = Context(stream.connection)
            context._stream, context._handler = stream, handler
            with _whole(context):
                try:
                    first = await stream.recv() or b""
                    if first[:1] != wire.METADATA:
                        raise wire.Status(grpc.StatusCode.INTERNAL, "the call does not begin as calls do")
                    context._metadata = wire.unpack_metadata(first[1:])
                    await self._run(handler, context)
                    context._raise_unless_ok()
                    status = wire.Status(grpc.StatusCode.OK, context._details)
                except (Exception, asyncio.CancelledError) as error:
                    status = _status(error, context)
                if context._trailing:
                    await stream.send(wire.TRAILERS + wire.pack_metadata(context._trailing))
                await stream.send(wire.STATUS + bytes([wire.number(status.code)]) + status.details.encode())
                stream.finish()

        return serve

    async def _run(self, handler: Any, context: Context) -> None:
        if handler.request_streaming:
            request: Any = Requests(context)
        else:
            request = await context._read()
            if request is grpc.aio.EOF:
                raise wire.Status(grpc.StatusCode.INTERNAL, "the call has no request")
        if not handler.response_streaming:
            response = await self._value(handler.stream_unary, request, context)
            context._raise_unless_ok()
            await context._send(response)
            return
        method = handler.stream_stream if handler.request_streaming else handler.unary_stream
        run = None if _is_async(method) else _InThread(self._threads())
        responses = method(request, context) if run is None else await run(method, request, context)
        if inspect.isawaitable(responses):
            responses = await responses  # a coroutine has used write()
        if responses is None:
            return
        if hasattr(responses, "__aiter__"):
            async for response in responses:
                await context._send(response)
        else:
            async with contextlib.aclosing(_items(responses, run or _InThread(self._threads()))) as items:
                async for response in items:
                    await context._send(response)

    async def _value(self, method: Any, request: Any, context: Context) -> Any:
        """What a method with one response returns."""
        if _is_async(method):
            result = method(request, context)
        else:
            result = await _InThread(self._threads())(method, request, context)
        return await result if inspect.isawaitable(result) else result


class _InThread:
    """Runs a call's plain functions in a pool's threads: one at a time, and in the call's contextvars context."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()

    async def __call__(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, function, arguments)

    def close(self, iterator: Any) -> None:
        """Closes a generator, once the thread that runs it, if any, has left it."""
        if hasattr(iterator, "close"):
            with contextlib.suppress(RuntimeError):  # the pool was shut down
                self._pool.submit(self._run, iterator.close, ())

    def _run(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        with self._lock:
            try:
                return self._context.run(function, *arguments)
            except StopIteration as error:  # which no future can hold
                raise RuntimeError("the method raised StopIteration") from error


_END = object()


async def _items(iterable: Any, run: _InThread) -> AsyncGenerator[Any, None]:
    """What a plain iterator gives, each made in a thread."""
    iterator = await run(iter, iterable)
    try:
        while (item := await run(next, iterator, _END)) is not _END:
            yield item
    finally:
        run.close(iterator)


def _is_async(method: Any) -> bool:
    """Does the method, or what a decorator has wrapped, run in the event loop?"""
    for each in (method, inspect.unwrap(method), getattr(method, "__call__", None)):  # noqa: B004 (an object's method)
        if isinstance(each, functools.partial):
            each = each.func
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            return True
    return False


@contextlib.contextmanager
def _whole(context: Context) -> Iterator[None]:
    """A call from its first byte to its last: whoever waits for its end is told."""
    cancelled = False
    try:
        yield
    except (asyncio.CancelledError, ConnectionError, StreamError):
        cancelled = True
        raise
    finally:
        context._finish(cancelled or context._code is grpc.StatusCode.CANCELLED)


def _has_metadata(context: Context) -> bool:
    return bool(context._initial or context._trailing)


def _status(error: BaseException, context: Context) -> wire.Status:
    """The status to send for what a method raised. What is no status goes on as it is."""
    if isinstance(error, asyncio.CancelledError):
        if context._aborted is None or context._aborted.code is not grpc.StatusCode.CANCELLED:
            raise error
        if context._task is not None:  # context.cancel() did it: the task goes on, to tell the caller
            context._task.uncancel()
        context._cancelled = True
    if isinstance(error, grpc.RpcError) and isinstance(error.__cause__, ConnectionError | StreamError):
        raise error.__cause__  # how a plain method learned that its caller is gone
    if context._aborted is not None:
        return context._aborted
    if isinstance(error, wire.Status):
        return error
    if context._code is not grpc.StatusCode.OK:  # set_code() and then any exception
        return wire.Status(context._code, context._details)
    raise error
