"""An echo server in the style of the C API: RPC "rpc" answers with the same bytes, stream "stream" sends records back.

python -m naquid cert makes a certificate;  python examples/capi/echo_server.py --cert cert.pem --key key.pem
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from naquid.capi import (
    nq_addr_t,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_handler,
    nq_rpc_handler_t,
    nq_rpc_reply,
    nq_server_create,
    nq_server_join,
    nq_server_listen,
    nq_server_start,
    nq_stream_handler_t,
    nq_stream_send,
    nq_svconf_t,
    nq_time_sec,
)
from naquid.capi.extensions import nq_hdmap_rpc_batch_handler, nq_rpc_batch_handler_t


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8443, help="0: the system chooses; it is printed")
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", action="store_true", help="answer all requests of a tick in one call")
    parser.add_argument("--idle-timeout", type=float, default=30.0, help="seconds")
    args = parser.parse_args()

    server = nq_server_create(args.workers)
    if server is None:
        return 1
    addr = nq_addr_t(args.host, cert=args.cert, key=args.key, port=args.port)
    conf = nq_svconf_t(idle_timeout=nq_time_sec(args.idle_timeout))
    hdmap = nq_server_listen(server, addr, conf)
    if hdmap is None:
        return 1

    def on_rpc_request(rpc, type, msgid, data):
        nq_rpc_reply(rpc, msgid, data)

    def on_rpc_batch(rpcs, types, msgids, datas):
        return datas

    if args.batch:
        nq_hdmap_rpc_batch_handler(hdmap, "rpc", nq_rpc_batch_handler_t(on_rpc_batch))
    else:
        nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=on_rpc_request))
    nq_hdmap_stream_handler(hdmap, "stream", nq_stream_handler_t(on_stream_record=nq_stream_send))

    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: ended.append(number))
    nq_server_start(server, block=False)
    assert hdmap.address is not None
    print(f"listening on {hdmap.address[0]} port {hdmap.address[1]}", flush=True)
    while not ended:  # not an Event: a signal that comes just before a thread waits for a lock does not wake it
        time.sleep(0.1)
    nq_server_join(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
