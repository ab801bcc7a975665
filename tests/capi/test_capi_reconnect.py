"""Connections that come back: resets, back-offs, timeouts, what is lost and what stays."""

from __future__ import annotations

import os
import resource
from typing import Any

import pytest
from capi_life import Life, serve_rpc

from naquid.capi import (
    NQ_EGOAWAY,
    NQ_EQUIC,
    nq_conn_close,
    nq_conn_fd,
    nq_conn_is_valid,
    nq_conn_reconnect_wait,
    nq_conn_reset,
    nq_conn_rpc,
    nq_rpc_is_valid,
    nq_rpc_sid,
    nq_server_join,
    nq_svconf_t,
    nq_time_msec,
    nq_time_sec,
)


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
    """2.1: also a failed handshake calls on_close (27: nothing listens there), without on_open before."""
    port = world.serve(serve_rpc)
    nq_server_join(world.servers.pop())
    life = Life(world, back_off=nq_time_msec(20), handshake_timeout=nq_time_msec(100))
    world.until(lambda: len(life.details) >= 3)
    assert life.opens == 0
    error, detail, remote = life.details[0]
    assert (error, detail.code, remote) == (NQ_EQUIC, 27, False)
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
