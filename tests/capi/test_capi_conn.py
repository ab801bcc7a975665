"""Connections: their life on both sides, reconnection, resets, the order of callbacks, errors that end them."""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import time
from typing import Any

import pytest

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
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_rpc_is_valid,
    nq_rpc_reply,
    nq_rpc_sid,
    nq_server_join,
    nq_svconf_t,
    nq_time_msec,
    nq_time_sec,
)


def serve_rpc(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(
        hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d) if t == 1 else None)
    )


class Life:
    """One client connection whose callbacks are written down."""

    def __init__(self, world: Any, back_off: Any = 0, **conf: Any) -> None:
        self.world = world
        self.order = world.events
        self.back_off = back_off
        self.conn: Any = None
        self.rpc: Any = None
        self.details: list[Any] = []
        self.opens = 0
        handler = nq_rpc_handler_t(on_rpc_open=self.rpc_open, on_rpc_close=lambda r: self.order.append("rpc close"))
        self.client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
        callbacks = {"on_open": self.on_open, "on_close": self.on_close, "on_finalize": self.on_finalize}
        world.connect(self.client, **(callbacks | conf))

    def on_open(self, conn: Any, pctx: Any) -> None:
        self.order.append("open")
        self.opens += 1
        if self.conn is not None:
            assert nq_conn_equal(conn, self.conn)
            assert pctx[0] == "context"
        self.conn = conn
        pctx[0] = "context"
        nq_conn_rpc(conn, "rpc")

    def rpc_open(self, rpc: Any, pctx: Any) -> None:
        self.order.append("rpc open")
        self.rpc = rpc

    def on_close(self, conn: Any, error: int, detail: Any, remote: bool) -> Any:
        self.order.append("close")
        self.details.append((error, detail, remote))
        assert nq_conn_is_valid(conn)
        return self.back_off

    def on_finalize(self, conn: Any, ctx: Any) -> None:
        self.order.append("finalize")
        assert nq_conn_is_valid(conn)
        assert nq_conn_ctx(conn) is ctx
        self.ctx = ctx

    def up(self, opens: int = 1) -> None:
        self.world.until(lambda: self.opens == opens and self.order[-1] == "rpc open")

    def call(self) -> None:
        nq_rpc_call(self.rpc, 2, b"", lambda r, result, d: self.order.append(result))


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


def test_reset_reconnects_after_the_back_off(world: Any) -> None:
    """7: reset closes, on_close's result is the wait; the object, its context and map survive; streams do not."""
    world.serve(serve_rpc)
    life = Life(world, back_off=nq_time_msec(200))
    life.up()
    old = life.rpc
    life.call()
    world.settle()
    nq_conn_reset(life.conn)
    world.until(lambda: "close" in life.order)
    nq_conn_reset(life.conn)  # a wait goes on
    life.up(2)
    assert life.order == ["open", "rpc open", "rpc close", NQ_EGOAWAY, "close", "open", "rpc open"]
    assert life.details[0][1].code == 16
    assert not nq_rpc_is_valid(old)
    assert nq_rpc_sid(life.rpc) == 0
    assert nq_conn_reconnect_wait(life.conn) == 0


def test_the_back_off_is_as_long_as_given(sim: Any) -> None:
    """7: on_close's result; a reset meanwhile does not shorten it."""
    sim.serve_rpc()
    life = Life(sim, back_off=nq_time_sec(5))
    life.up()
    start = sim.now
    nq_conn_reset(life.conn)
    sim.until(lambda: "close" in life.order)
    sim.until(lambda: sim.now >= start + 2)
    assert nq_time_msec(2990) < nq_conn_reconnect_wait(life.conn) < nq_time_msec(3005)
    nq_conn_reset(life.conn)
    sim.until(lambda: life.opens == 2)
    assert 5 <= sim.now - start < 5.02  # and a handshake
    assert nq_conn_reconnect_wait(life.conn) == 0


def test_reset_with_zero_reconnects_at_once(world: Any) -> None:
    world.serve(serve_rpc)
    life = Life(world, back_off=0)
    life.up()
    nq_conn_reset(life.conn)
    life.up(2)


def test_disconnected_stays_until_reset_or_close(world: Any) -> None:
    """2.1: 0 from on_close leaves the object idle; reset connects now; close is only on_finalize."""

    def on_open(conn: Any, pctx: Any) -> None:
        conns.append(conn)

    conns: list[Any] = []
    world.serve(serve_rpc, nq_svconf_t(on_open=on_open, idle_timeout=nq_time_sec(20)))
    life = Life(world, back_off=None)
    life.up()
    world.until(lambda: conns)
    nq_conn_close(conns[0])
    world.until(lambda: "close" in life.order)
    error, detail, remote = life.details[0]
    assert (error, detail.code, detail.msg, remote) == (NQ_EQUIC, 70, "server side close", True)
    world.settle()
    assert nq_conn_is_valid(life.conn)
    assert nq_conn_fd(life.conn) == -1
    nq_conn_reset(life.conn)
    life.up(2)
    world.until(lambda: len(conns) == 2)
    nq_conn_close(conns[1])
    world.until(lambda: len(life.details) == 2)
    before = len(life.order)
    nq_conn_close(life.conn)
    world.until(lambda: "finalize" in life.order)
    assert life.order[before:] == ["finalize"]


def test_close_while_waiting_to_reconnect(world: Any) -> None:
    """Better on purpose 9: the original crashed."""
    world.serve(serve_rpc)
    life = Life(world, back_off=nq_time_msec(100))
    life.up()
    nq_conn_reset(life.conn)
    world.until(lambda: "close" in life.order)
    nq_conn_close(life.conn)
    world.until(lambda: "finalize" in life.order)
    world.settle(0.2)
    assert life.order == ["open", "rpc open", "rpc close", "close", "finalize"]


def test_streams_asked_for_while_disconnected_open_later(world: Any) -> None:
    """5: entries made in on_close or while waiting open after the next on_open."""
    world.serve(serve_rpc)

    def on_close(conn: Any, error: int, detail: Any, remote: bool) -> int:
        world.events.append("close")
        nq_conn_rpc(conn, "rpc")
        nq_conn_rpc(conn, "rpc")
        return nq_time_msec(30)

    life = Life(world, on_close=on_close)
    life.up()
    world.events.clear()
    nq_conn_reset(life.conn)
    world.until(lambda: life.order.count("rpc open") == 3)
    assert life.order == ["rpc close", "close", "open", "rpc open", "rpc open", "rpc open"]


def test_reconnects_for_ever_until_a_server_is_there(world: Any) -> None:
    """2.1: also a failed handshake calls on_close (67), without on_open before."""
    port = world.serve(serve_rpc)
    nq_server_join(world.servers.pop())
    life = Life(world, back_off=nq_time_msec(20), handshake_timeout=nq_time_msec(100))
    world.until(lambda: len(life.details) >= 3)
    assert life.opens == 0
    error, detail, remote = life.details[0]
    assert (error, detail.code, remote) == (NQ_EQUIC, 67, False)
    world.serve(serve_rpc, port=port)
    world.until(lambda: life.opens == 1)


def test_timeouts_are_those_given(sim: Any) -> None:
    """Better on purpose 1: idle_timeout in ms as given; 25 locally, the other side's as the smaller."""
    sim.serve_rpc()
    life = Life(sim, idle_timeout=nq_time_msec(300))
    life.up()
    start = sim.now  # what is acknowledged arrives a little later
    sim.until(lambda: life.details)
    assert 0.3 <= sim.now - start < 0.35
    error, detail, remote = life.details[0]
    assert (error, detail.code, remote) == (NQ_EQUIC, 25, False)


def test_default_timeouts(sim: Any) -> None:
    """2.2: 1 s for the handshake, 500 ms of silence, when left 0."""
    sim.serve_rpc()
    life = Life(sim, idle_timeout=0, handshake_timeout=0)
    life.up()
    start = sim.now
    sim.until(lambda: life.details)
    assert 0.5 <= sim.now - start < 0.55
    sim.stop()
    life = Life(sim, handshake_timeout=0)
    start = sim.now
    sim.until(lambda: life.details)
    assert 1.0 <= sim.now - start < 1.003
    assert life.details[0][1].code == 67


def test_the_handshake_has_its_own_timeout(sim: Any) -> None:
    """Better on purpose 1: 1 s when left 0, as given otherwise, whatever the idle timeout is."""
    ends: list[tuple[str, float, int]] = []
    client = sim.client()
    start = sim.now
    for name, timeout in (("given", nq_time_msec(1600)), ("default", 0), ("short", nq_time_msec(100))):
        sim.connect(  # nothing listens there
            client,
            idle_timeout=0,
            handshake_timeout=timeout,
            on_close=lambda c, e, d, r, name=name: ends.append((name, sim.now - start, d.code)),
        )
    sim.until(lambda: len(ends) == 3)
    assert [(name, code) for name, _, code in ends] == [("short", 67), ("default", 67), ("given", 67)]
    assert [took for _, took, _ in ends] == pytest.approx([0.1, 1.0, 1.6], abs=0.003)


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


def socket_of(conn: Any) -> int:
    """Which socket it is: a descriptor's number may be used again."""
    return os.fstat(nq_conn_fd(conn)).st_ino


def test_a_reconnect_takes_a_new_socket(world: Any) -> None:
    """2.1: also every further one; what was left is closed, and those that come back together share the new one."""
    world.serve(serve_rpc)
    life = Life(world, back_off=nq_time_msec(20))
    life.up()
    one = world.client()
    conns: list[Any] = []
    for _ in range(4):
        world.connect(one, on_open=lambda c, p: conns.append(c), on_close=lambda *a: nq_time_msec(20))
    world.until(lambda: len(conns) == 4)
    used = len(os.listdir("/proc/self/fd"))
    seen = [socket_of(life.conn)]
    for n in range(2, 8):
        nq_conn_reset(life.conn)
        life.up(n)
        seen.append(socket_of(life.conn))
        assert seen[-1] != seen[-2]
    old = socket_of(conns[0])
    for conn in conns[:4]:
        nq_conn_reset(conn)
    world.until(lambda: len(conns) == 8)
    assert {socket_of(conn) for conn in conns} - {old} == {socket_of(conns[0])}
    assert nq_conn_fd(conns[0]) == nq_conn_fd(conns[3])
    life.call()
    world.until(lambda: len(os.listdir("/proc/self/fd")) == used)


def test_a_reconnect_without_a_descriptor_keeps_the_socket(world: Any) -> None:
    world.serve(serve_rpc)
    life = Life(world)
    life.up()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        nq_conn_reset(life.conn)
        life.up(2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
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
