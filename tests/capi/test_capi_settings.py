"""Settings of a server and its certificates, seen from outside: timeouts, limits, shutting down, versions, names."""

from __future__ import annotations

import datetime
import socket
import threading
from typing import Any

import pytest

from naquid.capi import (
    NQ_EQUIC,
    nq_client_poll,
    nq_conn_close,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_rpc_reply,
    nq_server_create,
    nq_server_join,
    nq_server_start,
    nq_svconf_t,
    nq_time_msec,
    nq_time_now,
    nq_time_sec,
)
from naquid.testing import Relay


def serve_rpc(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d)))


def connected(world: Any, **conf: Any) -> None:
    conns: list[Any] = []
    world.connect(world.client(), on_open=lambda c, p: conns.append(c), **conf)
    world.until(lambda: conns)


def test_the_smaller_idle_timeout_counts(world: Any) -> None:
    """3: the server's too; 25 on both sides, told by no packet."""
    codes: list[Any] = []
    conf = nq_svconf_t(idle_timeout=nq_time_msec(300), on_close=lambda c, e, d, r: codes.append((e, d.code, r)))
    world.serve(serve_rpc, conf)
    closed: list[Any] = []
    connected(world, on_close=lambda c, e, d, r: closed.append((e, d.code, r)))
    start = nq_time_now()
    world.until(lambda: closed and codes)
    assert nq_time_now() - start >= nq_time_msec(200)
    assert closed == codes == [(NQ_EQUIC, 25, False)]


def test_default_idle_timeout_of_a_server(small: Any) -> None:
    """Better on purpose 1: 5 s when left 0, as the header says."""
    small.serve(serve_rpc, nq_svconf_t())
    closed: list[int] = []
    connected(small, on_close=lambda c, e, d, r: closed.append(d.code))
    start = nq_time_now()
    small.until(lambda: closed)
    assert nq_time_sec(4.9) <= nq_time_now() - start < nq_time_sec(9)
    assert closed == [25]


def test_handshakes_that_stop_half_way_are_given_up(world: Any) -> None:
    """3: a server's handshake_timeout: no on_open, no on_close, and nothing is left of it."""
    told: list[Any] = []
    conf = nq_svconf_t(on_open=lambda *a: told.append(a), on_close=lambda *a: told.append(a),
                       handshake_timeout=nq_time_msec(200), idle_timeout=nq_time_sec(20))  # fmt: skip
    world.serve(serve_rpc, conf)

    def connections() -> int:
        return sum(loop.stats()["connections"] for loop in world.servers[0]._loops)

    with Relay(("127.0.0.1", world.port)) as relay:
        relay.change(delay=0.1)
        client = world.client()
        world.connect(client, port=relay.port, on_open=lambda c, p: told.append("client"))
        world.until(lambda: connections() == 1)
        relay.cut()
        world.until(lambda: connections() == 0)
    assert told == []


def test_sessions_of_each_worker_are_bounded(world: Any) -> None:
    """3: max_session_hint is one worker's; what ends makes room."""
    conf = nq_svconf_t(max_session_hint=3, use_max_session_hint_as_limit=True, idle_timeout=nq_time_sec(20))
    world.serve(serve_rpc, conf)
    conns: list[Any] = []
    refused: list[Any] = []
    finals: list[Any] = []
    client = world.client()
    tried = 0
    while len(conns) < 3 * world.workers:
        assert tried < 100
        before = len(conns) + len(refused)
        world.connect(
            client, on_open=lambda c, p: conns.append(c), on_close=lambda c, e, d, r: refused.append((e, r)),
            on_finalize=lambda c, x: finals.append(c),
        )  # fmt: skip
        tried += 1
        world.until(lambda before=before: len(conns) + len(refused) > before)
    before = len(refused)
    for _ in range(10):
        world.connect(client, on_open=lambda c, p: conns.append(c), on_close=lambda c, e, d, r: refused.append((e, r)))
    world.until(lambda: len(refused) == before + 10)
    assert len(conns) == 3 * world.workers
    assert set(refused) == {(NQ_EQUIC, True)}
    nq_conn_close(conns[0])
    world.until(lambda: finals)
    again: list[Any] = []
    while not again:
        assert tried < 200
        tried += 1
        done: list[Any] = []
        world.connect(client, on_open=lambda c, p: again.append(c), on_close=lambda *a, done=done: done.append(1))
        world.until(lambda done=done: done or again)


def test_a_server_that_shuts_down_takes_no_new_clients(world: Any, logs: list[str]) -> None:
    """3: they are refused while the others' last data is on its way."""
    asked = threading.Event()

    def answer(rpc: Any, type_: int, msgid: int, data: bytes) -> None:
        nq_rpc_reply(rpc, msgid, bytes(5_000_000))
        asked.set()

    conf = nq_svconf_t(shutdown_timeout=nq_time_sec(10), idle_timeout=nq_time_sec(20))
    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=answer)), conf)
    got: list[int] = []
    handler = nq_rpc_handler_t(on_rpc_open=lambda r, p: nq_rpc_call(r, 1, b"", lambda r, result, d: got.append(len(d))))
    holder = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
    world.connect(holder, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(asked.is_set)
    thread = threading.Thread(target=nq_server_join, args=(world.servers.pop(),))
    thread.start()
    late = world.client()
    world.until(lambda: sum("shutdown start" in line for line in logs) == world.workers, late)
    for _ in range(20):  # every worker has heard of it
        nq_client_poll(late)
    told: list[Any] = []
    for _ in range(4):
        world.connect(
            late, on_open=lambda c, p: told.append("open"), on_close=lambda c, e, d, r: told.append((e, r)),
            handshake_timeout=nq_time_sec(2),
        )  # fmt: skip
    world.until(lambda: len(told) == 4, late)
    assert got == []
    assert thread.is_alive()
    assert {e for e, _ in told} == {NQ_EQUIC}
    world.until(lambda: got)
    thread.join()
    assert got == [5_000_000]


def test_version_negotiation(world: Any) -> None:
    """Better on purpose 15: a version that nobody knows is answered with those there are: 1 and 2."""
    world.serve(serve_rpc)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        head = b"\xc0\x1a\x2a\x3a\x4a\x08" + b"D" * 8 + b"\x08" + b"S" * 8
        sock.sendto(head + bytes(1200 - len(head)), ("127.0.0.1", world.port))
        answer = sock.recv(2000)
    assert answer[0] & 0x80
    assert answer[1:5] == bytes(4)
    assert answer[5:23] == b"\x08" + b"S" * 8 + b"\x08" + b"D" * 8
    versions = {answer[at : at + 4].hex() for at in range(23, len(answer), 4)}
    assert versions >= {"00000001", "6b3343cf"}


# ---- certificates ----


@pytest.mark.parametrize("what", ["other name", "expired", "not yet"])
def test_certificates_of_others_and_of_other_times(world: Any, what: str) -> None:
    """Better on purpose 5: name and validity; insecure takes them all the same."""
    day = datetime.timedelta(days=1)
    leaf = {
        "other name": lambda: world.ca.issue("other.example"),
        "expired": lambda: world.ca.issue(start=-2 * day, end=-day),
        "not yet": lambda: world.ca.issue(start=day, end=2 * day),
    }[what]()
    server = nq_server_create(world.workers)
    assert server is not None
    hdmap = world.listen(server, cert=leaf.cert, key=leaf.key)
    world.servers.append(server)
    nq_server_start(server, False)
    world.port = hdmap.address[1]
    told: list[Any] = []
    for insecure in (False, True):
        client = world.client()
        world.connect(client, on_open=lambda c, p: told.append("open"), insecure=insecure,
                      on_close=lambda c, e, d, r: told.append((e, 0x100 <= d.code < 0x200, r)))  # fmt: skip
        world.until(lambda insecure=insecure: len(told) == 1 + insecure)
    assert told == [(NQ_EQUIC, True, False), "open"]
