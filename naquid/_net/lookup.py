"""getaddrinfo in threads that nobody waits for: one that hangs delays neither a timeout nor the end of a program."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Lookup", "ask"]

MOST = 32
"""Threads at a time; lookups above that wait for one."""

Done = Callable[[list[Any], BaseException | None], object]


class Lookup:
    """One question to the system's resolver. `done(answers, error)` is called once, in another thread."""

    __slots__ = ("cancelled", "done", "flags", "host", "port")

    def __init__(self, host: str, port: int | None, flags: int, done: Done) -> None:
        self.host = host
        self.port = port
        self.flags = flags
        self.done = done
        self.cancelled = False
        """Nobody waits for the answer: it is not asked when it has not begun."""

    def run(self) -> None:
        answers: list[Any] = []
        failure: BaseException | None = None
        try:
            answers = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM, flags=self.flags)
        except Exception as error:
            failure = error
        self.done(answers, failure)


class _Pool:
    def __init__(self) -> None:
        self.lock = threading.RLock()  # a finalizer that the garbage collector runs may ask, too
        self.waiting: deque[Lookup] = deque()
        self.threads = 0

    def ask(self, lookup: Lookup) -> None:
        with self.lock:
            self.waiting.append(lookup)
            if self.threads >= MOST:
                return
            self.threads += 1
        try:
            threading.Thread(target=self.work, name="naquid-resolve", daemon=True).start()
        except RuntimeError as error:  # the system gives no thread
            with self.lock:
                self.threads -= 1
                if self.threads:
                    return  # another one will come to it
                self.waiting.clear()
            raise OSError(f"no thread could be started to resolve a name: {error}") from error

    def work(self) -> None:
        while True:
            with self.lock:
                if not self.waiting:
                    self.threads -= 1
                    return
                lookup = self.waiting.popleft()
            if not lookup.cancelled:
                lookup.run()


_pool = _Pool()


def _forget() -> None:
    global _pool
    _pool = _Pool()  # the threads did not come along


os.register_at_fork(after_in_child=_forget)


def ask(lookup: Lookup) -> None:
    """Begins to look a name up. Raises OSError when the system gives no thread."""
    _pool.ask(lookup)
