"""Requests and replies: N connections keep W requests outstanding on one RPC stream each until all were answered."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import naquid

from . import native
from .load import (
    INTERVAL,
    TYPE,
    Line,
    Load,
    Progress,
    RpcOptions,
    RpcResult,
    clock,
    differs,
    no_progress,
    percentile,
)
from .points import PERCENTILES
from .process import HOST, Files, ServerProcess, Usage, cpu_seconds, loop_stats, rss_kb
from .server import BATCH_NAME, NATIVE_NAME, RPC_NAME

CONNECTS_AT_ONCE = 256  # that many do not wait longer than a handshake may take
MODES = ("python", "asyncio", "batch", "native", "capi")
NAMES = {"batch": BATCH_NAME, "native": NATIVE_NAME}


class Clock:
    """Wall and processor time of the two parts of a run."""

    def __init__(self, usage: Callable[[], Usage]) -> None:
        self._usage = usage
        self.begin = time.perf_counter()
        self.connected = self.end = self.begin
        self.cpu = 0.0
        self.server = self.server_end = usage()
        self.loop: dict[str, int] = {}

    def handshakes_done(self) -> None:
        self.connected = time.perf_counter()
        self.server = self._usage()
        self.cpu = cpu_seconds()
        self.begin_requests = time.perf_counter()

    def requests_done(self) -> None:
        self.end = time.perf_counter()
        self.cpu = cpu_seconds() - self.cpu
        self.server_end = self._usage()

    def result(self, load: Load) -> RpcResult:
        answered, ordered = load.total_answered(), sorted(load.latencies)
        return RpcResult(
            requests=answered,
            seconds=self.end - self.begin_requests,
            p50_us=percentile(ordered, 50) if ordered else None,
            p99_us=percentile(ordered, 99) if ordered else None,
            percentiles_us=[percentile(ordered, p) for p in PERCENTILES] if ordered else None,
            errors=load.errors(answered),
            handshake_seconds=self.connected - self.begin,
            client_cpu_s=self.cpu,
            server_cpu_s=self.server_end.cpu_seconds - self.server.cpu_seconds,
            client_rss_kb=rss_kb(),
            server_rss_kb=self.server_end.rss_kb,
            gso=bool(self.loop.get("gso")),
            gro=bool(self.loop.get("gro")),
            naquid_version=naquid.__version__,
            options=load.options,
            first_errors=load.first_errors,
            latencies=load.latencies,
            client_loop=self.loop,
            server_loop=dict(self.server_end.loop),
        )


async def _with_callbacks(load: Load, rpcs: list[naquid.Rpc]) -> None:
    """`rpc.call_soon`: no task and no future for a request."""
    done = asyncio.Event()
    load.on_end = done.set
    lines = [Line(load, number, rpc.call_soon) for number, rpc in enumerate(rpcs)]
    load.answered.append(lambda: sum(line.answered for line in lines))
    for line in lines:
        line.start()
    await done.wait()


async def _with_tasks(load: Load, rpcs: list[naquid.Rpc]) -> None:
    """`await rpc.call`: as many tasks on each stream as the window is wide."""
    answered = [0] * len(rpcs)
    load.answered.append(lambda: sum(answered))

    async def work(number: int, rpc: naquid.Rpc, payloads: Iterator[bytes]) -> None:
        every, call = load.sample_every, rpc.call
        for payload in payloads:
            timed = not answered[number] % every
            begin = clock() if timed else 0
            try:
                reply = await call(TYPE, payload)
            except naquid.Error as error:
                load.error(f"connection {number}: {error}", count=0)  # the request counts as missing
                return
            if timed:
                load.latencies.append(clock() - begin)
            if reply != payload:
                load.error(f"connection {number}: {differs(reply, payload)}")
            answered[number] += 1

    tasks = []
    for number, rpc in enumerate(rpcs):
        payloads = iter(load.payloads(number))
        tasks += [asyncio.ensure_future(work(number, rpc, payloads)) for _ in range(load.window)]
    await asyncio.gather(*tasks)


async def _with_batches(load: Load, rpcs: list[naquid.Rpc]) -> None:
    """`await rpc.call_many`: a window of requests at a time, the next one when all of it was answered."""
    answered = [0] * len(rpcs)
    load.answered.append(lambda: sum(answered))

    async def work(number: int, rpc: naquid.Rpc) -> None:
        payloads = load.payloads(number)
        for start in range(0, len(payloads), load.window):
            part = payloads[start : start + load.window]
            begin = clock()
            try:
                replies = await rpc.call_many(TYPE, part)
            except naquid.Error as error:
                load.error(f"stream {number}: {error}", count=0)  # the requests count as missing
                return
            load.latencies.append(clock() - begin)
            if replies != part:
                for reply, payload in zip(replies, part, strict=True):
                    if reply != payload:
                        load.error(f"stream {number}: {differs(reply, payload)}")
            answered[number] += len(replies)

    await asyncio.gather(*(work(number, rpc) for number, rpc in enumerate(rpcs)))


async def _natively(load: Load, rpcs: list[naquid.Rpc]) -> None:
    """Native handlers at both ends: Python only looks now and then whether they are done."""
    options = load.options
    assert options.native is not None
    module = native.load(options.native)
    loads = [module.Load(options.requests, load.window) for _ in rpcs]
    load.answered.append(lambda: sum(one.answered for one in loads))
    for one, rpc in zip(loads, rpcs, strict=True):
        rpc.use_native(one.capsule())
    for one, rpc in zip(loads, rpcs, strict=True):
        one.start(rpc)
    left = list(loads)
    try:
        while left:
            await asyncio.sleep(0.001)
            while left and left[-1].finished:
                left.pop()
    finally:
        for rpc in rpcs:
            with suppress(naquid.Error):
                rpc.use_native(None)  # the loads end with this function
        wrong = sum(one.errors for one in loads)
        if wrong:
            load.error(f"{wrong} replies were not what was asked for", wrong)


WORK = {"python": _with_callbacks, "asyncio": _with_tasks, "batch": _with_batches, "native": _natively}


async def _drive(
    options: RpcOptions, port: int, files: Files, usage: Callable[[], Usage], progress: Progress
) -> RpcResult:
    load = Load(options)
    spent = Clock(usage)
    conns: list[naquid.Connection] = []
    config = naquid.ClientConfig(busy_poll=options.busy_poll)
    name = NAMES.get(options.mode, RPC_NAME)
    at_once = asyncio.Semaphore(CONNECTS_AT_ONCE)

    async def connect() -> list[naquid.Rpc]:
        async with at_once:
            conn = await naquid.connect(HOST, port, ca=str(files.ca), config=config)
        conns.append(conn)
        return list(await asyncio.gather(*(conn.open_rpc(name) for _ in range(options.streams))))

    async def show() -> None:
        while True:
            progress(load.snapshot())
            await asyncio.sleep(INTERVAL)

    try:
        opened = await asyncio.gather(*(connect() for _ in range(options.connections)))
        rpcs = [rpc for of_one in opened for rpc in of_one]
        spent.handshakes_done()
        load.begin()
        shown = asyncio.ensure_future(show())
        with suppress(TimeoutError):  # what is missing is counted
            await asyncio.wait_for(WORK[options.mode](load, rpcs), options.limit)
        spent.requests_done()
        shown.cancel()
        progress(load.snapshot())
        spent.loop = loop_stats()
        return spent.result(load)
    finally:
        await asyncio.gather(*(conn.close() for conn in conns))


def run(options: RpcOptions, files: Files, progress: Progress = no_progress) -> RpcResult:
    """Runs it: mode "python" is a callback for each reply, `Rpc.call_soon`, "asyncio" is `await rpc.call`, "capi" is
    `naquid.capi` on both sides; the server's handler is a plain function in all three. "batch" is a batch handler and
    `await rpc.call_many`, "native" native handlers on both sides."""
    if options.mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}")
    if options.mode == "native" and (options.native is None or options.payload != 8):
        raise ValueError('mode "native" needs the extension of examples/native, and has payloads of 8 bytes')
    if options.mode == "capi" and options.streams != 1:
        raise ValueError('mode "capi" has one stream on each connection')
    if options.mode != "capi" and options.workers != 1:
        raise ValueError('only mode "capi" has worker threads')
    gc.collect()
    gc.freeze()
    if options.mode == "capi":
        from . import capi_rpc

        return capi_rpc.run(options, files, progress)
    busy_poll = options.busy_poll
    with ServerProcess(files, streams=options.streams, native=options.native, busy_poll=busy_poll) as server:
        return asyncio.run(_drive(options, server.port, files, server.usage, progress))
