"""One engine loop for each asyncio event loop: made when first needed, closed when nothing uses it any more."""

from __future__ import annotations

import asyncio
import atexit

from . import _naquid

__all__ = ["acquire", "release"]


class _Shared:
    __slots__ = ("engine", "users")

    def __init__(self, engine: _naquid.Loop) -> None:
        self.engine = engine
        self.users = 0


_loops: dict[asyncio.AbstractEventLoop, _Shared] = {}


def acquire() -> _naquid.Loop:
    """The engine loop of the running event loop. `release` follows, once."""
    loop = asyncio.get_running_loop()
    shared = _loops.get(loop)
    if shared is None or shared.engine.closed:
        for other in [key for key in _loops if key.is_closed()]:
            _loops.pop(other).engine.close()
        engine = _naquid.Loop()
        engine.attach(loop)
        shared = _loops[loop] = _Shared(engine)
    shared.users += 1
    return shared.engine


def release(engine: _naquid.Loop) -> None:
    """One use less; after the last one the engine loop is closed in a later turn of the event loop."""
    for loop, shared in _loops.items():
        if shared.engine is engine:
            shared.users -= 1
            if shared.users == 0 and not loop.is_closed():
                loop.call_soon(_close_unused, loop)
            return


def _close_unused(loop: asyncio.AbstractEventLoop) -> None:
    shared = _loops.get(loop)
    if shared is not None and shared.users == 0:
        del _loops[loop]
        shared.engine.close()


@atexit.register
def _close_all() -> None:
    while _loops:
        _loops.popitem()[1].engine.close()
