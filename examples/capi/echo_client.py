"""A client of echo_server.py: sends each argument as a request and as a record, and prints what comes back."""

from __future__ import annotations

import argparse
import sys

from naquid.capi import (
    nq_addr_t,
    nq_clconf_t,
    nq_client_connect,
    nq_client_create,
    nq_client_destroy,
    nq_client_hdmap,
    nq_client_poll,
    nq_conn_rpc,
    nq_conn_stream,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_handler,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_stream_handler_t,
    nq_stream_send,
    nq_time_sec,
)


class Echo:
    """What the callbacks share."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.missing = 2 * len(words)
        self.failed = False

    def on_open(self, conn, pctx):
        nq_conn_rpc(conn, "rpc")
        nq_conn_stream(conn, "stream")

    def on_close(self, conn, error, detail, remote):
        if self.missing:
            print(f"connection closed: {detail.msg} ({detail.code})", file=sys.stderr)
            self.failed = True
        return 0

    def on_rpc_open(self, rpc, pctx):
        for word in self.words:
            nq_rpc_call(rpc, 1, word.encode(), self.on_reply)

    def on_reply(self, rpc, result, data):
        print(f"reply {result}: {data.decode()}")
        self.missing -= 1

    def on_stream_open(self, stream, pctx):
        for word in self.words:
            nq_stream_send(stream, word.encode())

    def on_stream_record(self, stream, data):
        print(f"record: {data.decode()}")
        self.missing -= 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--ca", help="the authorities to trust, PEM")
    parser.add_argument("--insecure", action="store_true", help="trust any certificate")
    parser.add_argument("words", nargs="*", default=["hello"])
    args = parser.parse_args()

    client = nq_client_create(16, 16)
    if client is None:
        return 1
    echo = Echo(args.words)
    hdmap = nq_client_hdmap(client)
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_open=echo.on_rpc_open))
    nq_hdmap_stream_handler(
        hdmap,
        "stream",
        nq_stream_handler_t(on_stream_open=echo.on_stream_open, on_stream_record=echo.on_stream_record),
    )
    conf = nq_clconf_t(
        on_open=echo.on_open, on_close=echo.on_close, insecure=args.insecure, idle_timeout=nq_time_sec(5)
    )
    nq_client_connect(client, nq_addr_t(args.host, ca=args.ca, port=args.port), conf)
    while echo.missing and not echo.failed:
        nq_client_poll(client)
    nq_client_destroy(client)
    return 1 if echo.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
