"""The original's benchmark: 100 connections in one client, each with 5,000 requests of 8 bytes to one server process.

The clock is the original's: from before resolving and connecting to the last reply. --window W keeps W requests of a
connection outstanding (default: all at once). Every reply's content is checked; a wrong or missing one exits 1.
Without --port it starts a server process of its own (echo_server.py), without --cert and --key with a certificate made
for the occasion. --batch answers the requests of a tick in one call, and makes --window of them in one call, the next
when they are answered (naquid.capi.extensions). --json prints one object; `requests_per_second` is by the original's
clock.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from naquid.capi import (
    NQ_OK,
    nq_addr_t,
    nq_clconf_t,
    nq_client_connect,
    nq_client_create,
    nq_client_destroy,
    nq_client_hdmap,
    nq_client_poll,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_time_sec,
)
from naquid.capi.extensions import nq_rpc_call_many
from naquid.testing import Authority

PAYLOAD = struct.Struct("<Q")


class Load:
    """All connections' requests."""

    def __init__(self, connections: int, requests: int, window: int, batch: bool) -> None:
        self.connections = connections
        self.requests = requests
        self.window = min(window, requests)
        self.on_rpc_open = self.open_batch if batch else self.open_single
        self.opened = 0
        self.first_open = 0.0
        self.all_open = 0.0
        self.done = 0
        self.errors = 0
        self.closed = 0

    def on_open(self, conn, pctx):
        self.opened += 1
        if self.opened == self.connections:
            self.all_open = time.perf_counter()
        nq_conn_rpc(conn, "rpc")

    def on_close(self, conn, error, detail, remote):
        if self.done < self.connections * self.requests:
            self.errors += 1
            print(f"closed: {detail}", file=sys.stderr)
        self.closed += 1
        return 0

    def open_batch(self, rpc, pctx):
        payloads = list(map(PAYLOAD.pack, range(self.requests)))
        at = 0

        def more():
            nonlocal at
            sent = payloads[at : at + self.window]
            at += len(sent)

            def on_replies(rpc, results, datas):
                if any(results) or datas != sent:  # NQ_OK is 0
                    self.errors += 1
                self.done += len(sent)
                more()

            if sent:
                nq_rpc_call_many(rpc, 1, sent, on_replies)

        more()

    def open_single(self, rpc, pctx):
        numbers = iter(range(self.requests))
        expected = iter(range(self.requests))
        pack, call = PAYLOAD.pack, nq_rpc_call
        last = self.requests

        def on_reply(rpc, result, data):
            number = next(expected)
            if result != NQ_OK or data != pack(number):
                self.errors += 1
            self.done += 1
            if number + self.window < last:
                call(rpc, 1, pack(next(numbers)), on_reply)

        for _ in range(self.window):
            call(rpc, 1, pack(next(numbers)), on_reply)


def start_server(cert: str, key: str, workers: int, batch: bool) -> tuple[subprocess.Popen[str], int]:
    here = os.path.dirname(os.path.abspath(__file__))
    process = subprocess.Popen(
        [sys.executable, os.path.join(here, "echo_server.py"), "--host", "127.0.0.1", "--port", "0", "--cert", cert,
         "--key", key, "--workers", str(workers), *(["--batch"] if batch else [])],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        sys.exit("the server process did not start")
    return process, int(line.split()[-1])


def run(connections: int, requests: int, window: int, host: str, port: int, batch: bool) -> dict[str, float]:
    """The load against a running server; the figures of main()'s output."""
    load = Load(connections, requests, window or requests, batch)
    total = connections * requests
    client = nq_client_create(connections, connections)
    if client is None:
        sys.exit("the client could not be made")
    handler = nq_rpc_handler_t(on_rpc_open=load.on_rpc_open, timeout=nq_time_sec(60))
    nq_hdmap_rpc_handler(nq_client_hdmap(client), "rpc", handler)
    conf = nq_clconf_t(
        on_open=load.on_open,
        on_close=load.on_close,
        insecure=True,
        handshake_timeout=nq_time_sec(30),
        idle_timeout=nq_time_sec(30),
    )
    start = time.perf_counter()
    for _ in range(connections):
        nq_client_connect(client, nq_addr_t(host, port=port), conf)
    while load.done < total and load.closed < connections:
        nq_client_poll(client)
    seconds = time.perf_counter() - start
    after = time.perf_counter() - load.all_open if load.all_open else seconds
    nq_client_destroy(client)
    return {
        "requests": load.done,
        "seconds": round(seconds, 4),
        "requests_per_second": round(load.done / seconds),
        "requests_per_second_without_handshakes": round(load.done / after),
        "errors": load.errors + total - load.done,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--window", type=int, default=0, help="0: all at once")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="of a running server; 0: start one")
    parser.add_argument("--cert", help="for the server that is started, PEM")
    parser.add_argument("--key", help="for the server that is started, PEM")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", action="store_true", help="one Python call for the requests of a tick")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if (args.cert is None) != (args.key is None):
        parser.error("give both --cert and --key, or neither")

    process = None
    port = args.port
    with contextlib.ExitStack() as files:
        if not port:
            cert, key = args.cert, args.key
            if cert is None:
                made = Authority(Path(files.enter_context(tempfile.TemporaryDirectory()))).issue()
                cert, key = str(made.cert), str(made.key)
            process, port = start_server(cert, key, args.workers, args.batch)
        try:
            result = run(args.connections, args.requests, args.window, args.host, port, args.batch)
        finally:
            if process is not None:
                process.terminate()
                process.wait()
    print(json.dumps(result) if args.json else "\n".join(f"{key:40} {value:>12}" for key, value in result.items()))
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
