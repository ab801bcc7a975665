"""What is promised for rare moments: connecting anew, restarts, limits of RPC, a busy neighbour."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

import naquid
from naquid.capi import (
    NQ_EGOAWAY,
    NQ_EQUIC,
    NQ_EUSER,
    NQ_OK,
    nq_client_hdmap,
    nq_client_poll,
    nq_conn_close,
    nq_conn_fd,
    nq_conn_reconnect_wait,
    nq_conn_reset,
    nq_conn_rpc,
    nq_conn_stream,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_handler,
    nq_rpc_call,
    nq_rpc_close,
    nq_rpc_conn,
    nq_rpc_error,
    nq_rpc_handler_t,
    nq_rpc_is_valid,
    nq_rpc_notify,
    nq_rpc_reply,
    nq_rpc_task,
    nq_server_join,
    nq_stream_conn,
    nq_stream_handler_t,
    nq_stream_send,
    nq_svconf_t,
    nq_time_msec,
    nq_time_sec,
)
from naquid.testing import Relay


def serve_rpc(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d)))


def open_rpc(world: Any, **conf: Any) -> tuple[Any, list[Any]]:
    """A client's RPC stream, and what else its connection told."""
    rpcs: list[Any] = []
    order: list[Any] = []

    def on_close(conn: Any, error: int, detail: Any, remote: bool) -> int:
        order.append((error, detail.code, remote))
        return nq_time_msec(1)

    handler = nq_rpc_handler_t(
        on_rpc_open=lambda r, p: rpcs.append(r), on_rpc_close=lambda r: order.append("rpc close")
    )
    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
    callbacks = {
        "on_open": lambda c, p: nq_conn_rpc(c, "rpc"),
        "on_close": on_close,
        "on_finalize": lambda c, ctx: order.append("finalize"),
    }
    world.connect(client, **(callbacks | conf))
    world.until(lambda: rpcs)
    return rpcs[0], order


@pytest.mark.parametrize("how", ["close", "reset"])
def test_ends_while_it_connects_anew(world: Any, how: str) -> None:
    """7: an attempt under way is closed (16, local): then finalized, or tried again after the back-off."""
    world.serve(serve_rpc)
    rpc, order = open_rpc(world)
    conn = nq_rpc_conn(rpc)
    nq_server_join(world.servers.pop())
    hole = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    hole.bind(("127.0.0.1", world.port))
    world.until(lambda: (NQ_EQUIC, 70, True) in order)
    world.settle(0.05)  # nobody answers: connecting
    assert order == ["rpc close", (NQ_EQUIC, 70, True)]
    if how == "close":
        nq_conn_close(conn)
        world.until(lambda: "finalize" in order)
        world.settle()
        assert order[2:] == [(NQ_EQUIC, 16, False), "finalize"]
        hole.close()
    else:
        for tries in (1, 2):
            nq_conn_reset(conn)
            world.until(lambda tries=tries: len(order) > 1 + tries)
            world.settle(0.05)
            assert order[2:] == [(NQ_EQUIC, 16, False)] * tries
        hole.close()
        world.serve(serve_rpc, port=world.port)
        nq_conn_reset(conn)
        world.until(lambda: nq_conn_fd(conn) > 0 and nq_conn_reconnect_wait(conn) == 0)


def test_reset_after_an_attempt_that_failed(world: Any) -> None:
    """7: disconnected because on_close of a failed attempt returned 0: nq_conn_reset connects now."""
    world.serve(serve_rpc)
    back_off = [nq_time_msec(1), 0]
    codes: list[int] = []

    def on_close(conn: Any, error: int, detail: Any, remote: bool) -> int:
        codes.append(detail.code)
        return back_off.pop(0) if back_off else 0

    rpc, _ = open_rpc(world, on_close=on_close, handshake_timeout=nq_time_msec(200))
    conn = nq_rpc_conn(rpc)
    nq_server_join(world.servers.pop())
    world.until(lambda: codes == [70, 27])
    world.settle()
    assert nq_conn_fd(conn) == -1
    world.serve(serve_rpc, port=world.port)
    nq_conn_reset(conn)
    world.until(lambda: nq_conn_fd(conn) > 0)
    assert codes == [70, 27]


@pytest.mark.parametrize("same", [True, False], ids=["same-secret", "other-secret"])
def test_a_restarted_server_resets_old_connections(world: Any, same: bool) -> None:
    """Better on purpose 15, and 3 quic_secret: with the secret of before the restart is told at once (19)."""

    def conf(secret: str) -> nq_svconf_t:
        return nq_svconf_t(quic_secret=secret, idle_timeout=nq_time_sec(20), shutdown_timeout=nq_time_msec(50))

    port = world.serve(serve_rpc, conf("one secret for all"))
    with Relay(("127.0.0.1", port)) as relay:
        rpc, order = open_rpc(world, port=relay.port)
        world.settle(0.1)
        relay.cut()
        nq_server_join(world.servers.pop())
        world.serve(serve_rpc, conf("one secret for all" if same else "another secret"), port=port)
        world.settle(0.1)  # the old server's last packets are lost
        relay.restore()
        results: list[Any] = []
        nq_rpc_call(rpc, 1, b"", lambda r, result, d: results.append(result))
        if same:
            world.until(lambda: results)
            assert results == [NQ_EGOAWAY]
            world.until(lambda: len(order) >= 2)
            assert order[:2] == ["rpc close", (NQ_EQUIC, 19, True)]
        else:
            world.settle(0.3)
            assert results == []
            assert order == []


def test_clients_must_show_their_address(world: Any) -> None:
    """Better on purpose 15: above max_half_open (here: always) the server answers with Retry first."""
    conf = nq_svconf_t(idle_timeout=nq_time_sec(20), limits={"max_half_open": 0})
    world.serve(serve_rpc, conf)
    rpc, order = open_rpc(world)
    results: list[Any] = []
    nq_rpc_call(rpc, 1, b"x", lambda r, result, d: results.append((result, d)))
    world.until(lambda: results)
    assert results == [(NQ_OK, b"x")]
    assert order == []
    stats = [loop.stats() for loop in world.servers[0]._loops]
    assert sum(each["retries_sent"] for each in stats) == 1


def test_a_payload_above_the_limit_fails_its_call(world: Any) -> None:
    """Better on purpose 4, for RPC: the receiver's limit; the stream goes on, and so do the others."""
    world.serve(serve_rpc, nq_svconf_t(idle_timeout=nq_time_sec(20), max_message_size=1000))
    rpc, order = open_rpc(world)
    results: list[Any] = []
    nq_rpc_call(rpc, 1, bytes(1000), lambda r, result, d: results.append(result))
    world.until(lambda: results)
    nq_rpc_call(rpc, 1, bytes(1001), lambda r, result, d: results.append(result))
    nq_rpc_call(rpc, 1, b"goes on", lambda r, result, d: results.append(result))
    world.until(lambda: len(results) == 3)
    assert results == [NQ_OK, naquid.ETOOBIG, NQ_OK]
    world.settle()
    assert order == []


def test_what_a_client_has_queued_is_sent_before_its_end(world: Any) -> None:
    """Better on purpose 13: nq_conn_close sends first what its streams have queued."""
    got: list[int] = []
    codes: list[int] = []
    handler = nq_stream_handler_t(on_stream_record=lambda s, d: got.append(len(d)))
    conf = nq_svconf_t(on_close=lambda c, e, d, r: codes.append(d.code), idle_timeout=nq_time_sec(20))
    world.serve(lambda m: nq_hdmap_stream_handler(m, "s", handler), conf)

    def on_stream_open(stream: Any, pctx: Any) -> None:
        for _ in range(40):
            nq_stream_send(stream, bytes(50_000))
        nq_conn_close(nq_stream_conn(stream))

    client = world.client(lambda m: nq_hdmap_stream_handler(m, "s", nq_stream_handler_t(on_stream_open=on_stream_open)))
    world.connect(client, on_open=lambda c, p: nq_conn_stream(c, "s"))
    world.until(lambda: codes)
    assert got == [50_000] * 40
    assert codes == [16]


def test_the_last_handler_of_a_name_counts(world: Any) -> None:
    """4: last write wins, also for streams of a name that had one; open streams keep theirs."""
    world.serve(serve_rpc)
    rpc, order = open_rpc(world)
    opened: list[Any] = []
    hdmap = nq_client_hdmap(world.clients[0])
    for number in range(3):
        handler = nq_rpc_handler_t(on_rpc_open=lambda r, p, number=number: opened.append(number))
        assert nq_hdmap_rpc_handler(hdmap, "rpc", handler) is True
    nq_conn_rpc(nq_rpc_conn(rpc), "rpc")
    world.until(lambda: opened)
    assert opened == [2]
    results: list[Any] = []
    nq_rpc_call(rpc, 1, b"", lambda r, result, d: results.append(result))
    world.until(lambda: results)
    assert results == [NQ_OK]
    assert order == []


def test_a_busy_connection_does_not_starve_the_others(world: Any) -> None:
    """Better on purpose 14: ping-pong beside a connection that always has 500 requests under way."""
    world.serve(serve_rpc)
    busy, _ = open_rpc(world)
    calm, _ = open_rpc(world)
    counts = {"busy": 0}
    waits: list[int] = []  # how many answers the busy one had before the calm one had its own

    def again(rpc: Any, result: int, data: bytes) -> None:
        counts["busy"] += 1
        if len(waits) < 200:
            nq_rpc_call(rpc, 1, bytes(100), again)

    for _ in range(500):
        nq_rpc_call(busy, 1, bytes(100), again)

    def ping() -> None:
        start = counts["busy"]

        def pong(rpc: Any, result: int, data: bytes) -> None:
            waits.append(counts["busy"] - start)
            if len(waits) < 200:
                ping()

        nq_rpc_call(calm, 1, b"", pong)

    ping()
    world.until(lambda: len(waits) == 200)
    assert counts["busy"] > 1000
    assert sorted(waits)[190] <= 10 * 500


@pytest.mark.parametrize("how", ["thread", "task"])
def test_a_half_closed_stream_ends_with_its_last_reply(world: Any, how: str) -> None:
    """7: its caller sends no more (FIN) but still reads. The stream is there until every request has its reply,
    whichever thread gives it, and then ends in order."""
    asked: list[Any] = []
    handler = nq_rpc_handler_t(
        on_rpc_request=lambda rpc, type, msgid, data: asked.append((rpc, msgid)),
        on_rpc_close=lambda rpc: world.note("closed"),
    )
    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))

    async def half_close() -> bytes:
        async with await naquid.connect("127.0.0.1", world.port, ca=world.ca.ca) as conn:
            stream = await conn.open_raw_stream("rpc")
            stream.write(bytes.fromhex("050100018161 050100028162"))
            stream.write_eof()
            await asyncio.to_thread(world.until, lambda: len(asked) == 2)
            await conn.ping()  # its FIN was there, too
            assert world.events == []
            for rpc, msgid in asked:
                if how == "thread":
                    nq_rpc_reply(rpc, msgid, b"x")
                else:
                    nq_rpc_task(rpc, lambda rpc, msgid=msgid: nq_rpc_reply(rpc, msgid, b"x"))
            return await stream.read()

    assert asyncio.run(asyncio.wait_for(half_close(), 20)).hex() == "050000018178" + "050000028178"
    world.until(lambda: world.events == ["closed"])


@pytest.mark.parametrize("queued", [0, 4 << 20])
def test_closing_does_not_wait_for_requests_that_nobody_answers(world: Any, queued: int) -> None:
    """7: the caller has closed the stream and wants no reply: the other side's on_rpc_close comes all the same, whether
    the end of the data arrives with the request to send no more or long after it."""
    asked: list[Any] = []
    handler = nq_rpc_handler_t(
        on_rpc_request=lambda *request: asked.append(request), on_rpc_close=lambda rpc: world.note("server closed")
    )
    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
    opened: list[Any] = []
    mine = nq_rpc_handler_t(
        on_rpc_open=lambda rpc, pctx: opened.append(rpc), on_rpc_close=lambda rpc: world.note("client closed")
    )
    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", mine))
    world.connect(client, on_open=lambda conn, pctx: nq_conn_rpc(conn, "rpc"))
    world.until(lambda: opened)
    nq_rpc_call(opened[0], 1, b"x", lambda rpc, result, data: world.note(int(result)))
    world.until(lambda: asked)
    nq_rpc_notify(opened[0], 1, bytes(queued))
    nq_rpc_close(opened[0])
    world.until(lambda: len(world.events) == 3)
    assert set(world.events) == {"server closed", "client closed", int(NQ_EGOAWAY)}


def test_a_call_on_a_stream_that_is_closing(small: Any) -> None:
    """7: closed by this side, its end not yet told: the call has its one reply, NQ_EGOAWAY after on_rpc_close."""
    entered, gate = threading.Event(), threading.Event()

    def busy(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        entered.set()
        gate.wait(20)

    small.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=busy)))
    opened: list[Any] = []
    mine = nq_rpc_handler_t(
        on_rpc_open=lambda rpc, pctx: opened.append(rpc), on_rpc_close=lambda rpc: small.note("closed")
    )
    client = small.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", mine))
    small.connect(client, on_open=lambda conn, pctx: nq_conn_rpc(conn, "rpc"))
    small.until(lambda: opened)
    nq_rpc_call(opened[0], 1, b"x", lambda rpc, result, data: small.note("first", int(result)))
    small.until(entered.is_set)
    try:
        nq_rpc_close(opened[0])
        for _ in range(3):
            nq_client_poll(client)  # the close is done; the server, which is busy, cannot answer it
        assert nq_rpc_is_valid(opened[0], None)
        nq_rpc_call(opened[0], 1, b"x", lambda rpc, result, data: small.note("late", int(result)))
    finally:
        gate.set()
    small.until(lambda: ("late", NQ_EGOAWAY) in small.events)
    assert small.events.index("closed") < small.events.index(("late", NQ_EGOAWAY))
    small.settle()
    assert len(small.events) == 3


def test_a_reply_that_is_too_big(small: Any, unraisable: list[Any]) -> None:
    """4, 6.3: it is refused where it is given, and reported; the caller has an error reply, and the stream goes on."""

    def request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        {1: nq_rpc_reply, 2: nq_rpc_error}[type](rpc, msgid, bytes(1001 if data else 1000))

    conf = nq_svconf_t(idle_timeout=nq_time_sec(20), max_message_size=1000)
    small.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=request)), conf)
    stream, _ = open_rpc(small)
    for kind in (1, 2):
        for data in (b"too big", b""):
            nq_rpc_call(stream, kind, data, lambda rpc, result, data: small.note(int(result), len(data)))
    small.until(lambda: len(small.events) == 4)
    assert small.events == [(naquid.ETOOBIG, 0), (NQ_OK, 1000), (naquid.ETOOBIG, 0), (NQ_EUSER, 1000)]
    assert [type(error) for error in unraisable] == [naquid.MessageTooBig] * 2
