"""The RPC workload over `naquid.capi`: a client that polls, a server with worker threads."""

from __future__ import annotations

import functools
import json
import queue
import sys
import time
from collections.abc import Callable

from naquid import capi

from .load import INTERVAL, Line, Load, Progress, Reply, RpcOptions, RpcResult
from .process import HOST, BenchError, Files, ServerProcess, usage_line
from .rpc import Clock

NAME = "bench"
IDLE_TIMEOUT = 60.0  # seconds
HANDSHAKE_TIMEOUT = 20.0


def log(text: str) -> None:
    """Errors only, to stderr: standard output is for the parent."""
    if json.loads(text)["_lv"] in ("E", "F"):
        print(text, file=sys.stderr)


def echo(rpc: capi.nq_rpc_t, type: int, msgid: int, data: bytes) -> None:
    """The server's handler: runs once for every single request."""
    capi.nq_rpc_reply(rpc, msgid, data)


def serve(cert: str, key: str, workers: int, busy_poll: int) -> None:
    """Serves until standard input is closed; see `process` for what is said to the parent."""
    capi.nq_log_config(capi.nq_logconf_t(callback=log))
    server = capi.nq_server_create(workers)
    if server is None:
        raise BenchError("the server could not be made; the log says why")
    limits = capi.nq_svconf_t(
        idle_timeout=capi.nq_time_sec(IDLE_TIMEOUT),
        handshake_timeout=capi.nq_time_sec(HANDSHAKE_TIMEOUT),
        busy_poll=capi.nq_time_usec(busy_poll),
    )
    handlers = capi.nq_server_listen(server, capi.nq_addr_t(HOST, cert=cert, key=key), limits)
    if handlers is None or handlers.address is None:
        raise BenchError("the server could not listen; the log says why")
    capi.nq_hdmap_rpc_handler(handlers, NAME, capi.nq_rpc_handler_t(on_rpc_request=echo))
    capi.nq_server_start(server, False)
    print(json.dumps({"port": handlers.address[1]}), flush=True)
    loop = server._loops[0]
    answers: queue.SimpleQueue[dict[str, int]] = queue.SimpleQueue()
    for _ in sys.stdin.buffer:
        loop._call_soon(lambda: answers.put(loop.stats()))  # they are its thread's to read
        print(usage_line(answers.get()), flush=True)
    capi.nq_server_join(server)


class _Client:
    """One client with its connections, each with one RPC stream."""

    def __init__(self, options: RpcOptions, port: int, files: Files) -> None:
        capi.nq_log_config(capi.nq_logconf_t(callback=log))
        client = capi.nq_client_create(options.connections, options.connections)
        if client is None:
            raise BenchError("the client could not be made; the log says why")
        self.client = client
        self.rpcs: list[capi.nq_rpc_t] = []
        self.lost: str | None = None
        limit = capi.nq_time_sec(options.limit)
        handler = capi.nq_rpc_handler_t(on_rpc_open=self._rpc_open, timeout=limit)
        capi.nq_hdmap_rpc_handler(capi.nq_client_hdmap(client), NAME, handler)
        address = capi.nq_addr_t(HOST, port=port, ca=str(files.ca))
        conf = capi.nq_clconf_t(
            on_open=self._open,
            on_close=self._close,
            idle_timeout=capi.nq_time_sec(IDLE_TIMEOUT),
            handshake_timeout=capi.nq_time_sec(HANDSHAKE_TIMEOUT),
            busy_poll=capi.nq_time_usec(options.busy_poll),
        )
        for _ in range(options.connections):
            capi.nq_client_connect(client, address, conf)

    def _open(self, conn: capi.nq_conn_t, pctx: list[object]) -> None:
        capi.nq_conn_rpc(conn, NAME, None)

    def _close(self, conn: capi.nq_conn_t, error: int, detail: capi.nq_error_detail_t, remote: bool) -> int:
        self.lost = detail.msg or f"error {error}"
        return 0  # no reconnect

    def _rpc_open(self, rpc: capi.nq_rpc_t, pctx: list[object]) -> bool:
        self.rpcs.append(rpc)
        return True

    def poll_until(self, done: Callable[[], bool], limit: float, show: Callable[[], None]) -> bool:
        """Polls until it is done; False when it is not within `limit` seconds."""
        poll, client = capi.nq_client_poll, self.client
        end = time.monotonic() + limit
        shown = 0.0
        while not done():
            for _ in range(16):
                poll(client)
            now = time.monotonic()
            if now > end:
                return False
            if now - shown > INTERVAL:
                shown = now
                show()
        return True


def _without_rpc(reply: Reply) -> Callable[[capi.nq_rpc_t, int, bytes], None]:
    """on_reply of this API gets the stream, too."""
    return lambda rpc, result, payload: reply(result, payload)


def run(options: RpcOptions, files: Files, progress: Progress) -> RpcResult:
    """`rpc.run` over this API."""
    load = Load(options)
    with ServerProcess(files, api="capi", workers=options.workers, busy_poll=options.busy_poll) as server:
        spent = Clock(server.usage)
        client = _Client(options, server.port, files)
        try:
            connected = client.poll_until(
                lambda: len(client.rpcs) == options.connections or client.lost is not None, options.limit, lambda: None
            )
            if not connected or client.lost is not None:
                raise BenchError(f"only {len(client.rpcs)} of {options.connections} connections opened: {client.lost}")
            spent.handshakes_done()
            load.begin()
            call = capi.nq_rpc_call
            lines = [Line(load, n, functools.partial(call, rpc), _without_rpc) for n, rpc in enumerate(client.rpcs)]
            load.answered.append(lambda: sum(line.answered for line in lines))
            for line in lines:
                line.start()
            client.poll_until(lambda: load.ended, options.limit, lambda: progress(load.snapshot()))
            spent.requests_done()
            progress(load.snapshot())
            spent.loop = {name: int(value) for name, value in client.client._loop.stats().items()}
            return spent.result(load)
        finally:
            capi.nq_client_destroy(client.client)
