"""Ends of servers in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_event() -> Iterator[asyncio.Event]:
    """Within it, SIGINT and SIGTERM set the event; a second one ends the process as usual."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        event.set()
        for number in ENDING:
            loop.remove_signal_handler(number)

    for number in ENDING:
        loop.add_signal_handler(number, stop)
    try:
        yield event
    finally:
        for number in ENDING:
            loop.remove_signal_handler(number)
