"""The server process of the workloads: `python -m naquid.bench.server --cert ... --key ... [--api asyncio|capi]`.

It answers every request of the RPC stream "bench" with the request's payload through a plain Python function, those of
"bench.batch" through a batch handler and those of "bench.native" through a native one, and checks what comes on the raw
stream "bulk" against the pattern. See `process` for what it says to its parent.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import sys
from pathlib import Path

import naquid

from . import bulk, native
from .process import HOST, usage_line

RPC_NAME = "bench"
BATCH_NAME = "bench.batch"
NATIVE_NAME = "bench.native"


def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    """Runs once for every single request."""
    return payload


def echo_batch(batch: naquid.RpcBatch) -> list[bytes]:
    """Runs once for all requests that came in a tick."""
    return batch.payloads


async def serve(options: argparse.Namespace) -> None:
    """Serves until standard input is closed."""
    app = naquid.Handlers()
    app.rpc(RPC_NAME)(echo)
    app.rpc_batch(BATCH_NAME)(echo_batch)
    if options.native:
        app.rpc_native(NATIVE_NAME, native.load(options.native).echo())
    received = bulk.Received()
    app.raw_stream(bulk.STREAM)(received.stream)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    limits = naquid.Limits(idle_timeout=options.idle_timeout, max_streams_bidi=options.streams)
    config = naquid.ServerConfig(limits=limits, busy_poll=options.busy_poll)
    async with naquid.serve(app, HOST, 0, cert=options.cert, key=options.key, config=config) as server:

        def on_parent() -> None:
            line = sys.stdin.buffer.readline()
            if line:
                print(usage_line(dict(server.stats()), **received.as_dict()), flush=True)
            else:
                loop.remove_reader(sys.stdin)
                ended.set()

        loop.add_reader(sys.stdin, on_parent)
        print(json.dumps({"port": server.port}), flush=True)
        await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="naquid.bench.server")
    parser.add_argument("--api", choices=["asyncio", "capi"], default="asyncio")
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--idle-timeout", type=float, default=60.0)
    parser.add_argument("--streams", type=int, default=naquid.Limits().max_streams_bidi)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--native", type=Path)
    parser.add_argument("--busy-poll", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end ends this process
    gc.freeze()  # what was imported is no garbage: collections need not look at it
    if options.api == "capi":
        from . import capi_rpc

        capi_rpc.serve(options.cert, options.key, options.workers, options.busy_poll)
    else:
        asyncio.run(serve(options))


if __name__ == "__main__":
    main()
