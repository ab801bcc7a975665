"""A room on 4 workers: members come and go, both sides close at random, nobody's sequence numbers ever gap."""

from __future__ import annotations

import importlib.util
import os
import random
import struct
import threading
import time
from pathlib import Path
from typing import Any

from naquid.capi import (
    NQ_EGOAWAY,
    NQ_OK,
    nq_client_destroy,
    nq_client_poll,
    nq_conn_close,
    nq_conn_reset,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_ctx,
    nq_rpc_handler_t,
    nq_svconf_t,
    nq_time_msec,
    nq_time_sec,
)

HEAD = struct.Struct(">II")
SECONDS = min(float(os.environ.get("NAQUID_TEST_SECONDS", "5")), 60.0)
MEMBERS = 64


def example() -> Any:
    path = Path(__file__).parents[2] / "examples" / "capi" / "room_server.py"
    spec = importlib.util.spec_from_file_location("room_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["room_server"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_members_come_and_go(small: Any, unraisable: list[BaseException]) -> None:
    rooms = example().Rooms()
    there: list[Any] = []
    lock = threading.Lock()

    def on_open(conn: Any, pctx: Any) -> None:
        with lock:
            there.append(conn)
            del there[:-MEMBERS]

    handler = nq_rpc_handler_t(
        on_rpc_open=rooms.on_rpc_open, on_rpc_close=rooms.on_rpc_close, on_rpc_request=rooms.on_rpc_request
    )
    conf = nq_svconf_t(on_open=on_open, idle_timeout=nq_time_sec(20), shutdown_timeout=nq_time_msec(500))
    small.serve(lambda m: nq_hdmap_rpc_handler(m, "room", handler), conf, workers=4)

    count = {"heard": 0, "gaps": 0, "joined": 0, "closed": 0, "bad": 0}
    conns: list[Any] = []

    def rpc_open(rpc: Any, pctx: Any) -> None:
        pctx[0] = {"sequence": 0}
        nq_rpc_call(rpc, 1, b"lobby", joined)

    def joined(rpc: Any, result: int, data: bytes) -> None:
        count["bad"] += result not in (NQ_OK, NQ_EGOAWAY)
        if result == NQ_OK:
            count["joined"] += 1
            speak(rpc)

    def speak(rpc: Any) -> None:
        nq_rpc_call(rpc, 2, b"text", spoken)

    def spoken(rpc: Any, result: int, data: bytes) -> None:
        count["bad"] += result not in (NQ_OK, NQ_EGOAWAY)
        if result == NQ_OK and random.random() < 0.3:
            speak(rpc)

    def heard(rpc: Any, type: int, data: bytes) -> None:
        state = nq_rpc_ctx(rpc)
        sequence, _ = HEAD.unpack_from(data)
        count["gaps"] += sequence != state["sequence"] + 1
        state["sequence"] = sequence
        count["heard"] += 1

    def client_open(conn: Any, pctx: Any) -> None:
        conns.append(conn)
        del conns[:-MEMBERS]
        nq_conn_rpc(conn, "room")

    def client_close(conn: Any, error: int, detail: Any, remote: bool) -> int:
        count["closed"] += 1
        return random.choice([1, nq_time_msec(2)])

    mine = nq_rpc_handler_t(on_rpc_open=rpc_open, on_rpc_notify=heard)
    client = small.client(lambda m: nq_hdmap_rpc_handler(m, "room", mine))
    for _ in range(MEMBERS):
        small.connect(client, on_open=client_open, on_close=client_close)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(10):
            nq_client_poll(client)
        if conns and random.random() < 0.5:
            nq_conn_reset(random.choice(conns))
        with lock:
            if there and random.random() < 0.5:
                nq_conn_close(random.choice(there))
    assert count["gaps"] == 0
    assert count["bad"] == 0
    assert count["heard"] > 1000
    assert count["joined"] > MEMBERS
    assert count["closed"] > 0
    small.clients.clear()
    nq_client_destroy(client)
    end = time.monotonic() + 20
    while any(room.members for room in rooms.rooms.values()):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert [e for e in unraisable if not isinstance(e, BufferError)] == []
