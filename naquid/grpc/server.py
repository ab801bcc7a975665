"""The server's side: generated `add_..._to_server` functions put servicers among naquid's handlers."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import grpc
import grpc.aio

from ..connection import Connection
from ..errors import RpcError
from ..handlers import Handlers
from ..rpc import Rpc
from ..stream import Stream
from . import wire

__all__ = ["Context", "Services"]


class Services:
    """What `add_XServicer_to_server(servicer, server)` takes for a server: it adds the methods to the handlers.

    Methods are coroutine functions and async generators, as with `grpc.aio`. Plain functions and generators work, too;
    they run in the event loop, so they must not block. An exception that is no status goes to sys.unraisablehook,
    and the caller gets UNKNOWN.
    """

    def __init__(self, app: Handlers) -> None:
        self._app = app

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
                self._add(path, handler)

    def _add(self, path: str, handler: Any) -> None:
        if handler.request_streaming or handler.response_streaming:
            self._app.stream(path)(_streaming(handler))
        else:
            self._app.rpc(path)(_unary(handler))


class Context:
    """What a servicer's method gets beside the request: of `grpc.aio.ServicerContext` what has a meaning here."""

    def __init__(self, connection: Connection, metadata: wire.Metadata) -> None:
        self._connection = connection
        self._metadata = metadata
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._stream: Stream | None = None
        self._handler: Any = None

    @property
    def connection(self) -> Connection:
        """naquid's own connection."""
        return self._connection

    def invocation_metadata(self) -> wire.Metadata:
        """What the caller sent along: (key, value) pairs."""
        return self._metadata

    def peer(self) -> str:
        """The caller's address: "udp:127.0.0.1:4433"."""
        host, port = self._connection.remote_address or ("", 0)
        return f"udp:{host}:{port}"

    def time_remaining(self) -> None:
        """None: a caller's deadline is not sent."""
        return

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        """Ends the call with this status: raises grpc.aio.AbortError."""
        self._code, self._details = code, details
        raise grpc.aio.AbortError(details)

    def set_code(self, code: grpc.StatusCode) -> None:
        """The status to end with."""
        self._code = code

    def set_details(self, details: str) -> None:
        """The text that goes with it."""
        self._details = details

    def code(self) -> grpc.StatusCode:
        """What was set."""
        return self._code

    def details(self) -> str:
        """What was set."""
        return self._details

    async def read(self) -> Any:
        """The next request, grpc.aio.EOF after the last one. For methods with a stream of requests."""
        if self._stream is None:
            raise grpc.aio.UsageError("this method has one request: it was given to the method")
        record = await self._stream.recv()
        if record is None:
            return grpc.aio.EOF
        if record[:1] != wire.MESSAGE:
            raise wire.Status(grpc.StatusCode.INTERNAL, "the caller's record cannot be read")
        return _deserialized(self._handler, record[1:])

    async def write(self, response: Any) -> None:
        """Sends one response. For methods with a stream of responses."""
        if self._stream is None or not self._handler.response_streaming:
            raise grpc.aio.UsageError("this method has one response: return it")
        await self._send(response)

    async def _send(self, response: Any) -> None:
        assert self._stream is not None
        await self._stream.send(wire.MESSAGE + _serialized(self._handler, response))

    async def _requests(self) -> AsyncIterator[Any]:
        while (request := await self.read()) is not grpc.aio.EOF:
            yield request


def _deserialized(handler: Any, data: bytes) -> Any:
    if handler.request_deserializer is None:
        return data
    try:
        return handler.request_deserializer(data)
    except Exception as error:
        raise wire.Status(grpc.StatusCode.INTERNAL, f"the request cannot be read: {error}") from error


def _serialized(handler: Any, response: Any) -> bytes:
    made: bytes = handler.response_serializer(response) if handler.response_serializer else response
    return made


def _unary(handler: Any) -> Callable[..., Any]:
    async def serve(rpc: Rpc, type: int, payload: bytes) -> bytes:
        context = Context(rpc.connection, ())
        try:
            message, context._metadata = wire.unpack_request(type, payload)
            response = await _value(handler.unary_unary(_deserialized(handler, message), context))
            _raise_unless_ok(context)
            return _serialized(handler, response)
        except Exception as error:
            status = _status(error, context)
            raise RpcError(status.details.encode(), wire.ERRORS - wire.number(status.code)) from error

    return serve


def _streaming(handler: Any) -> Callable[..., Any]:
    async def serve(stream: Stream) -> None:
        context = Context(stream.connection, ())
        context._stream, context._handler = stream, handler
        try:
            first = await stream.recv() or b""
            if first[:1] != wire.METADATA:
                raise wire.Status(grpc.StatusCode.INTERNAL, "the call does not begin as calls do")
            context._metadata = wire.unpack_metadata(first[1:])
            await _run(handler, context)
            _raise_unless_ok(context)
            status = wire.Status(grpc.StatusCode.OK, context._details)
        except Exception as error:
            status = _status(error, context)
        await stream.send(wire.STATUS + bytes([wire.number(status.code)]) + status.details.encode())
        stream.finish()

    return serve


async def _run(handler: Any, context: Context) -> None:
    if handler.request_streaming:
        request: Any = context._requests()
    else:
        request = await context.read()
        if request is grpc.aio.EOF:
            raise wire.Status(grpc.StatusCode.INTERNAL, "the call has no request")
    if not handler.response_streaming:
        await context._send(await _value(handler.stream_unary(request, context)))
        return
    responses = (handler.stream_stream if handler.request_streaming else handler.unary_stream)(request, context)
    if hasattr(responses, "__aiter__"):
        async for response in responses:
            await context._send(response)
    else:
        for response in await _value(responses) or ():  # a coroutine has used write()
            await context._send(response)


async def _value(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _raise_unless_ok(context: Context) -> None:
    if context._code is not grpc.StatusCode.OK:
        raise wire.Status(context._code, context._details)


def _status(error: Exception, context: Context) -> wire.Status:
    """The status to send for what a method raised. What is no status goes on as it is."""
    if isinstance(error, wire.Status):
        return error
    if context._code is not grpc.StatusCode.OK:  # abort(), or set_code() and then any exception
        return wire.Status(context._code, context._details)
    raise error
