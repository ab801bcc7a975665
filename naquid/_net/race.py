"""Happy Eyeballs (RFC 8305): which of a host's addresses is tried when, which attempt counts, and why none did.

A `Race` decides and starts; who drives it waits for the attempts, for the delay between two of them, and gives up those
that lost. So it is the same for an event loop and for a loop that is polled.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from ..errors import ConnectionError

__all__ = ["DELAY", "Race", "lacks_resources"]

DELAY = 0.25
"""Seconds before the next address is tried beside one that does not answer (RFC 8305 5)."""

_Address = TypeVar("_Address")
_Attempt = TypeVar("_Attempt")


class Race(Generic[_Address, _Attempt]):
    """The addresses of one host, in the order in which they are tried.

    start(address, alone) makes an attempt. alone: none runs and none follows, so that it need not be compared with
    others. What it raises, as OSError for a family that this machine cannot reach, is the end of that address alone.
    """

    __slots__ = ("_start", "failure", "running", "waiting")

    def __init__(self, addresses: Iterable[_Address], start: Callable[[_Address, bool], _Attempt]) -> None:
        self._start = start
        self.waiting = deque(addresses)
        self.running: list[_Attempt] = []
        self.failure: BaseException | None = None
        """Why there is no connection, once nothing runs and nothing waits: of all failures the one that says most."""

    def start_next(self) -> bool:
        """Starts the next address that can be started, when one waits. Whether any attempt runs now: the next is due
        after the delay, or once one has failed."""
        while self.waiting:
            address = self.waiting.popleft()
            try:
                self.running.append(self._start(address, not self.waiting and not self.running))
            except (OSError, ValueError, MemoryError) as error:
                self._failed(error)
            else:
                break
        return bool(self.running)

    def won(self, winner: _Attempt) -> list[_Attempt]:
        """The first that has a connection: no other is started. Returns those that lost, to be given up."""
        lost = [attempt for attempt in self.running if attempt is not winner]
        self.stop()
        return lost

    def lost(self, attempt: _Attempt, failure: BaseException | None) -> None:
        """One has failed. failure: why; None when that is known elsewhere."""
        self.running.remove(attempt)
        if failure is not None:
            self._failed(failure)

    def stop(self) -> None:
        """No address is tried any more, and what runs is forgotten."""
        self.waiting.clear()
        self.running.clear()

    def _failed(self, failure: BaseException) -> None:
        if self.failure is None or _weight(failure) > _weight(self.failure):
            self.failure = failure


def lacks_resources(failure: BaseException | None) -> bool:
    """Whether this machine had not enough of something: descriptors or memory."""
    return isinstance(failure, MemoryError) or (
        isinstance(failure, OSError) and failure.errno in (errno.EMFILE, errno.ENFILE)
    )


def _weight(failure: BaseException) -> int:
    """How much a failure says: a lack of descriptors is the same for every address, an answer or its absence tells more
    than an address that could not be tried at all. Of equal ones the first counts."""
    return 2 if lacks_resources(failure) else 1 if isinstance(failure, ConnectionError) else 0
