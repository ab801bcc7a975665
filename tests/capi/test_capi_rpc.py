"""RPC: calls in both directions, errors, timeouts, notifies, message types, closing, stale handles."""

from __future__ import annotations

from typing import Any

import pytest

from naquid.capi import (
    NQ_EGOAWAY,
    NQ_ENOTSUPPORT,
    NQ_ETIMEOUT,
    NQ_EUSER,
    NQ_OK,
    nq_client_destroy,
    nq_conn_close,
    nq_conn_equal,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_call_ex,
    nq_rpc_close,
    nq_rpc_conn,
    nq_rpc_ctx,
    nq_rpc_equal,
    nq_rpc_error,
    nq_rpc_handler_t,
    nq_rpc_is_valid,
    nq_rpc_notify,
    nq_rpc_opt_t,
    nq_rpc_outgoing,
    nq_rpc_reply,
    nq_rpc_sid,
    nq_rpc_t,
    nq_rpc_task,
    nq_time_msec,
    nq_time_sec,
)


def echo(rpc: Any, type: int, msgid: int, data: bytes) -> None:
    nq_rpc_reply(rpc, msgid, data)


def serve_echo(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=echo))


class Peer:
    """A client with one open RPC stream."""

    def __init__(self, world: Any, **handler: Any) -> None:
        self.world = world
        self.rpc: Any = None
        self.conn: Any = None
        handler.setdefault("on_rpc_open", self.opened)
        self.client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(**handler)))
        world.connect(self.client, on_open=self.connected)
        world.until(lambda: self.rpc is not None)

    def connected(self, conn: Any, pctx: Any) -> None:
        self.conn = conn
        nq_conn_rpc(conn, "rpc", "the ctx")

    def opened(self, rpc: Any, pctx: Any) -> None:
        self.rpc = rpc

    def call(self, type: int, data: Any, **opts: Any) -> tuple[int, bytes]:
        got: list[Any] = []

        def on_reply(rpc: Any, result: int, data: bytes) -> None:
            assert rpc is self.rpc
            got.append((result, data))

        if opts:
            nq_rpc_call_ex(self.rpc, type, data, nq_rpc_opt_t(on_reply, **opts))
        else:
            nq_rpc_call(self.rpc, type, data, on_reply)
        self.world.until(lambda: got)
        self.world.settle(0.01)
        assert len(got) == 1
        return got[0]


def test_calls_are_answered_in_order(world: Any) -> None:
    """original-semantics 6.3: replies in the order the responder issued them, content as sent."""
    world.serve(serve_echo)
    peer = Peer(world)
    got: list[Any] = []
    for i in range(500):
        nq_rpc_call(peer.rpc, 1, b"%d" % i, lambda rpc, result, data: got.append((result, data)))
    world.until(lambda: len(got) == 500)
    assert got == [(NQ_OK, b"%d" % i) for i in range(500)]


@pytest.mark.parametrize("type_", [1, 127, 128, 200, 255, 256, 10000, 32767])
def test_every_type_works(world: Any, type_: int) -> None:
    """Better on purpose 2: types 128 to 255 too."""
    seen: list[Any] = []

    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        seen.append(type)
        nq_rpc_reply(rpc, msgid, data)

    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request)))
    assert Peer(world).call(type_, b"x") == (NQ_OK, b"x")
    assert seen == [type_]


def test_error_reply_carries_its_payload(world: Any) -> None:
    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        nq_rpc_error(rpc, msgid, b"why: " + data)

    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request)))
    assert Peer(world).call(7, b"no") == (NQ_EUSER, b"why: no")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 1_000_000])
def test_payload_sizes_and_kinds_of_buffers(small: Any, size: int) -> None:
    small.serve(serve_echo)
    peer = Peer(small)
    data = bytes(i * 7 & 255 for i in range(size))
    for kind in (bytes, bytearray, memoryview):
        assert peer.call(1, kind(data)) == (NQ_OK, data)


def test_timeout_then_the_stream_goes_on(world: Any) -> None:
    """6.3 and better on purpose 7: NQ_ETIMEOUT once, the late reply is dropped, timeout 0 is the handler's."""
    late: list[Any] = []

    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        if type == 2:
            late.append((rpc, msgid))
        else:
            for old, number in late:
                nq_rpc_reply(old, number, b"late")
            nq_rpc_reply(rpc, msgid, data)

    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request)))
    peer = Peer(world, timeout=nq_time_msec(300))
    assert peer.call(2, b"x", timeout=nq_time_msec(50)) == (NQ_ETIMEOUT, b"")
    assert peer.call(2, b"x", timeout=0) == (NQ_ETIMEOUT, b"")
    assert peer.call(1, b"after", timeout=nq_time_sec(20)) == (NQ_OK, b"after")


def test_a_timeout_is_as_long_as_given(sim: Any) -> None:
    """6.3: that of the call; 0 is the handler's."""
    sim.serve_rpc()
    peer = Peer(sim, timeout=nq_time_msec(300))
    for given, expected in ((nq_time_msec(50), 0.05), (0, 0.3), (nq_time_sec(7), 7.0)):
        start = sim.now
        assert peer.call(2, b"x", timeout=given) == (NQ_ETIMEOUT, b"")
        assert expected <= sim.now - start < expected + 0.014  # of which `call` itself waits 10 ms
    assert peer.call(1, b"after") == (NQ_OK, b"after")


def test_notify_and_calls_from_the_server(world: Any) -> None:
    """6.3: calls work in both directions on the same stream; notifies have no reply."""
    notes: list[Any] = []

    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        nq_rpc_notify(rpc, 9, b"note")
        nq_rpc_call(rpc, 5, b"from server", lambda r, result, reply: nq_rpc_reply(rpc, msgid, reply))

    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request)))
    peer = Peer(
        world,
        on_rpc_request=lambda rpc, type, msgid, data: nq_rpc_reply(rpc, msgid, b"%d " % type + data),
        on_rpc_notify=lambda rpc, type, data: notes.append((type, data)),
    )
    assert peer.call(1, b"") == (NQ_OK, b"5 from server")
    assert notes == [(9, b"note")]


def test_requests_without_a_handler_are_not_supported(world: Any) -> None:
    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t()))
    assert Peer(world).call(1, b"") == (NQ_ENOTSUPPORT, b"")


def test_close_tells_on_close_then_goaway(world: Any) -> None:
    """5 and 6.3: on_rpc_close first, then NQ_EGOAWAY for every call that waits; each once."""
    closed: list[Any] = []
    world.serve(
        lambda m: nq_hdmap_rpc_handler(
            m, "rpc", nq_rpc_handler_t(on_rpc_close=lambda r: closed.append(r), on_rpc_request=lambda *a: None)
        )
    )
    order = world.events
    peer = Peer(world, on_rpc_close=lambda rpc: order.append(("close", nq_rpc_is_valid(rpc), nq_rpc_ctx(rpc))))
    for _ in range(3):
        nq_rpc_call(peer.rpc, 1, b"", lambda rpc, result, data: order.append((result, data)))
    world.settle()
    nq_rpc_close(peer.rpc)
    nq_rpc_close(peer.rpc)
    world.until(lambda: len(order) == 4 and closed)
    assert order == [("close", True, "the ctx")] + [(NQ_EGOAWAY, b"")] * 3
    reasons: list[Any] = []
    assert not nq_rpc_is_valid(peer.rpc, lambda rpc, reason: reasons.append(reason))
    assert reasons == ["outdated handle"]


def test_unknown_name_resets_the_stream_only(world: Any) -> None:
    """4: the opener gets on_close and NQ_EGOAWAY; the connection stays."""
    world.serve(serve_echo)
    order = world.events
    got: list[Any] = []

    def fill(m: Any) -> None:
        nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=lambda rpc, p: got.append(rpc)))
        nq_hdmap_rpc_handler(
            m, "nobody", nq_rpc_handler_t(on_rpc_open=call_it, on_rpc_close=lambda rpc: order.append("close"))
        )

    def call_it(rpc: Any, pctx: Any) -> None:
        nq_rpc_call(rpc, 1, b"", lambda rpc, result, data: order.append(result))

    conns: list[Any] = []
    client = world.client(fill)

    def on_open(conn: Any, pctx: Any) -> None:
        conns.append(conn)
        nq_conn_rpc(conn, "nobody")
        nq_conn_rpc(conn, "no handler here either")

    world.connect(client, on_open=on_open, on_close=lambda *a: order.append("conn closed") or 0)
    world.until(lambda: len(order) == 2)
    assert order == ["close", NQ_EGOAWAY]
    nq_conn_rpc(conns[0], b"rpc")
    world.until(lambda: got)


def test_refused_by_on_open(world: Any) -> None:
    """5: on_*_open returning False rejects the stream: the peer's and ours; on_close follows on both sides."""
    closes: list[str] = []
    world.serve(
        lambda m: nq_hdmap_rpc_handler(
            m, "rpc", nq_rpc_handler_t(on_rpc_open=lambda r, p: False, on_rpc_close=lambda r: closes.append("server"))
        )
    )
    replies: list[int] = []
    peer = Peer(world, on_rpc_close=lambda r: closes.append("client"))
    nq_rpc_call(peer.rpc, 1, b"", lambda r, result, d: replies.append(result))
    world.until(lambda: len(closes) == 2 and replies)
    assert replies == [NQ_EGOAWAY]
    assert sorted(closes) == ["client", "server"]


def test_client_refuses_its_own_stream(world: Any) -> None:
    """Better on purpose 8: the original's use after free is a reset."""
    world.serve(serve_echo)
    order = world.events

    def fill(m: Any) -> None:
        handler = nq_rpc_handler_t(
            on_rpc_open=lambda r, p: order.append("open") or False, on_rpc_close=lambda r: order.append("close")
        )
        nq_hdmap_rpc_handler(m, "rpc", handler)

    client = world.client(fill)
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(lambda: len(order) == 2)
    world.settle()
    assert order == ["open", "close"]


def test_handles(world: Any) -> None:
    """1: immutable, hashable, equal by what they name; sid, outgoing, ctx, conn."""
    seen: list[Any] = []

    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        seen.append((nq_rpc_outgoing(rpc), nq_rpc_sid(rpc), nq_rpc_ctx(rpc)))
        nq_rpc_reply(rpc, msgid, b"")

    def on_open(rpc: Any, pctx: Any) -> bool:
        pctx[0] = {"mine": rpc}
        return True

    world.serve(
        lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request, on_rpc_open=on_open))
    )
    peer = Peer(world)
    peer.call(1, b"")
    rpc = peer.rpc
    ((outgoing, sid, ctx),) = seen
    assert outgoing == (False, True)
    assert sid == nq_rpc_sid(rpc) == 0
    assert list(ctx) == ["mine"]
    assert nq_rpc_outgoing(rpc) == (True, True)
    assert nq_rpc_ctx(rpc) == "the ctx"
    assert nq_conn_equal(nq_rpc_conn(rpc), peer.conn)
    assert nq_rpc_equal(rpc, rpc)
    assert not nq_rpc_equal(rpc, nq_rpc_t())
    assert nq_rpc_equal(nq_rpc_t(), nq_rpc_t())
    assert {rpc: 1}[rpc] == 1
    assert hash(nq_rpc_t()) == hash(nq_rpc_t())
    assert rpc.s > 0
    assert nq_rpc_t().s == 0
    with pytest.raises(AttributeError):
        rpc.anything = 1
    with pytest.raises(AttributeError):
        rpc.s = 4


def test_stale_handles_do_nothing_but_calls_answer(world: Any) -> None:
    """1, and better on purpose: nq_rpc_call on a stale handle ends in NQ_EGOAWAY."""
    world.serve(serve_echo)
    peer = Peer(world)
    got: list[Any] = []
    nq_rpc_close(peer.rpc)
    world.until(lambda: not nq_rpc_is_valid(peer.rpc))
    nq_rpc_call(peer.rpc, 1, b"", lambda rpc, result, data: got.append((rpc, result, data)))
    nq_rpc_call_ex(peer.rpc, 1, b"", nq_rpc_opt_t(lambda rpc, result, data: got.append((rpc, result, data))))
    nq_rpc_notify(peer.rpc, 1, b"")
    nq_rpc_reply(peer.rpc, 1, b"")
    nq_rpc_error(peer.rpc, 1, b"")
    nq_rpc_close(peer.rpc)
    nq_rpc_task(peer.rpc, lambda rpc: got.append("task"))
    world.until(lambda: len(got) == 2)
    world.settle()
    assert got == [(peer.rpc, NQ_EGOAWAY, b"")] * 2
    assert nq_rpc_outgoing(peer.rpc) == (False, False)
    assert nq_rpc_sid(peer.rpc) == 0
    empty = nq_rpc_t()
    nq_rpc_call(empty, 1, b"", lambda rpc, result, data: got.append(result))
    assert got[-1] == NQ_EGOAWAY
    reasons: list[Any] = []
    nq_rpc_is_valid(empty, lambda rpc, reason: reasons.append(reason))
    assert reasons == ["deallocated handle"]


def test_task_runs_in_the_loop(world: Any) -> None:
    world.serve(serve_echo)
    peer = Peer(world)
    ran: list[Any] = []
    nq_rpc_task(peer.rpc, ran.append)
    assert ran == []
    world.until(lambda: ran)
    assert ran == [peer.rpc]


def test_wrong_arguments_raise_at_the_call(small: Any) -> None:
    small.serve(serve_echo)
    peer = Peer(small)
    rpc = peer.rpc
    for bad in (0, -1, 32768):
        with pytest.raises(ValueError, match="from 1 to 32767"):
            nq_rpc_call(rpc, bad, b"", print)
        with pytest.raises(ValueError, match="from 1 to 32767"):
            nq_rpc_notify(rpc, bad, b"")
    with pytest.raises(TypeError):
        nq_rpc_call(rpc, 1, "text", print)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        nq_rpc_call(rpc, 1, b"", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        nq_rpc_call("rpc", 1, b"", print)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        nq_rpc_reply(peer.conn, 1, b"")
    with pytest.raises(TypeError):
        nq_rpc_notify(rpc, 1, 5)  # type: ignore[arg-type]
    for bad in (-1, 0):
        with pytest.raises(ValueError, match="msgid"):
            nq_rpc_reply(rpc, bad, b"")
    with pytest.raises(TypeError):
        nq_rpc_task(rpc, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_message_size"):
        nq_rpc_call(rpc, 1, bytes((16 << 20) + 1), print)
    assert peer.call(1, b"still fine") == (NQ_OK, b"still fine")


def test_exception_in_on_request_is_an_error_reply(
    world: Any, unraisable: list[BaseException], logs: list[str]
) -> None:
    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        if type == 1:
            raise KeyError("oops")
        nq_rpc_reply(rpc, msgid, data)

    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request)))
    peer = Peer(world)
    assert peer.call(1, b"") == (NQ_EUSER, b"")
    assert peer.call(2, b"on") == (NQ_OK, b"on")
    assert [type(e) for e in unraisable] == [KeyError]
    assert any("KeyError" in line for line in logs)


def test_exceptions_in_replies_and_notifies_leave_the_loop_running(world: Any, unraisable: list[BaseException]) -> None:
    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        nq_rpc_notify(rpc, 1, b"")
        nq_rpc_reply(rpc, msgid, data)

    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request)))

    def fail(*args: Any) -> None:
        raise ValueError("in a callback")

    peer = Peer(world, on_rpc_notify=fail, on_rpc_close=fail)
    nq_rpc_call(peer.rpc, 1, b"", fail)
    world.until(lambda: len(unraisable) == 2)
    assert peer.call(1, b"x") == (NQ_OK, b"x")
    nq_conn_close(peer.conn)
    world.until(lambda: not nq_rpc_is_valid(peer.rpc))


def test_connection_end_is_goaway(world: Any) -> None:
    order = world.events
    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=lambda *a: None)))
    peer = Peer(world, on_rpc_close=lambda r: order.append("rpc close"))
    nq_rpc_call(peer.rpc, 1, b"", lambda r, result, d: order.append(result))
    world.settle()
    nq_conn_close(peer.conn)
    world.until(lambda: len(order) == 2)
    assert order == ["rpc close", NQ_EGOAWAY]


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_message_ids(small: Any, large: bool) -> None:
    """6.2: counted from 1 on every stream; after 0xFFFE 1 comes again, or with use_large_msgid 0xFFFF; an ID that still
    waits is skipped, and its reply reaches the call that it belongs to (better on purpose 7)."""
    seen: list[int] = []
    held: list[Any] = []

    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        seen.append(msgid)
        if type == 2:
            held.append((rpc, msgid))
        else:
            nq_rpc_reply(rpc, msgid, data)

    small.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request)))
    peer = Peer(small, use_large_msgid=large)
    late: list[Any] = []
    nq_rpc_call(peer.rpc, 1, b"", lambda r, result, d: None)
    nq_rpc_call(peer.rpc, 2, b"", lambda r, result, d: late.append((result, d)))
    count = [0]

    def on_reply(rpc: Any, result: int, data: bytes) -> None:
        count[0] += result == NQ_OK

    for start in range(0, 70_000, 10_000):
        for _ in range(10_000):
            nq_rpc_call(peer.rpc, 1, b"", on_reply)
        small.until(lambda start=start: count[0] == start + 10_000)
    if large:
        assert seen == list(range(1, 70_003))
    else:
        first = list(range(1, 0xFFFF))
        again = [1, *range(3, 70_002 - len(first) + 2)]
        assert seen == first + again
    for rpc, msgid in held:
        nq_rpc_reply(rpc, msgid, b"late")
    small.until(lambda: late)
    assert late == [(NQ_OK, b"late")]


def test_as_many_calls_may_wait_as_there_are_message_ids(small: Any) -> None:
    """6.2: the original lost the old call's closure; here the call that has no ID left is refused at once."""
    small.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=lambda *request: None)))
    peer = Peer(small)
    results: list[int] = []
    for _ in range(0xFFFE):
        nq_rpc_call(peer.rpc, 1, b"", lambda r, result, d: results.append(result))
    with pytest.raises(BufferError):
        nq_rpc_call(peer.rpc, 1, b"", lambda r, result, d: results.append(result))
    nq_rpc_close(peer.rpc)
    small.until(lambda: len(results) == 0xFFFE)
    assert set(results) == {NQ_EGOAWAY}


def test_calls_with_one_callback_are_told_one_by_one(small: Any) -> None:
    """2 and 6.3: a client that is destroyed answers every call that waits, also where all have the same function."""
    small.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=lambda *request: None)))
    peer = Peer(small)
    results: list[int] = []

    def on_reply(rpc: Any, result: int, data: bytes) -> None:
        results.append(result)

    for _ in range(5):
        nq_rpc_call(peer.rpc, 1, b"", on_reply)
    nq_client_destroy(small.clients[0])
    assert results == [NQ_EGOAWAY] * 5
