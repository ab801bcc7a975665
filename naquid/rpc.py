"""RPC streams: numbered requests with replies, and notifications, in both directions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from . import _naquid
from .errors import CallTimeout, ConnectionError, RpcError, StreamError

__all__ = ["Rpc"]


class Rpc(_naquid.BaseRpc):
    """An RPC stream. Get one from `Connection.open_rpc`, or as the first argument of a handler.

    Both sides may call. Requests of the peer go to the handlers of the stream's name, in order; a plain function's
    result is sent at once, a coroutine function runs as a task of its own.

    One that `Connection.open_rpc` gave outlives the loss of a connection with `ClientConfig.reconnect`, as that does:
    calls in flight raise ConnectionLost, new ones wait until the connection is back and go over a new stream of the
    same name. What cannot wait (`call_soon`, `call_many`, `notify`) raises ConnectionLost meanwhile. `close()` ends it
    for good.
    """

    __slots__ = ()

    async def wait_closed(self) -> None:
        """Waits until both directions of the stream have ended."""
        while (waiter := self._close_wait()) is not None:
            await waiter

    async def drain(self) -> None:
        """Waits while the stream is not writable: more than `Limits.send_high` is queued on it, or more than half of
        `max_send_queue` on its connection. For programs that begin more calls or notifications than they wait for:
        replies need none of it. Raises ConnectionLost when the stream is gone."""
        while (waiter := self._drain_wait()) is not None:
            await waiter

    async def _call_when_back(self, type: int, payload: bytes, seconds: float) -> bytes:
        """A call that was made while the connection was away."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            async with asyncio.timeout_at(end):
                await self.connection.wait_open()
        except TimeoutError:
            raise CallTimeout("the connection did not come back within the call's timeout") from None
        return await self.call(type, payload, max(end - loop.time(), 0.001))

    # ---- handlers that are coroutines ----

    async def _serve_request(self, handler: Coroutine[Any, Any, Any], msgid: int, type: int) -> None:
        # Cancelled before its first step, nothing of this runs: the task's owner answers then.
        try:
            result = await handler
            if result is not None:
                self._end_request(msgid, 0, result)
            elif not self._deferred(msgid):
                self._end_request(msgid, 0, b"")
        except RpcError as error:
            try:
                self._end_request(msgid, error.code, error.payload)
            except Exception as wrong:  # they were changed to what cannot be sent
                self._failed(wrong, handler, type)
                self._end_request(msgid, _naquid.EUSER, _naquid.HANDLER_FAILED)
        except asyncio.CancelledError:
            self._end_request(msgid, _naquid.EUSER, b"")
            raise
        except Exception as error:
            if not (self.is_closed and isinstance(error, (ConnectionError, StreamError))):
                self._failed(error, handler, type)
            self._end_request(msgid, _naquid.EUSER, _naquid.HANDLER_FAILED)

    async def _serve_notify(self, handler: Coroutine[Any, Any, Any], type: int) -> None:
        try:
            await handler
        except Exception as error:
            if not (self.is_closed and isinstance(error, (ConnectionError, StreamError))):
                self._failed(error, handler, type)
