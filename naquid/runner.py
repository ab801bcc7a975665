"""run(): a server as a whole program."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from .config import Blob, Password, ServerConfig
from .errors import ConfigError
from .handlers import Apps
from .server import Server, serve

__all__ = ["run"]

logger = logging.getLogger("naquid.server")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(
    app: Apps,
    host: str = "::",
    port: int = 0,
    *,
    cert: Blob | None = None,
    key: Blob | None = None,
    password: Password | None = None,
    config: ServerConfig | None = None,
    grace: float = 5.0,
    on_start: Callable[[Server], object] | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Serves until the process is told to end: SIGINT (Ctrl-C) or SIGTERM shut the server down in order
    (`Server.shutdown`), a second one at once. Returns when the server has ended, with the signals' handlers as before.

        naquid.run(app, "0.0.0.0", 8443, cert="cert.pem", key="key.pem")

    app, host, port, cert, key, password, config: as for `serve`. grace: seconds that handlers that run have to end.
    on_start: called with the server once it listens, such as to learn its port. loop_factory: makes the event loop,
    such as `uvloop.new_event_loop`; None: asyncio's own. The address is logged at level INFO (`naquid.server`), and
    written to standard error when no program has set up `logging`.

    Raises what `serve` raises. ConfigError: an event loop runs in this thread (there `await serve(...)` is right), or
    it is not the main thread, which signals need.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise ConfigError("run() starts an event loop, and one runs here already: use `async with naquid.serve(...)`")
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError("run() needs the main thread, to which signals come: use naquid.serve() in another one")
    if not grace >= 0:
        raise ConfigError(f"grace is {grace} seconds: it must be 0 or more")
    serving = serve(app, host, port, cert=cert, key=key, password=password, config=config)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()  # to end, once
        again = asyncio.Event()  # and to be quick about it

        def told(number: int) -> None:
            name = signal.Signals(number).name
            if not asked.is_set():
                logger.info(
                    "%s: the server ends when its handlers have, in at most %g s; once more: at once", name, grace
                )
                asked.set()
            else:
                logger.info("%s again: the server ends at once", name)
                again.set()

        with _Signals(loop, told):
            server = await serving
            try:
                if on_start is not None:
                    on_start(server)
                await _first(asked.wait(), server.wait_closed())
                if asked.is_set():
                    await _first(server.shutdown(grace), again.wait())
            finally:
                server.close()
                await server.wait_closed()

    with _PlainLogs(), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


class _Signals:
    """Both signals come to a function, in the event loop; at the end they mean what they meant before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, told: Callable[[int], None]) -> None:
        self._loop = loop
        self._told = told
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in _SIGNALS:
            self._before[number] = signal.getsignal(number)
            try:
                self._loop.add_signal_handler(number, self._told, number)
            except NotImplementedError:  # an event loop that has none
                signal.signal(number, self._later)

    def _later(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._told, number)

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            with contextlib.suppress(NotImplementedError):
                self._loop.remove_signal_handler(number)
            signal.signal(number, before if before is not None else signal.SIG_DFL)


async def _first(*works: Any) -> None:
    """Until one of them has ended; the others are cancelled. Raises what that one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _PlainLogs:
    """Where nobody has set up logging, the server's own lines go to standard error while it runs."""

    def __enter__(self) -> None:
        self._handler: logging.Handler | None = None
        if not logger.hasHandlers():
            self._level = logger.level
            self._handler = logging.StreamHandler()
            self._handler.setFormatter(logging.Formatter("naquid: %(message)s"))
            logger.addHandler(self._handler)
            logger.setLevel(logging.INFO)

    def __exit__(self, *error: object) -> None:
        if self._handler is not None:
            logger.removeHandler(self._handler)
            logger.setLevel(self._level)
