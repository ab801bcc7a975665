"""What a servicer's method gets beside the request: the call as the server sees it.

Methods are coroutines, which run in the event loop, or plain functions, which run in a thread. Both get the same
Context; what is a coroutine for the former blocks for the latter, as in grpcio's synchronous API.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NoReturn

import grpc
import grpc.aio

from ..connection import Connection
from ..errors import ConnectionError, StreamError
from ..stream import Stream
from . import wire

__all__ = ["Context", "Requests"]


class Context(grpc.aio.ServicerContext[Any, Any]):
    """`grpc.aio.ServicerContext`, and for plain methods what grpcio's synchronous `ServicerContext` has.

    In a coroutine, `read`, `write` and `send_initial_metadata` are awaited; one that is not fails the call with
    INTERNAL instead of doing nothing. In a plain method they block. `abort` and `abort_with_status` raise at once in
    both, awaited or not, and the call ends with their status even where a method swallows what they raise.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._task = asyncio.current_task()
        self._handler: Any = None
        self._stream: Stream | None = None  # of a call with a stream of requests or of responses
        self._metadata: wire.Metadata = ()
        self._initial: wire.Metadata | None = None  # None: none was set
        self._trailing: wire.Metadata = ()
        self._sent = False  # has a response, or the initial metadata, been sent?
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._aborted: wire.Status | None = None
        self._ended = self._cancelled = False
        self._waits: set[asyncio.Task[Any]] = set()  # what plain methods wait for
        self._made: list[tuple[str, Coroutine[Any, Any, Any]]] = []  # given to coroutines, and perhaps not awaited
        self._callbacks: list[Callable[[], Any]] = []

    # ---- the caller ----

    @property
    def connection(self) -> Connection:
        """naquid's own connection. It belongs to the event loop's thread; plain methods must leave it alone."""
        return self._connection

    def invocation_metadata(self) -> wire.Metadata:  # type: ignore[override]
        """What the caller sent along: (key, value) pairs."""
        return self._metadata

    def peer(self) -> str:
        """The caller's address: "udp:127.0.0.1:4433"."""
        host, port = self._asked(lambda: self._connection.remote_address) or ("", 0)
        return f"udp:{host}:{port}"

    def peer_identities(self) -> list[bytes] | None:
        """What `peer_identity_key` names, of the caller's certificate; None without one."""
        key = self.peer_identity_key()
        return None if key is None else self.auth_context()[key]

    def peer_identity_key(self) -> str | None:
        """ "x509_subject_alternative_name" where the caller's certificate has such names, else "x509_common_name"; None
        when it showed no certificate, or one without names."""
        found = self.auth_context()
        keys = ("x509_subject_alternative_name", "x509_common_name")
        return next((key for key in keys if key in found), None)

    def auth_context(self) -> dict[str, list[bytes]]:
        """gRPC's properties of the connection: "transport_security_type", and of a caller who showed a certificate
        "x509_pem_cert", "x509_common_name" and "x509_subject_alternative_name". Names are read by the package
        cryptography; raises ImportError without it."""
        found = {"transport_security_type": [b"ssl"]}
        chain = self._asked(lambda: self._connection.peer_certificates)
        if chain:
            found["x509_pem_cert"] = [ssl.DER_cert_to_PEM_cert(chain[0]).encode()]
            found |= _names(chain[0])
        return found

    def time_remaining(self) -> None:  # type: ignore[override]
        """None: a caller's deadline is not sent."""
        return

    # ---- the status ----

    def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Ends the call with this status: raises grpc.aio.AbortError. It does so when it is called; to await it, as
        with `grpc.aio`, changes nothing. StatusCode.OK makes it UNKNOWN."""
        status = wire.Status(_code(code), _details(details))
        if status.code is grpc.StatusCode.OK:
            status = wire.Status(grpc.StatusCode.UNKNOWN, "abort() was called with StatusCode.OK")
        if trailing_metadata:
            self._trailing = wire.metadata_of(trailing_metadata)
        if self._aborted is None:
            self._aborted = status
            self._code, self._details = status.code, status.details
        raise grpc.aio.AbortError(status.details)

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """The same with an object that has code, details and trailing_metadata."""
        self.abort(status.code, status.details, status.trailing_metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        """The status to end with. Raises TypeError for what is none; a number will do."""
        self._code = _code(code)

    def set_details(self, details: str) -> None:
        """The text that goes with it."""
        self._details = _details(details)

    def code(self) -> grpc.StatusCode:
        """What was set."""
        return self._code

    def details(self) -> str:
        """What was set."""
        return self._details

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """What goes with the status. Raises TypeError and ValueError for what is no metadata."""
        self._trailing = wire.metadata_of(trailing_metadata)

    def trailing_metadata(self) -> wire.Metadata:  # type: ignore[override]
        """What was set."""
        return self._trailing

    # ---- messages ----

    def read(self) -> Any:
        """The next request, grpc.aio.EOF after the last one. For methods with a stream of requests."""
        if not self._handler.request_streaming:
            raise grpc.aio.UsageError("this method has one request: it was given to the method")
        return self._either("read", self._read())

    def write(self, message: Any) -> Any:
        """Sends one response. For methods with a stream of responses."""
        if not self._handler.response_streaming:
            raise grpc.aio.UsageError("this method has one response: return it")
        return self._either("write", self._send(message))

    def send_initial_metadata(self, initial_metadata: Any) -> Any:
        """Sends metadata ahead of the first response; with a unary method it goes with the response. Raises TypeError
        and ValueError for what is no metadata, grpc.aio.UsageError when it is too late."""
        return self._either("send_initial_metadata", self._send_initial(wire.metadata_of(initial_metadata)))

    def set_compression(self, compression: grpc.Compression) -> None:
        """Raises grpc.aio.UsageError for all but NoCompression: nothing is compressed here."""
        no_compression(compression)

    def disable_next_message_compression(self) -> None:
        """Does nothing: nothing is compressed here."""

    # ---- its end ----

    def cancelled(self) -> bool:
        """Did the caller, the end of the connection, or `cancel` end the call?"""
        return self._cancelled

    def done(self) -> bool:
        """Has the call ended?"""
        return self._ended

    def is_active(self) -> bool:
        """Is it still under way? Of grpcio's synchronous context."""
        return not self._ended and not self._cancelled

    def cancel(self) -> None:
        """Ends the call with CANCELLED. Of grpcio's synchronous context; a plain method is not interrupted."""
        if self._aborted is None:
            self._aborted = wire.Status(grpc.StatusCode.CANCELLED, "the method cancelled the call")
        if self._task is not None and not self._ended:
            self._loop.call_soon_threadsafe(self._task.cancel)

    def add_done_callback(self, callback: Callable[[Context], Any]) -> None:
        """`callback(context)` is called in the event loop when the call has ended; at once if it has."""
        if not self.add_callback(lambda: callback(self)):
            callback(self)

    def add_callback(self, callback: Callable[[], Any]) -> bool:
        """The same without an argument; False, and it is not called, if the call has ended. Of grpcio's synchronous
        context."""
        if self._ended:
            return False
        self._callbacks.append(callback)
        return True

    # ---- inside ----

    def _either(self, name: str, work: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine in the event loop's thread, its result in any other."""
        if threading.get_ident() != self._thread:
            return self._in_loop(work)
        self._made = [each for each in self._made if _unused(each[1])]
        self._made.append((name, work))
        return work

    def _asked(self, question: Callable[[], Any]) -> Any:
        """The answer of something that belongs to the event loop's thread."""
        if threading.get_ident() == self._thread:
            return question()
        return self._in_loop(_later(question))

    def _in_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs it in the event loop and waits. Raises grpc.RpcError when the call has ended."""
        whole = self._guarded(work)
        try:
            future = asyncio.run_coroutine_threadsafe(whole, self._loop)
        except RuntimeError:  # the event loop is closed
            whole.close()
            work.close()
            raise grpc.RpcError("the call has ended") from None
        while True:
            try:
                return future.result(1.0)
            except concurrent.futures.CancelledError:
                raise grpc.RpcError("the call has ended") from None
            except (ConnectionError, StreamError) as error:
                self._cancelled = True
                raise grpc.RpcError("the caller has ended the call, or is gone") from error
            except concurrent.futures.TimeoutError:
                if future.done():
                    raise
                if self._loop.is_closed():
                    raise grpc.RpcError("the call has ended") from None

    async def _guarded(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._ended:
            work.close()
            raise grpc.RpcError("the call has ended")
        task = asyncio.current_task()
        assert task is not None
        self._waits.add(task)
        try:
            return await work
        finally:
            self._waits.discard(task)

    async def _read(self) -> Any:
        assert self._stream is not None
        self._raise_if_aborted()
        record = await self._stream.recv()
        if record is None:
            return grpc.aio.EOF
        if record[:1] != wire.MESSAGE:
            raise wire.Status(grpc.StatusCode.INTERNAL, "the caller's record cannot be read")
        return deserialized(self._handler, record[1:])

    async def _send(self, response: Any) -> None:
        assert self._stream is not None
        self._raise_if_aborted()
        self._sent = True
        await self._stream.send(wire.MESSAGE + serialized(self._handler, response))

    async def _send_initial(self, metadata: wire.Metadata) -> None:
        if self._sent or self._initial is not None:
            raise grpc.aio.UsageError("initial metadata goes ahead of the first response, once")
        self._initial = metadata
        if self._stream is not None:
            await self._stream.send(wire.METADATA + wire.pack_metadata(metadata))

    def _raise_if_aborted(self) -> None:
        if self._aborted is not None:
            raise self._aborted

    def _raise_unless_ok(self) -> None:
        """What the method has left behind: a status, or a coroutine that it did not await."""
        self._raise_if_aborted()
        if self._code is not grpc.StatusCode.OK:
            raise wire.Status(self._code, self._details)
        for name, work in self._made:
            if _unused(work):
                raise wire.Status(grpc.StatusCode.INTERNAL, f"the method did not await context.{name}()")

    def _finish(self, cancelled: bool) -> None:
        """The call has ended: who waits is told."""
        self._ended, self._cancelled = True, cancelled or self._cancelled
        for _, work in self._made:
            if _unused(work):
                work.close()
        for task in list(self._waits):
            task.cancel()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception as error:
                self._connection._failed(error, callback)


class Requests:
    """The requests of a call, for `async for` in the event loop and for `for` in a plain method's thread."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        request = await self._context._read()
        if request is grpc.aio.EOF:
            raise StopAsyncIteration
        return request

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if threading.get_ident() == self._context._thread:
            raise grpc.aio.UsageError("in a coroutine, requests are iterated over with `async for`")
        request = self._context.read()
        if request is grpc.aio.EOF:
            raise StopIteration
        return request


def deserialized(handler: Any, data: bytes) -> Any:
    """The request. Raises Status."""
    if handler.request_deserializer is None:
        return data
    try:
        return handler.request_deserializer(data)
    except Exception as error:
        raise wire.Status(grpc.StatusCode.INTERNAL, f"the request cannot be read: {error}") from error


def serialized(handler: Any, response: Any) -> bytes:
    """The response's bytes."""
    made: bytes = handler.response_serializer(response) if handler.response_serializer else response
    return made


def no_compression(compression: Any) -> None:
    """Raises grpc.aio.UsageError when any is asked for."""
    if compression not in (None, grpc.Compression.NoCompression):
        raise grpc.aio.UsageError(f"naquid.grpc does not compress: leave compression={compression!r} out")


async def _later(function: Callable[[], Any]) -> Any:
    return function()


def _unused(work: Coroutine[Any, Any, Any]) -> bool:
    return inspect.getcoroutinestate(work) == inspect.CORO_CREATED


def _code(code: Any) -> grpc.StatusCode:
    if isinstance(code, grpc.StatusCode):
        return code
    if isinstance(code, int) and not isinstance(code, bool) and code in wire.CODES:
        return wire.CODES[code]
    raise TypeError(f"a status code is a grpc.StatusCode, not {code!r:.80}")


def _details(details: Any) -> str:
    if isinstance(details, bytes):
        return details.decode(errors="replace")
    if isinstance(details, str):
        return details
    if details is None:
        return ""
    raise TypeError(f"the details of a status are a str, not {type(details).__name__}")


def _names(certificate: bytes) -> dict[str, list[bytes]]:
    """The names in a certificate, by gRPC's keys."""
    try:
        from cryptography import x509
    except ImportError as error:
        raise ImportError("the names in a certificate are read by the package cryptography: install it") from error
    read = x509.load_der_x509_certificate(certificate)
    common = [str(name.value).encode() for name in read.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    names: list[bytes] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        alternative = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(name.value).encode() for name in alternative if not isinstance(name, x509.OtherName)]
    found = {"x509_common_name": common, "x509_subject_alternative_name": names}
    return {key: values for key, values in found.items() if values}
