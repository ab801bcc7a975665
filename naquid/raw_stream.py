"""Raw streams: bytes in, bytes out, as with asyncio's StreamReader and StreamWriter."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from . import _naquid
from .stream import serve_stream

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["RawStream"]


class RawStream(_naquid.BaseRawStream):
    """A stream of bytes. Get one from `Connection.open_raw_stream` or `open_uni_stream`, or in a handler.

    At most 256 KiB wait unread (more when one read asks for more); then the peer is stopped by flow control.
    Cancelling a read loses no bytes.
    """

    __slots__ = ()

    async def read(self, n: int = -1) -> bytes:
        """Up to n bytes, at least one; b"" at the end. n below 0: everything to the end.

        Raises StreamReset, StreamClosed, ConnectionLost, once what had arrived before was read.
        """
        if n == 0:
            return b""
        if n < 0:
            return await self._read_all()
        while not self._buffered:
            waiter = self._read_wait()
            if waiter is None:
                return b""
            await waiter
        return self._take(n)

    async def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills a writable, contiguous buffer from its start with the bytes that are there, at least one; returns how
        many. 0 at the end, and for an empty buffer.

        The buffer is written to when this returns, not before. Raises as `read` does, and TypeError for what is not a
        writable buffer, such as bytes.
        """
        if not self._room_in(buffer):
            return 0
        while not self._buffered:
            waiter = self._read_wait()
            if waiter is None:
                return 0
            await waiter
        return self._take_into(buffer)

    async def read_view(self, n: int) -> memoryview:
        """Up to n bytes, at least one, as a read-only memoryview without a copy; an empty one at the end. Raises as
        `read` does.

        The view is good for as long as it is kept, whatever becomes of the stream. It keeps the block alive that its
        bytes came in, which may be larger: copy what is kept for long, by bytes(view).
        """
        if n < 0:
            raise ValueError("n must be 0 or more")
        while n and not self._buffered:
            waiter = self._read_wait()
            if waiter is None:
                break
            await waiter
        return self._take_view(n)

    async def _read_all(self) -> bytes:
        self._need(sys.maxsize)
        try:
            while (waiter := self._read_wait()) is not None:
                await waiter
            return self._take(-1)
        finally:
            self._need(0)

    async def readexactly(self, n: int) -> bytes:
        """n bytes. Raises asyncio.IncompleteReadError with what there is when the stream ends before."""
        if n < 0:
            raise ValueError("n must be 0 or more")
        self._need(n)
        try:
            while self._buffered < n:
                waiter = self._read_wait()
                if waiter is None:
                    raise asyncio.IncompleteReadError(self._take(-1), n)
                await waiter
            return self._take(n)
        finally:
            self._need(0)

    async def readuntil(self, separator: bytes = b"\n", limit: int = 1 << 16) -> bytes:
        """Bytes up to and with the separator. Raises asyncio.LimitOverrunError when it is not within limit bytes, which
        stay unread, and asyncio.IncompleteReadError when the stream ends before."""
        if not separator:
            raise ValueError("the separator must be at least one byte long")
        start = 0
        self._need(limit)
        try:
            while True:
                end = self._find(separator, start)
                if end > limit or (end < 0 and self._buffered > limit):
                    raise asyncio.LimitOverrunError("the separator is not within the limit", self._buffered)
                if end >= 0:
                    return self._take(end)
                start = max(0, self._buffered - len(separator) + 1)
                waiter = self._read_wait()
                if waiter is None:
                    raise asyncio.IncompleteReadError(self._take(-1), None)
                await waiter
        finally:
            self._need(0)

    async def readline(self) -> bytes:
        r"""A line with its "\n"; what is left at the end of the stream."""
        try:
            return await self.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return error.partial

    async def drain(self) -> None:
        """Waits while the stream is not writable: more than `Limits.send_high` is queued on it, or more than half of
        `max_send_queue` on its connection, whose streams then have their turns.

        Raises StreamReset when the peer asked to stop, StreamClosed, ConnectionLost. May be called by several tasks.
        """
        while (waiter := self._drain_wait()) is not None:
            await waiter

    def write_eof(self) -> None:
        """No more bytes from this side (FIN after what is queued); reading goes on."""
        self._finish()

    async def wait_closed(self) -> None:
        """Waits until both directions have ended."""
        while (waiter := self._close_wait()) is not None:
            await waiter

    async def _serve(self, handler: Coroutine[Any, Any, None]) -> None:
        await serve_stream(self, handler)
