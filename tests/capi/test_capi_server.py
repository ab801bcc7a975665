"""The server: ports, workers, limits, starting, shutting down in order."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pytest

from naquid.capi import (
    NQ_OK,
    nq_addr_t,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_hdmap_t,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_rpc_reply,
    nq_server_create,
    nq_server_join,
    nq_server_listen,
    nq_server_start,
    nq_server_t,
    nq_svconf_t,
    nq_time_msec,
    nq_time_sec,
)

CONNECTION_REFUSED = 2
"""RFC 9000 20.1."""


def serve_rpc(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d)))


def ask(world: Any, port: int, n: int = 1) -> list[bytes]:
    got: list[bytes] = []

    def on_rpc_open(rpc: Any, pctx: Any) -> None:
        nq_rpc_call(rpc, 1, b"x", lambda r, result, d: got.append(d if result == NQ_OK else b"%d" % result))

    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=on_rpc_open)))
    for _ in range(n):
        world.connect(client, port=port, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(lambda: len(got) == n)
    return got


def test_several_ports_each_with_its_own_map(world: Any) -> None:
    server = nq_server_create(world.workers)
    assert isinstance(server, nq_server_t)
    world.servers.append(server)
    opened: list[str] = []
    ports = []
    for name in ("one", "two"):
        conf = nq_svconf_t(on_open=lambda c, p, name=name: opened.append(name), idle_timeout=nq_time_sec(20))
        hdmap = world.listen(server, conf)
        assert isinstance(hdmap, nq_hdmap_t)

        def answer(rpc: Any, type: int, msgid: int, data: bytes, name: str = name) -> None:
            nq_rpc_reply(rpc, msgid, name.encode())

        assert nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=answer)) is True
        assert hdmap.address is not None
        ports.append(hdmap.address[1])
    nq_server_start(server, False)
    assert ask(world, ports[0]) == [b"one"]
    assert ask(world, ports[1]) == [b"two"]
    assert opened == ["one", "two"]


def test_connections_spread_over_the_workers(world: Any) -> None:
    threads: set[int] = set()

    def answer(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        threads.add(threading.get_ident())
        nq_rpc_reply(rpc, msgid, data)

    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=answer)))
    for _ in range(8):
        assert ask(world, world.port, 8) == [b"x"] * 8
    assert len(threads) == world.workers
    assert threading.get_ident() not in threads


def test_listen_says_none_and_logs_why(world: Any, logs: list[str], tmp_path: Any) -> None:
    """Better on purpose 6: never an exit of the process."""
    server = nq_server_create(world.workers)
    assert server is not None
    world.servers.append(server)
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    assert world.listen(server, key=None) is None
    assert world.listen(server, cert=None) is None
    assert world.listen(server, key=tmp_path / "none.pem") is None
    assert world.listen(server, key=b"no key") is None
    assert world.listen(server, port=port) is None
    taken.close()
    assert world.listen(server, port=port) is not None
    assert world.listen(server, port=port) is None
    nq_server_start(server, False)
    assert world.listen(server) is None
    errors = [line for line in logs if json.loads(line)["_lv"] == "E"]
    assert len(errors) == 7
    assert "fail to listen" in errors[4]
    others = [json.loads(line)["msg"] for line in logs if line not in errors]
    assert all("the kernel clamps" in msg for msg in others), "what an ordinary user's sockets may have"


def test_certificates_and_keys_in_memory(world: Any) -> None:
    """Better on purpose 6: PEM paths, PEM bytes, DER keys."""
    leaf = world.leaf
    for cert, key in ((leaf.cert_pem, leaf.key_pem), (leaf.cert_pem, leaf.key_der), (str(leaf.cert), leaf.key)):
        server = nq_server_create(world.workers)
        assert server is not None
        world.servers.append(server)
        hdmap = world.listen(server, cert=cert, key=key)
        assert hdmap is not None
        serve_rpc(hdmap)
        nq_server_start(server, False)
        assert ask(world, hdmap.address[1]) == [b"x"]


def test_wrong_settings_raise(small: Any) -> None:
    with pytest.raises(ValueError, match="workers"):
        nq_server_create(0)
    with pytest.raises(ValueError, match="workers"):
        nq_server_create(129)
    with pytest.raises(TypeError):
        nq_server_create("2")  # type: ignore[arg-type]
    server = nq_server_create(1)
    assert server is not None
    with pytest.raises(ValueError, match="numeric"):
        nq_server_listen(server, nq_addr_t("localhost", small.leaf.cert, small.leaf.key))
    with pytest.raises(ValueError, match="port"):
        small.listen(server, port=70000)
    with pytest.raises(TypeError, match="on_open"):
        small.listen(server, nq_svconf_t(on_open=1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_session_hint"):
        small.listen(server, nq_svconf_t(max_session_hint=0, use_max_session_hint_as_limit=True))
    nq_server_join(server)


def test_every_setting_is_taken(world: Any) -> None:
    conf = nq_svconf_t(
        quic_secret="a secret of some length",
        quic_cert_cache_size=4,
        accept_per_loop=64,
        max_session_hint=100,
        max_stream_hint=100,
        use_max_session_hint_as_limit=True,
        handshake_timeout=nq_time_sec(5),
        idle_timeout=nq_time_sec(5),
        shutdown_timeout=nq_time_sec(1),
        max_message_size=1 << 20,
        limits={"max_streams_bidi": 10},
    )
    world.serve(serve_rpc, conf)
    assert ask(world, world.port, 10) == [b"x"] * 10


def test_busy_polling(world: Any) -> None:
    """Workers and clients that are told so look for packets before they sleep; the others do not."""
    world.serve(serve_rpc, nq_svconf_t(idle_timeout=nq_time_sec(20), busy_poll=nq_time_msec(10)))
    assert ask(world, world.port, 30) == [b"x"] * 30
    loops = world.servers[0]._loops
    assert sum(loop.stats()["busy_poll_hits"] for loop in loops) > 0
    assert world.clients[0]._loop.stats()["busy_polls"] == 0
    world.connect(world.clients[0], busy_poll=nq_time_msec(10))
    world.settle()
    assert world.clients[0]._loop.stats()["busy_polls"] > 0


def test_one_client_at_a_time(world: Any) -> None:
    """3: accept_per_loop bounds the new connections of a tick; the others wait for the next ones."""
    world.serve(serve_rpc, nq_svconf_t(accept_per_loop=1, idle_timeout=nq_time_sec(20)))
    assert ask(world, world.port, 50) == [b"x"] * 50
    assert sum(loop.stats()["accepted"] for loop in world.servers[0]._loops) == 50


def test_start_blocks_until_joined(world: Any) -> None:
    server = nq_server_create(world.workers)
    assert server is not None
    hdmap = world.listen(server)
    serve_rpc(hdmap)
    ended = threading.Event()

    def run() -> None:
        nq_server_start(server, True)
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ask(world, hdmap.address[1]) == [b"x"]
    assert not ended.is_set()
    world.settle()  # the reply is acknowledged
    nq_server_join(server)
    assert ended.wait(5)
    thread.join()
    nq_server_join(server)


def test_join_closes_in_order(world: Any, logs: list[str]) -> None:
    """3: 70 "server side close" to every client, log records of the shutdown, the port is free again."""
    closes: list[Any] = []
    here: list[Any] = []
    there: list[Any] = []
    conf = nq_svconf_t(
        on_open=lambda c, p: there.append(c),
        on_close=lambda c, e, d, r: here.append((d.code, r)),
        idle_timeout=nq_time_sec(20),
    )
    port = world.serve(serve_rpc, conf)
    client = world.client()
    for _ in range(10):
        world.connect(
            client,
            on_open=lambda c, p: closes.append("open"),
            on_close=lambda c, e, d, r: closes.append((d.code, d.msg, r)),
        )
    world.until(lambda: closes.count("open") == len(there) == 10)
    done = threading.Event()
    server = world.servers.pop()
    thread = threading.Thread(target=lambda: (nq_server_join(server), done.set()))
    thread.start()
    world.until(lambda: len(closes) == 20)
    thread.join()
    assert closes[10:] == [(70, "server side close", True)] * 10
    assert here == [(70, False)] * 10
    records = [json.loads(line) for line in logs]
    starts = [r for r in records if r["msg"] == "shutdown start"]
    assert sorted(r["worker_index"] for r in starts) == list(range(world.workers))
    assert sum(r["session_remain"] for r in starts) == 10
    assert {r["port"] for r in starts} == {port}
    ends = [r for r in records if r["msg"] == "shutdown finished"]
    assert {r["reason"] for r in ends} == {"all session closed"}
    again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    again.bind(("127.0.0.1", port))
    again.close()


def test_what_is_queued_is_sent_before_the_end(world: Any) -> None:
    """Better on purpose 13."""
    size = 3_000_000

    def answer(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        nq_rpc_reply(rpc, msgid, bytes(size))
        asked.set()

    asked = threading.Event()
    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=answer)))
    got: list[int] = []

    def on_rpc_open(rpc: Any, pctx: Any) -> None:
        nq_rpc_call(rpc, 1, b"x", lambda r, result, d: got.append(len(d)))

    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=on_rpc_open)))
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(asked.is_set)
    server = world.servers.pop()
    thread = threading.Thread(target=nq_server_join, args=(server,))
    thread.start()
    world.until(lambda: got)
    thread.join()
    assert got == [size]


def test_join_gives_up_after_shutdown_timeout(world: Any, logs: list[str]) -> None:
    """3: a client that never answers does not hold the server longer."""

    def answer(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        nq_rpc_reply(rpc, msgid, bytes(5_000_000))
        asked.set()

    asked = threading.Event()
    conf = nq_svconf_t(shutdown_timeout=nq_time_msec(300), idle_timeout=nq_time_sec(3600))
    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=answer)), conf)

    def on_rpc_open(rpc: Any, pctx: Any) -> None:
        nq_rpc_call(rpc, 1, b"x", lambda *a: None)

    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=on_rpc_open)))
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(asked.is_set)
    nq_server_join(world.servers.pop())  # nobody polls the client
    ends = [record for record in map(json.loads, logs) if record["msg"] == "shutdown finished"]
    assert sorted(record["worker_index"] for record in ends) == list(range(world.workers))
    # The connection gives up after the same time as the worker: whichever is first.
    assert {(record["reason"], record["_lv"]) for record in ends} <= {("timeout", "E"), ("all session closed", "I")}


def test_join_without_start_and_twice(small: Any) -> None:
    server = nq_server_create(2)
    assert server is not None
    assert small.listen(server) is not None
    nq_server_join(server)
    nq_server_join(server)


def test_join_in_a_callback_is_refused(world: Any) -> None:
    errors: list[Any] = []
    servers: list[Any] = []

    def on_open(conn: Any, pctx: Any) -> None:
        try:
            nq_server_join(servers[0])
        except RuntimeError as error:
            errors.append(error)

    world.serve(serve_rpc, nq_svconf_t(on_open=on_open, idle_timeout=nq_time_sec(20)))
    servers.append(world.servers[0])
    world.connect(world.client())
    world.until(lambda: errors)


def test_maps_are_fixed_once_the_server_runs(world: Any, logs: list[str]) -> None:
    maps: list[Any] = []
    world.serve(maps.append)
    assert nq_hdmap_rpc_handler(maps[0], "late", nq_rpc_handler_t()) is False
    assert any("handler map is in use" in line for line in logs)


def test_exceptions_in_server_callbacks(world: Any, unraisable: list[BaseException]) -> None:
    """Even SystemExit ends neither the worker nor the process."""
    first: list[int] = []

    def on_open(conn: Any, pctx: Any) -> None:
        if len(first) < 2:
            first.append(1)
            raise (SystemExit(3) if len(first) == 2 else ZeroDivisionError())

    world.serve(serve_rpc, nq_svconf_t(on_open=on_open, idle_timeout=nq_time_sec(20)))
    closed: list[Any] = []
    for _ in range(2):
        world.connect(world.client(), on_close=lambda c, e, d, r: closed.append(d.code))
    world.until(lambda: len(closed) == 2)
    assert ask(world, world.port) == [b"x"]
    assert {type(e) for e in unraisable} == {ZeroDivisionError, SystemExit}


def test_no_worker_takes_clients_once_the_shutdown_began(world: Any, logs: list[str]) -> None:
    """3: also one that is too busy to have begun with it; whoever comes is told so, whichever worker is his."""
    busy, done = threading.Event(), threading.Event()
    opened: list[int] = []

    def block(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        busy.set()
        done.wait(20)

    conf = nq_svconf_t(on_open=lambda c, p: opened.append(1), idle_timeout=nq_time_sec(20))
    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=block)), conf)
    map_ = nq_rpc_handler_t(on_rpc_open=lambda rpc, p: nq_rpc_call(rpc, 1, b"", lambda *a: None))
    first = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", map_))
    world.connect(first, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(busy.is_set)
    server = world.servers.pop()
    thread = threading.Thread(target=nq_server_join, args=(server,))
    thread.start()
    while sum("shutdown start" in line for line in logs) < world.workers:
        time.sleep(0.001)
    ends: list[tuple[int, bool]] = []
    late = world.client()
    for _ in range(16):
        world.connect(
            late,
            on_open=lambda c, p: opened.append(2),
            on_close=lambda c, e, detail, remote: ends.append((detail.code, remote)),
        )
    world.settle(0.1)
    done.set()
    world.until(lambda: len(ends) == 16)
    thread.join()
    assert opened == [1]
    assert (CONNECTION_REFUSED, True) in ends
