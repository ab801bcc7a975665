"""A server by naquid.run(): `run_child.py CERT KEY LOOP GRACE LOGGING`. Tells its port, and at the end what it saw."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from typing import Any

import naquid

app = naquid.Handlers()
saw: list[str] = []


def tell(what: Any) -> None:
    print(json.dumps(what), flush=True)


@app.rpc("echo")
def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    return payload


@app.rpc("slow")
async def slow(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    """As long as the caller says, in ms; type 2 tells that it has begun."""
    rpc.notify(type)
    try:
        await asyncio.sleep(int(payload) / 1000)
    except asyncio.CancelledError:
        saw.append("cancelled")
        raise
    saw.append("done")
    return b"done"


def main(cert: str, key: str, loop: str, grace: str, log: str) -> None:
    factory: Any = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    if log == "own":
        logging.basicConfig(level=logging.INFO, format="own: %(message)s")

    def started(server: naquid.Server) -> None:
        saw.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])
        tell(server.port)

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    naquid.run(app, "127.0.0.1", cert=cert, key=key, grace=float(grace), on_start=started, loop_factory=factory)
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    tell([saw, before == after])


if __name__ == "__main__":
    main(*sys.argv[1:])
