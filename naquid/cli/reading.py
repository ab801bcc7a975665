"""Reading what may take its time (a pipe, a terminal, a slow disk) while the event loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading


class Reader:
    """Reads a descriptor to its end, in a thread of its own that nothing ever waits for: a read that does not return
    holds up neither Ctrl-C nor the end of the process."""

    def __init__(self, handle: int, most: int) -> None:
        self._handle, self._most = handle, most
        self._loop = asyncio.get_running_loop()
        self._wanted: queue.SimpleQueue[asyncio.Future[bytes] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="naquid send: reading", daemon=True).start()

    def read(self) -> asyncio.Future[bytes]:
        """The next bytes, b"" at the end. Raises OSError. One at a time."""
        wanted: asyncio.Future[bytes] = self._loop.create_future()
        self._wanted.put(wanted)
        return wanted

    def close(self) -> None:
        """No more is read. The descriptor stays its owner's."""
        self._wanted.put(None)

    def _run(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            found: bytes | OSError
            try:
                found = os.read(self._handle, self._most)
            except OSError as error:
                found = error
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(_deliver, wanted, found)


def _deliver(wanted: asyncio.Future[bytes], found: bytes | OSError) -> None:
    if wanted.done():
        return
    if isinstance(found, OSError):
        wanted.set_exception(found)
    else:
        wanted.set_result(found)
