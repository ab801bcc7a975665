"""The programs of tail.py: `tail_naquid CA CERT KEY server`, `... probe PORT RATE SECONDS`, `... KIND PORT`.

The kinds of load run until standard input is closed, and then say how much they did.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import naquid
from naquid.bench import bulk
from naquid.bench.load import clock
from naquid.bench.process import HOST, cpu_seconds

WINDOW = 5000
SLOW_CPU = 0.001  # seconds of processor time that the slow handler takes
SLOW_RATE = 300  # its calls in a second
SLOW_WINDOW = 16  # ... or always so many outstanding
AT_ONCE = 64  # handshakes
BYTES = 1 << 30
NO_ANSWER = 5.0  # seconds to wait for the last replies
DEPTH = 16384  # replies that may be missing before the probe stops asking

Connect = Callable[[], Any]


async def serve(cert: str, key: str) -> None:
    """One event loop for all: the handlers of the probe and of the loads share its thread."""
    app = naquid.Handlers()

    @app.rpc("bench")
    def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload

    @app.rpc("slow")
    def slow(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        end = time.thread_time() + SLOW_CPU
        while time.thread_time() < end:
            pass
        return payload

    app.raw_stream(bulk.STREAM)(bulk.Received().stream)
    async with naquid.serve(app, HOST, 0, cert=cert, key=key) as server:
        print(json.dumps({"port": server.port}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps({"server_cpu_s": cpu_seconds()}), flush=True)


async def probe(connect: Connect, rate: float, seconds: float) -> dict[str, Any]:
    """Calls at a steady rate, whether or not earlier ones were answered. Latencies are from call to reply, ns."""
    latencies: list[int] = []
    wrong = sent = 0
    all_answered = asyncio.Event()

    def ask(rpc: naquid.Rpc) -> None:
        nonlocal sent
        payload = sent.to_bytes(8, "big")
        begin = clock()

        def on_reply(result: int, data: bytes) -> None:
            nonlocal wrong
            latencies.append(clock() - begin)
            wrong += result != 0 or data != payload
            if len(latencies) == sent:
                all_answered.set()

        all_answered.clear()
        rpc.call_soon(1, payload, on_reply)
        sent += 1

    async with connect() as conn:
        rpc = await conn.open_rpc("bench")
        for _ in range(50):  # what is done for the first time
            await rpc.call(1, b"")
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < seconds:
            while sent < now * rate and sent - len(latencies) < DEPTH:
                ask(rpc)
            await asyncio.sleep(max(0.0, (sent + 1) / rate - (time.monotonic() - begin)))
        with suppress(TimeoutError):
            await asyncio.wait_for(all_answered.wait(), NO_ANSWER)
    return {"sent": sent, "answered": len(latencies), "wrong": wrong, "latencies": latencies}


async def _keep_asking(connect: Connect, name: str, window: int) -> int:
    """`window` calls outstanding, for ever."""
    done = 0
    async with connect() as conn:
        rpc = await conn.open_rpc(name)

        def on_reply(result: int, data: bytes) -> None:
            nonlocal done
            done += 1
            with suppress(naquid.Error):  # it is being closed
                rpc.call_soon(1, data, on_reply)

        for _ in range(window):
            rpc.call_soon(1, b"8 bytes.", on_reply)
        try:
            await asyncio.Event().wait()
        finally:
            print(json.dumps({"done": done}), flush=True)
    return done


async def busy(connect: Connect) -> None:
    await _keep_asking(connect, "bench", WINDOW)


async def slow_queue(connect: Connect) -> None:
    await _keep_asking(connect, "slow", SLOW_WINDOW)


async def slow(connect: Connect) -> None:
    begin, sent = time.monotonic(), 0
    async with connect() as conn:
        rpc = await conn.open_rpc("slow")
        try:
            while True:
                sent += 1
                rpc.call_soon(1, b"8 bytes.", lambda result, data: None)
                await asyncio.sleep(max(0.0, sent / SLOW_RATE - (time.monotonic() - begin)))
        finally:
            print(json.dumps({"done": sent}), flush=True)


async def upload(connect: Connect) -> None:
    """1 GiB after another, each over a stream of its own."""
    data, sent = memoryview(bulk.pattern()), 0
    async with connect() as conn:
        try:
            while True:
                stream = await conn.open_raw_stream(bulk.STREAM)
                at = 0
                while at < BYTES:
                    start = at % bulk.PERIOD
                    stream.write(data[start : start + bulk.CHUNK])
                    at += bulk.CHUNK
                    sent += bulk.CHUNK
                    await stream.drain()
                stream.write_eof()
                if await stream.read() != bulk._ANSWER.pack(at, 0):
                    raise SystemExit("the server got other bytes than were sent")
        finally:
            print(json.dumps({"done": sent}), flush=True)


async def handshakes(connect: Connect) -> None:
    done = 0

    async def one() -> None:
        nonlocal done
        while True:
            with suppress(naquid.Error):
                async with connect():
                    done += 1

    try:
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    finally:
        print(json.dumps({"done": done}), flush=True)


KINDS: dict[str, Callable[[Connect], Coroutine[Any, Any, None]]] = {
    "busy": busy,
    "slow": slow,
    "slow_queue": slow_queue,
    "upload": upload,
    "handshakes": handshakes,
}


async def until_closed(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def main() -> None:
    ca, cert, key, role, *rest = sys.argv[1:]
    if role == "server":
        asyncio.run(serve(cert, key))
        return
    port, config = int(rest[0]), naquid.ClientConfig()
    connect = lambda: naquid.connect(HOST, port, ca=ca, config=config)  # noqa: E731
    if role == "probe":
        print(json.dumps(asyncio.run(probe(connect, float(rest[1]), float(rest[2])))), flush=True)
    else:
        asyncio.run(until_closed(KINDS[role](connect)))


if __name__ == "__main__":
    main()
