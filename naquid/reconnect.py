"""Backoff, and what brings a lost connection back."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._net.resolve import Address
from .errors import ConfigError, ConnectionLost, Error

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Address", "Backoff", "Reconnector"]

logger = logging.getLogger("naquid")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a client comes back after it has lost its connection; for `ClientConfig.reconnect`.

    The wait before attempt n is `initial * factor ** (n - 1)` seconds, at most `maximum`, less a random part of up to
    `jitter` of it, so that a server that comes back does not meet all its clients at once. An attempt resolves the name
    again, reads certificates and keys anew where their files were replaced, and tries each address; one that does not
    answer costs `ClientConfig.attempt_delay` in the first attempt, twice as much in each that follows, and the last one
    `Limits.handshake_timeout`. n starts over once a connection has lasted longer than the wait before it.

    Only what was established comes back: the first attempt is `connect()`'s, which raises why it failed. After that
    every failure is waited out, refused certificates and names that do not resolve too: both are mended while clients
    run. The connection ends for good

    * by `close()` or `abort()` of this side,
    * when the peer closes it in order (application code 0),
    * after `attempts` attempts in a row that failed: `error` is a ConnectionLost whose `__cause__` is the last failure.

    Raises ConfigError when a value is out of range.
    """

    initial: float = 0.1
    """Seconds before the first attempt."""
    maximum: float = 30.0
    """Seconds, the longest wait."""
    factor: float = 2.0
    """By how much a wait is longer than the one before, 1 or more."""
    jitter: float = 0.5
    """The part of a wait that is random, 0 to 1."""
    attempts: int | None = None
    """Attempts in a row that may fail; None: it never gives up."""

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "factor", "jitter"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigError(f"{name} is {value!r}: it must be a number")
        if not 0 <= self.initial <= 86400:
            raise ConfigError(f"initial is {self.initial} seconds: it must be from 0 to 86400")
        if not self.initial <= self.maximum <= 86400:
            raise ConfigError(f"maximum is {self.maximum} seconds: it must be from initial ({self.initial}) to 86400")
        if not 1 <= self.factor <= 1000:
            raise ConfigError(f"factor is {self.factor}: it must be from 1 to 1000")
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"jitter is {self.jitter}: it must be from 0 to 1")
        if self.attempts is not None and (not isinstance(self.attempts, int) or self.attempts < 1):
            raise ConfigError(f"attempts is {self.attempts}: it must be None, or an integer of 1 or more")

    def delay(self, attempt: int) -> float:
        """Seconds to wait before this attempt (1: the first one); another value each time."""
        wait = min(self.maximum, self.initial * self.factor ** min(attempt - 1, 64))
        return wait * (1 - self.jitter * random.random())


class Reconnector:
    """Brings one connection back, as often as it is lost."""

    __slots__ = ("_attempt", "_backoff", "_delay", "_last", "_opened", "_resolve", "_task", "_waited")

    def __init__(
        self, backoff: Backoff, resolve: Callable[[], Awaitable[list[Address]]], attempt_delay: float = 0.25
    ) -> None:
        self._backoff = backoff
        self._delay = attempt_delay
        self._last: Address | None = None  # that answered
        self._resolve = resolve
        self._attempt = 0
        self._waited = 0.0
        self._opened = asyncio.get_running_loop().time()
        self._task: asyncio.Task[None] | None = None

    def lost(self, connection: Connection) -> None:
        """The connection was lost a moment ago."""
        if asyncio.get_running_loop().time() - self._opened >= self._waited:
            self._attempt = 0
        self._task = task = asyncio.get_running_loop().create_task(self._run(connection))
        task.add_done_callback(lambda task: self._done(connection, task))

    def _done(self, connection: Connection, task: asyncio.Task[None]) -> None:
        """A task that ended in another way than by its own or by stop(): nobody would bring the connection back. It may
        not have begun, so that it cannot see to this itself."""
        if task is self._task and task.cancelled():
            self._give_up(connection, "the task that brings the connection back was cancelled", None)
        elif task is self._task and (failure := task.exception()) is not None:
            self._give_up(connection, f"reconnecting failed: {failure!r}", failure)

    def stop(self) -> None:
        """The connection has ended for good."""
        task, self._task = self._task, None
        if task is not None and task is not _current() and not task.get_loop().is_closed():
            task.cancel()

    async def _run(self, connection: Connection) -> None:
        failure: BaseException | None = connection.error
        while self._backoff.attempts is None or self._attempt < self._backoff.attempts:
            self._attempt += 1
            self._waited = self._backoff.delay(self._attempt)
            await asyncio.sleep(self._waited)
            try:
                failure = await self._try_each(connection, await self._resolve())
            except (Error, OSError) as error:
                failure = error
            except Exception as error:  # no thread to resolve in, no memory: that may pass, too
                logger.warning("an attempt to reconnect failed: %r", error)
                failure = error
            if failure is None:
                self._opened = asyncio.get_running_loop().time()
                return
        self._give_up(
            connection, f"gave up after {self._attempt} attempts to reconnect; the last failure: {failure}", failure
        )

    async def _try_each(self, connection: Connection, addresses: list[Address]) -> BaseException | None:
        """None once one of them has answered, else why the last one did not. The one that answered before comes first:
        those before it in the resolver's order are known to be dead."""
        if self._last in addresses:
            addresses = [self._last, *(one for one in addresses if one != self._last)]
        failure: BaseException | None = OSError("the name has no address")
        patience = self._delay * 2 ** min(self._attempt - 1, 16)
        for i, address in enumerate(addresses):
            try:
                attempt = connection._reconnect(*address)
                if i + 1 < len(addresses):
                    await asyncio.wait([attempt], timeout=patience)
                    if not attempt.done():
                        connection._stop_attempt()
                failure = await attempt
            except OSError as error:  # such as a family that this machine cannot reach now
                failure = error
            if failure is None:
                self._last = address
                break
        return failure

    def _give_up(self, connection: Connection, why: str, cause: BaseException | None) -> None:
        end = ConnectionLost(why)
        end.__cause__ = cause
        connection._end(end)


def _current() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
