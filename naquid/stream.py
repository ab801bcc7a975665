"""Record streams: messages with their boundaries kept, in order, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from . import _naquid
from .errors import ConnectionError, StreamClosed, StreamReset

__all__ = ["Stream", "serve_stream"]


class Stream(_naquid.BaseStream):
    """A record stream. Get one from `Connection.open_stream`, or as the argument of a handler.

    `async for record in stream` ends when the peer has finished. At most 256 KiB or 1024 records wait unread; then the
    peer is stopped by flow control. Several tasks may wait at once. Cancelling a wait loses nothing.
    """

    __slots__ = ()

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Sends one record (0 bytes to `Limits.max_message_size`). First waits while the stream is not writable (see
        `drain`); a send that is cancelled while it waits has sent nothing.

        64 KiB or more of bytes, or of a memoryview of bytes, are not copied but kept until all of it is acknowledged,
        or the stream has ended. Everything else is copied.

        Raises StreamReset, StreamRefused when the peer has no handler of this name, StreamClosed, ConnectionLost,
        MessageTooBig.
        """
        while (waiter := self._drain_wait()) is not None:
            await waiter
        self.send_nowait(data)

    async def drain(self) -> None:
        """Waits while the stream is not writable: more than `Limits.send_high` is queued on it, or more than half of
        `max_send_queue` on its connection, whose streams then have their turns. Raises as `send` does."""
        while (waiter := self._drain_wait()) is not None:
            await waiter

    async def recv(self) -> bytes | None:
        """The next record, or None when the peer has finished. Raises StreamReset, StreamClosed, ConnectionLost."""
        while True:
            record = self._take()
            if record is not None:
                return record
            waiter = self._read_wait()
            if waiter is None:
                return None
            await waiter

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        record = await self.recv()
        if record is None:
            raise StopAsyncIteration
        return record

    def finish(self) -> None:
        """No more records from this side (FIN after what is queued); receiving goes on."""
        self._finish()

    async def wait_closed(self) -> None:
        """Waits until both directions have ended."""
        while (waiter := self._close_wait()) is not None:
            await waiter

    async def _serve(self, handler: Coroutine[Any, Any, None]) -> None:
        await serve_stream(self, handler)


async def serve_stream(stream: Stream | _naquid.BaseRawStream, handler: Coroutine[Any, Any, None]) -> None:
    """Runs the handler of a stream that the peer opened; closes the stream behind it, resets it when it fails."""
    try:
        await handler
    except asyncio.CancelledError:
        stream.reset(_naquid.CODE_INTERNAL)
        stream.close()
        raise
    except (ConnectionError, StreamReset, StreamClosed) as error:
        if stream.connection._closing:
            return  # what it has queued is being sent
        # How streams end when the peer goes away: nothing to report, unless this stream is as open as ever.
        if not stream.is_closed and not isinstance(error, (ConnectionError, StreamReset)):
            stream._failed(error, handler)
        stream.reset(_naquid.CODE_INTERNAL)
        stream.close()
    except Exception as error:
        stream._failed(error, handler)
        stream.reset(_naquid.CODE_INTERNAL)
        stream.close()
    else:
        stream.close()
