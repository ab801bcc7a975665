"""Connections: their life on both sides, the order of callbacks, errors that end them. test_capi_reconnect.py has
those that come back."""

from __future__ import annotations

import json
import resource
import struct
import sys
import time
from typing import Any

import pytest
from capi_life import Life, serve_rpc

from naquid.capi import (
    NQ_EGOAWAY,
    NQ_EQUIC,
    NQ_NOT_REACHABLE,
    NQ_OK,
    NQ_REACHABLE_WIFI,
    NQ_REACHABLE_WWAN,
    nq_addr_t,
    nq_clconf_t,
    nq_client_connect,
    nq_client_destroy,
    nq_client_poll,
    nq_conn_close,
    nq_conn_ctx,
    nq_conn_equal,
    nq_conn_fd,
    nq_conn_flush,
    nq_conn_is_client,
    nq_conn_is_valid,
    nq_conn_reachability_change,
    nq_conn_reconnect_wait,
    nq_conn_reset,
    nq_conn_rpc,
    nq_conn_t,
    nq_rpc_call,
    nq_svconf_t,
    nq_time_msec,
    nq_time_sec,
)


def test_close_in_order(world: Any) -> None:
    """2 and 7: streams' closes, their replies, on_close (16, local), on_finalize; then the handle is outdated."""
    closes: list[Any] = []
    conf = nq_svconf_t(
        on_close=lambda c, e, d, remote: closes.append((e, d.code, d.msg, remote)), idle_timeout=nq_time_sec(20)
    )
    world.serve(serve_rpc, conf)
    life = Life(world, back_off=nq_time_msec(1))
    life.up()
    life.call()
    world.settle()
    assert nq_conn_is_client(life.conn)
    assert nq_conn_fd(life.conn) > 0
    nq_conn_close(life.conn)
    nq_conn_close(life.conn)
    world.until(lambda: "finalize" in life.order and closes)
    world.settle()
    assert life.order == ["open", "rpc open", "rpc close", NQ_EGOAWAY, "close", "finalize"]
    ((error, detail, remote),) = life.details
    assert (error, detail.code, detail.msg, remote) == (NQ_EQUIC, 16, "Client disconnecting", False)
    assert closes == [(NQ_EQUIC, 16, "Client disconnecting", True)]
    assert life.ctx == "context"
    reasons: list[Any] = []
    assert not nq_conn_is_valid(life.conn, lambda c, reason: reasons.append(reason))
    assert reasons == ["outdated handle"]
    assert nq_conn_fd(life.conn) == -1
    assert nq_conn_is_client(life.conn)
    for stale in (nq_conn_close, nq_conn_reset, nq_conn_flush):
        stale(life.conn)
    nq_conn_rpc(life.conn, "rpc")
    world.settle()


def test_empty_handles(small: Any) -> None:
    """1: made without arguments: invalid, equal to each other."""
    empty = nq_conn_t()
    reasons: list[Any] = []
    assert not nq_conn_is_valid(empty, lambda c, reason: reasons.append(reason))
    assert reasons == ["deallocated handle"]
    assert not nq_conn_is_valid(empty)
    assert nq_conn_equal(empty, nq_conn_t())
    assert not nq_conn_is_client(empty)
    assert nq_conn_ctx(empty) is None
    assert nq_conn_fd(empty) == -1
    assert nq_conn_reconnect_wait(empty) == 0
    nq_conn_close(empty)
    nq_conn_reset(empty)
    nq_conn_flush(empty)
    nq_conn_rpc(empty, "rpc")


def test_server_side_connection(world: Any) -> None:
    """3: on_open once with a context, on_close once; valid inside, outdated after; nq_conn_close inside on_open."""
    order = world.events
    conns: list[Any] = []

    def on_open(conn: Any, pctx: Any) -> None:
        assert pctx[0] is None
        pctx[0] = ["server's"]
        conns.append(conn)
        assert not nq_conn_is_client(conn)
        assert nq_conn_fd(conn) == -1
        nq_conn_close(conn)

    def on_close(conn: Any, error: int, detail: Any, remote: bool) -> None:
        order.append((nq_conn_is_valid(conn), nq_conn_ctx(conn), error, detail.code, remote))

    world.serve(serve_rpc, nq_svconf_t(on_open=on_open, on_close=on_close, idle_timeout=nq_time_sec(20)))
    closes: list[Any] = []
    world.connect(world.client(), on_close=lambda c, e, d, remote: closes.append((d.code, remote)))
    world.until(lambda: order and closes)
    world.until(lambda: not nq_conn_is_valid(conns[0]))
    assert order == [(True, ["server's"], NQ_EQUIC, 70, False)]
    assert closes == [(70, True)]


def test_destroy_closes_everything_in_order(world: Any) -> None:
    """2, and better on purpose 9: in any state; the order is that of nq_conn_close."""
    closes: list[Any] = []
    conf = nq_svconf_t(on_close=lambda c, e, d, r: closes.append((d.code, d.msg, r)), idle_timeout=nq_time_sec(20))
    world.serve(serve_rpc, conf)
    life = Life(world)
    life.up()
    life.call()
    world.settle()
    nq_client_destroy(life.client)
    nq_client_destroy(life.client)
    nq_client_poll(life.client)
    assert life.order == ["open", "rpc open", "rpc close", NQ_EGOAWAY, "close", "finalize"]
    assert life.details[0][1].code == 16
    world.clients.clear()
    world.until(lambda: closes)
    assert closes == [(16, "Client being torn down", True)]
    assert nq_client_connect(life.client, nq_addr_t("127.0.0.1", port=1), nq_clconf_t()) is False


@pytest.mark.parametrize("state", ["connecting", "waiting", "disconnected", "closing", "in a callback"])
def test_destroy_in_any_state(world: Any, state: str) -> None:
    world.serve(serve_rpc)
    life = Life(world, back_off=nq_time_sec(10) if state == "waiting" else 0)
    if state == "connecting":
        nq_client_poll(life.client)
    else:
        life.up()
        if state in ("waiting", "disconnected"):
            nq_conn_reset(life.conn)
        if state == "closing":
            nq_conn_close(life.conn)
        if state == "in a callback":
            nq_rpc_call(life.rpc, 1, b"", lambda *a: nq_client_destroy(life.client))
            world.until(lambda: "finalize" in life.order)
    nq_client_destroy(life.client)
    assert life.order.count("finalize") == 1
    assert life.order[-1] == "finalize"


def test_certificates_are_verified(small: Any, other_ca: Any, logs: list[str]) -> None:
    """Better on purpose 5: chain, name; insecure is the only way out, and is logged as a warning."""
    small.serve(serve_rpc)
    failed: list[Any] = []
    opened: list[Any] = []

    def attempt(ca: Any, **conf: Any) -> None:
        client = small.client()
        settings = nq_clconf_t(
            on_open=lambda c, p: opened.append(c),
            on_close=lambda c, e, d, r: failed.append((e, d.code)),
            handshake_timeout=nq_time_sec(5),
            idle_timeout=nq_time_sec(5),
            **conf,
        )
        before = len(failed) + len(opened)
        nq_client_connect(client, nq_addr_t("127.0.0.1", ca=ca, port=small.port), settings)
        small.until(lambda: len(failed) + len(opened) > before)

    attempt(other_ca.ca)
    attempt(None)
    assert not opened
    assert all(error == NQ_EQUIC and 0x100 < code < 0x200 for error, code in failed)
    failed.clear()
    attempt(small.ca.ca)
    attempt(small.ca.ca_pem)
    assert len(opened) == 2
    attempt(None, insecure=True)
    assert len(opened) == 3
    records = [json.loads(line) for line in logs]
    assert [r["_lv"] for r in records if "not verified" in r["msg"]] == ["W"]


def test_reachability_moves_the_connection(world: Any) -> None:
    """10: a new socket, the same handle and streams; NQ_NOT_REACHABLE does nothing."""
    world.serve(serve_rpc)
    life = Life(world)
    life.up()
    got: list[Any] = []
    first = nq_conn_fd(life.conn)
    nq_rpc_call(life.rpc, 1, b"before", lambda r, result, d: got.append((result, d)))
    world.until(lambda: got)
    nq_conn_reachability_change(life.conn, NQ_NOT_REACHABLE)
    world.settle()
    assert nq_conn_fd(life.conn) == first
    for status in (NQ_REACHABLE_WIFI, NQ_REACHABLE_WWAN):
        got.clear()
        before = nq_conn_fd(life.conn)
        nq_conn_reachability_change(life.conn, status)
        world.until(lambda before=before: nq_conn_fd(life.conn) != before)
        nq_rpc_call(life.rpc, 1, b"after", lambda r, result, d: got.append((result, d)))
        world.until(lambda: got)
        assert got == [(NQ_OK, b"after")]
        world.settle(0.2)
    assert life.order == ["open", "rpc open"]
    with pytest.raises(ValueError, match="reachability"):
        nq_conn_reachability_change(life.conn, 3)


def test_a_move_that_fails_is_a_reset(world: Any) -> None:
    """10: without a descriptor for the new socket the connection is closed, and comes back as after nq_conn_reset."""
    world.serve(serve_rpc)
    life = Life(world, back_off=nq_time_msec(300))
    life.up()
    world.settle()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        nq_conn_reachability_change(life.conn, NQ_REACHABLE_WIFI)
        world.until(lambda: "close" in life.order)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    life.up(2)
    assert life.order == ["open", "rpc open", "rpc close", "close", "open", "rpc open"]
    assert life.details[0][1].code == 16
    life.call()


def test_flush_sends_at_once(world: Any) -> None:
    """Better on purpose 12: what was queued leaves before the tick ends."""
    world.serve(serve_rpc)
    life = Life(world)
    life.up()
    got: list[Any] = []
    nq_rpc_call(life.rpc, 1, b"x", lambda r, result, d: got.append(result))
    nq_conn_flush(life.conn)
    time.sleep(0.05)  # the reply is there without a poll in between
    nq_client_poll(life.client)
    nq_client_poll(life.client)
    assert got == [NQ_OK]


def test_exceptions_in_connection_callbacks(world: Any, unraisable: list[BaseException]) -> None:
    """on_open's counts as a refusal; on_close's as "no reconnect"; the loop goes on."""
    world.serve(serve_rpc)
    order = world.events

    def on_open(conn: Any, pctx: Any) -> None:
        raise LookupError("open")

    def on_close(conn: Any, error: int, detail: Any, remote: bool) -> int:
        order.append(conn)
        raise LookupError("close")

    client = world.client()
    world.connect(client, on_open=on_open, on_close=on_close)
    world.until(lambda: order)
    world.settle()
    assert len(unraisable) == 2
    assert nq_conn_is_valid(order[0])


def test_wrong_result_of_on_close(world: Any, unraisable: list[BaseException]) -> None:
    world.serve(serve_rpc)
    life = Life(world, back_off="soon")
    life.up()
    nq_conn_close(life.conn)
    world.until(lambda: "finalize" in life.order)
    assert [type(e) for e in unraisable] == [ValueError]


def test_context_dies_with_the_connection(world: Any) -> None:
    import gc
    import weakref

    class Thing:
        pass

    world.serve(serve_rpc)
    refs: list[Any] = []

    def on_open(conn: Any, pctx: Any) -> None:
        pctx[0] = Thing()
        refs.append(weakref.ref(pctx[0]))
        nq_conn_close(conn)

    finals: list[Any] = []
    world.connect(world.client(), on_open=on_open, on_finalize=lambda c, ctx: finals.append(c))
    world.until(lambda: finals)
    world.settle(0.01)
    gc.collect()
    assert refs[0]() is None


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux")
def test_track_reachability(small: Any) -> None:
    """Better on purpose 11: works on Linux; a change of addresses moves the connection, its streams go on."""
    from naquid._net import watch

    small.serve(serve_rpc)
    life = Life(small, track_reachability=True)
    life.up()
    first = nq_conn_fd(life.conn)
    small.settle(0.2)
    moved = nq_conn_fd(life.conn)
    life.client._changed()  # what the netlink thread asks for
    life.client._changed()
    small.until(lambda: nq_conn_fd(life.conn) != moved)
    got: list[Any] = []
    nq_rpc_call(life.rpc, 1, b"after", lambda r, result, d: got.append((result, d)))
    small.until(lambda: got)
    assert got == [(NQ_OK, b"after")]
    assert first > 0
    # A new address (RTM_NEWADDR) after a message of no interest; a cut-off one; nothing.
    other = struct.pack("=IHHII", 18, 16, 0, 0, 0) + b"xxxx"
    news = struct.pack("=IHHII", 16, 20, 0, 0, 0)
    assert watch.changes(other + news)
    assert not watch.changes(other)
    assert not watch.changes(b"\0" * 16)
    assert not watch.changes(news[:10])


def test_track_reachability_where_it_is_not_supported(
    small: Any, logs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from naquid.capi import client as client_module

    monkeypatch.setattr(client_module, "supported", lambda: False)
    small.serve(serve_rpc)
    life = Life(small, track_reachability=True)
    life.up()
    assert any("not supported" in line for line in logs)
