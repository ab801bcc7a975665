"""Connections that follow the network's changes (`ClientConfig.track_network`): one watcher for each event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from ._net.watch import Watcher, supported
from .errors import Error

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Tracker", "track"]

logger = logging.getLogger("naquid")

SETTLE = 0.05
"""Seconds: changes of the network within this time count as one."""

_trackers: dict[asyncio.AbstractEventLoop, Tracker] = {}


def track(connection: Connection) -> Tracker | None:
    """From now on the connection follows the network's changes, until `Tracker.forget`. None, and a warning: this
    system does not tell of them."""
    loop = asyncio.get_running_loop()
    tracker = _trackers.get(loop)
    if tracker is None:
        for other in [other for other in list(_trackers) if other.is_closed()]:
            if (stale := _trackers.pop(other, None)) is not None:
                stale.close()
        if not supported():
            logger.warning("track_network: this system does not tell of changes of its network")
            return None
        try:
            tracker = _trackers[loop] = Tracker(loop)
        except OSError as error:
            logger.warning("track_network: changes of the network cannot be followed: %s", error)
            return None
    tracker.connections.add(connection)
    return tracker


class Tracker:
    """Moves the connections of an event loop to another local address whenever the network has changed."""

    __slots__ = ("_loop", "_timer", "_watcher", "connections")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.connections: set[Connection] = set()
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._watcher = Watcher(self._told)

    def _told(self) -> None:
        """In the watcher's thread."""
        with contextlib.suppress(RuntimeError):  # the event loop was closed
            self._loop.call_soon_threadsafe(self._changed)

    def _changed(self) -> None:
        if self._timer is None and self.connections:
            self._timer = self._loop.call_later(SETTLE, self._move)

    def _move(self) -> None:
        self._timer = None
        for connection in list(self.connections):
            if not connection.is_open:
                continue  # a reconnect takes another socket anyway
            try:
                connection._migrate()
            except (Error, OSError) as error:
                logger.warning("the network has changed, and %r cannot move: %s", connection, error)
            else:
                logger.debug("the network has changed: %r moves", connection)

    def forget(self, connection: Connection) -> None:
        """The connection has ended; with the last one the watcher does."""
        self.connections.discard(connection)
        if not self.connections and _trackers.get(self._loop) is self:
            del _trackers[self._loop]
            self.close()

    def close(self) -> None:
        """Ends the watcher's thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watcher.close()
