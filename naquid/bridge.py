"""open_connection() and start_server(): one raw stream in the clothes of asyncio's StreamReader and StreamWriter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from .client import connect
from .config import Blob, ClientConfig, Password, ServerConfig
from .errors import ConnectionError, ConnectionLost, ConnectionReset, StreamClosed, StreamError, StreamReset
from .handlers import Handlers
from .raw_stream import RawStream
from .server import Server, serve

__all__ = ["StreamReader", "StreamTransport", "StreamWriter", "open_connection", "start_server"]

LIMIT = 1 << 16

ClientConnected = Callable[["StreamReader", "StreamWriter"], "Awaitable[None] | None"]

_BITS = {"TLS_AES_128_GCM_SHA256": 128, "TLS_AES_128_CCM_SHA256": 128}


async def open_connection(
    host: str,
    port: int,
    *,
    name: str | None = None,
    limit: int = LIMIT,
    ca: Blob | None = None,
    config: ClientConfig | None = None,
    insecure: bool = False,
) -> tuple[StreamReader, StreamWriter]:
    """Connects and opens one raw stream: `(reader, writer)`, as asyncio.open_connection gives for TCP. Closing the
    writer closes the connection.

    name: of the stream, None for bare bytes. limit: bytes that readline() and readuntil() look through. The rest as for
    `naquid.connect`, which also tells what is raised.

    Unlike a TCP server, the server learns of the stream by its first byte: the client must speak first.
    """
    connection = await connect(host, port, ca=ca, config=config, insecure=insecure)
    try:
        stream = await connection.open_raw_stream(name)
    except BaseException:
        connection.abort()
        raise
    return _pair(stream, limit, True)


async def start_server(
    client_connected_cb: ClientConnected,
    host: str = "::",
    port: int = 0,
    *,
    name: str | None = None,
    limit: int = LIMIT,
    cert: Blob | None = None,
    key: Blob | None = None,
    password: Password | None = None,
    config: ServerConfig | None = None,
) -> Server:
    """Listens, and calls `client_connected_cb(reader, writer)` for each raw stream that a client opens, as
    asyncio.start_server does for TCP. It may be a plain function or a coroutine function, which runs as a task; the
    stream stays open when it ends, until the writer is closed or the client goes. A callback that raises resets its
    stream; the exception goes to sys.unraisablehook.

    name, limit: as for `open_connection`. The rest as for `naquid.serve`, which also tells what is raised.
    """

    def handler(stream: RawStream) -> Awaitable[None] | None:
        reader, writer = _pair(stream, limit, False)
        result = client_connected_cb(reader, writer)
        return _until_closed(result, stream) if asyncio.iscoroutine(result) else None

    app = Handlers()
    if name is None:
        app.raw_stream(handler)
    else:
        app.raw_stream(name)(handler)
    return await serve(app, host, port, cert=cert, key=key, password=password, config=config)


async def _until_closed(callback: Awaitable[None], stream: RawStream) -> None:
    await callback
    await stream.wait_closed()


def _pair(stream: RawStream, limit: int, alone: bool) -> tuple[StreamReader, StreamWriter]:
    if limit <= 0:
        raise ValueError("limit must be above 0")
    return StreamReader(stream, limit), StreamWriter(StreamTransport(stream, alone))


def _reset(error: StreamError) -> ConnectionReset:
    code = error.code if isinstance(error, StreamReset) else None
    return ConnectionReset(str(error), code=code, remote=code is not None)


class StreamReader:
    """Reads a raw stream as asyncio.StreamReader reads TCP. A connection that was lost raises a ConnectionError, a
    stream that the peer reset a ConnectionReset, once everything that came before was read. A connection that was
    closed in order (application code 0), by either side, is the end of the stream."""

    def __init__(self, stream: RawStream, limit: int = LIMIT) -> None:
        self._stream = stream
        self._limit = limit

    async def read(self, n: int = -1) -> bytes:
        """Up to n bytes, at least one; b"" at the end. n below 0: everything to the end."""
        try:
            return await self._stream.read(n)
        except StreamError as error:
            raise _reset(error) from error
        except ConnectionLost as error:
            return self._rest(error)

    async def readexactly(self, n: int) -> bytes:
        """n bytes. Raises asyncio.IncompleteReadError with what there is when the stream ends before."""
        try:
            return await self._stream.readexactly(n)
        except StreamError as error:
            raise _reset(error) from error
        except ConnectionLost as error:
            raise asyncio.IncompleteReadError(self._rest(error), n) from None

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """Bytes up to and with the separator. Raises asyncio.LimitOverrunError when it is not within `limit` bytes,
        which stay unread, and asyncio.IncompleteReadError when the stream ends before."""
        try:
            return await self._stream.readuntil(separator, self._limit)
        except StreamError as error:
            raise _reset(error) from error
        except ConnectionLost as error:
            raise asyncio.IncompleteReadError(self._rest(error), None) from None

    async def readline(self) -> bytes:
        r"""A line with its "\n"; what is left at the end of the stream. Raises ValueError for a line above `limit`,
        which is dropped as far as it has come."""
        try:
            return await self.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return error.partial
        except asyncio.LimitOverrunError as error:
            self._stream._take(self._stream._find(b"\n", 0))
            raise ValueError(error.args[0]) from None

    def at_eof(self) -> bool:
        """True when the peer has finished, or the connection was closed in order, and everything was read."""
        return self._stream.at_eof() or (self._closed_in_order() and not self._stream._buffered)

    def exception(self) -> Exception | None:
        """Why the connection ended, None while it lives and after an end in order."""
        return self._stream.connection.error

    def _closed_in_order(self) -> bool:
        connection = self._stream.connection
        return connection.is_closed and connection.error is None

    def _rest(self, error: ConnectionLost) -> bytes:
        """What is left in the stream when its connection has ended. Raises the error unless that was in order."""
        if not self._closed_in_order():
            raise error
        return self._stream._take(-1)

    def __aiter__(self) -> StreamReader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line


class StreamTransport(asyncio.Transport):
    """The writing side of a raw stream as an asyncio.Transport; reading is the StreamReader's."""

    def __init__(self, stream: RawStream, alone: bool) -> None:
        super().__init__()
        self._stream = stream
        self._alone = alone  # the connection is there for this stream only
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """peername, sockname: (host, port). peercert: the peer's certificate in DER, None when it showed none. alpn.
        cipher: (name, "TLSv1.3", bits). connection, stream: naquid's own objects."""
        connection = self._stream.connection
        if name == "peername":
            value: object = connection.remote_address
        elif name == "sockname":
            value = connection.local_address
        elif name == "peercert":
            value = next(iter(connection.peer_certificates), None)
        elif name == "alpn":
            value = connection.alpn or None
        elif name == "cipher":
            cipher = connection._fact("cipher")
            value = (cipher, "TLSv1.3", _BITS.get(cipher, 256)) if cipher else None
        elif name == "connection":
            value = connection
        elif name == "stream":
            value = self._stream
        else:
            value = None
        return default if value is None else value

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queues bytes. What is written to a stream that is gone is dropped; `StreamWriter.drain` tells. Raises
        QueueFull above Limits.max_send_queue."""
        if not self._closing:
            with contextlib.suppress(ConnectionError, StreamError):
                self._stream.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        """No more bytes from this side; reading goes on."""
        self._stream.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        """Bytes that the peer has not acknowledged yet."""
        return self._stream.queued

    def is_closing(self) -> bool:
        return self._closing or self._stream.is_closed or self._stream.connection.is_closed

    def close(self) -> None:
        """Closes the stream, and a client's connection with it; what was written is still sent."""
        if not self._closing:
            self._closing = True
            self._stream.close()
            if self._alone:
                self._stream.connection._close(0, "", False)

    def abort(self) -> None:
        """Ends the stream, and a client's connection with it, without sending what is queued."""
        self._closing = True
        self._stream.reset()
        self._stream.close()
        if self._alone:
            self._stream.connection.abort()


class StreamWriter:
    """Writes a raw stream as asyncio.StreamWriter writes TCP."""

    def __init__(self, transport: StreamTransport) -> None:
        self._transport = transport
        self._stream = transport._stream

    @property
    def transport(self) -> StreamTransport:
        """The asyncio.Transport beneath."""
        return self._transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queues bytes, as `RawStream.write` does. Follow it by `await drain()`."""
        self._transport.write(data)

    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Queues several pieces."""
        self._transport.writelines(data)

    async def drain(self) -> None:
        """Waits while the send queue is above its high watermark (`Limits.send_high`). Raises a ConnectionError when
        the stream takes no more."""
        try:
            await self._stream.drain()
        except StreamError as error:
            if not (isinstance(error, StreamClosed) and self._transport._closing):
                raise _reset(error) from error

    def write_eof(self) -> None:
        """No more bytes from this side (FIN after what is queued); reading goes on."""
        self._transport.write_eof()

    def can_write_eof(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Closes the stream, and the connection when `open_connection` made it. What was written is still sent."""
        self._transport.close()

    def is_closing(self) -> bool:
        """True once it was closed, or the stream has ended."""
        return self._transport.is_closing()

    async def wait_closed(self) -> None:
        """Waits until the stream has ended, and with `open_connection` the connection."""
        await self._stream.wait_closed()
        if self._transport._alone:
            await self._stream.connection.wait_closed()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """peername, sockname: (host, port). peercert: the peer's certificate in DER, None when it showed none. alpn.
        cipher: (name, "TLSv1.3", bits). connection, stream: naquid's own objects."""
        return self._transport.get_extra_info(name, default)
