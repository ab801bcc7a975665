"""What is promised beside the main road: copies, thread rules, refusals, timeouts, certificates, failing callbacks."""

from __future__ import annotations

import collections
import socket
import threading
from typing import Any

import pytest

import naquid.capi as capi
from naquid.capi import (
    NQ_EGOAWAY,
    NQ_OK,
    NQ_REACHABLE_WIFI,
    STOP_INVOKE_NQ_TIME,
    nq_addr_t,
    nq_alarm_destroy,
    nq_alarm_is_valid,
    nq_alarm_set,
    nq_clconf_t,
    nq_client_connect,
    nq_client_destroy,
    nq_client_resolve_host,
    nq_conn_close,
    nq_conn_is_valid,
    nq_conn_modify_hdmap,
    nq_conn_reachability_change,
    nq_conn_reset,
    nq_conn_rpc,
    nq_conn_stream,
    nq_conn_t,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_factory,
    nq_hdmap_stream_handler,
    nq_log_config,
    nq_logconf_t,
    nq_rpc_alarm,
    nq_rpc_call,
    nq_rpc_close,
    nq_rpc_conn,
    nq_rpc_handler_t,
    nq_rpc_is_valid,
    nq_rpc_notify,
    nq_rpc_reply,
    nq_rpc_task,
    nq_server_join,
    nq_stream_alarm,
    nq_stream_close,
    nq_stream_ctx,
    nq_stream_handler_t,
    nq_stream_is_valid,
    nq_stream_opt_t,
    nq_stream_send,
    nq_stream_send_ex,
    nq_stream_task,
    nq_svconf_t,
    nq_time_msec,
    nq_time_now,
    nq_time_sec,
)
from naquid.testing import Relay


def echo(rpc: Any, type_: int, msgid: int, data: bytes) -> None:
    nq_rpc_reply(rpc, msgid, data)


def serve_all(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=echo))
    nq_hdmap_stream_handler(hdmap, "s", nq_stream_handler_t(on_stream_record=nq_stream_send))


def in_thread(fn: Any) -> None:
    thread = threading.Thread(target=fn)
    thread.start()
    thread.join()


class Open:
    """A client's connection with one RPC stream and one of records."""

    def __init__(self, world: Any, rpc: dict[str, Any] | None = None, stream: Any = None, **conf: Any) -> None:
        self.world = world
        self.rpcs: list[Any] = []
        self.streams: list[Any] = []
        self.conn: Any = None
        self.opens = 0

        def fill(m: Any) -> None:
            handler = nq_rpc_handler_t(**({"on_rpc_open": lambda r, p: self.rpcs.append(r)} | (rpc or {})))
            nq_hdmap_rpc_handler(m, "rpc", handler)
            streams = {"on_stream_open": lambda s, p: self.streams.append(s)} | (stream or {})
            nq_hdmap_stream_handler(m, "s", nq_stream_handler_t(**streams))

        self.client = world.client(fill)
        world.connect(self.client, **({"on_open": self.on_open} | conf))
        world.until(lambda: self.rpcs and self.streams)

    def on_open(self, conn: Any, pctx: Any) -> None:
        self.conn = conn
        self.opens += 1
        nq_conn_rpc(conn, "rpc")
        nq_conn_stream(conn, "s")

    def call(self) -> tuple[int, bytes]:
        got: list[tuple[int, bytes]] = []
        nq_rpc_call(self.rpcs[-1], 1, b"x", lambda r, result, d: got.append((result, d)))
        self.world.until(lambda: got)
        return got[0]


# ---- what is given is copied ----


def test_structs_are_copied(world: Any) -> None:
    """2, 4 and 5: what becomes of a struct after the call that took it changes nothing."""
    seen: list[str] = []
    handler = nq_rpc_handler_t(on_rpc_request=echo)

    def fill(m: Any) -> None:
        nq_hdmap_rpc_handler(m, "rpc", handler)
        nq_hdmap_stream_handler(m, "s", nq_stream_handler_t())
        handler.on_rpc_request = None

    server_conf = nq_svconf_t(on_open=lambda c, p: seen.append("server"), idle_timeout=nq_time_sec(20))
    world.serve(fill, server_conf)
    server_conf.on_open = None
    conns: list[Any] = []
    client = world.client(serve_all)
    closed: list[Any] = []
    conf = nq_clconf_t(
        on_open=lambda c, p: conns.append(c),
        on_close=lambda *a: closed.append(a),
        idle_timeout=nq_time_sec(20),
        insecure=True,
    )
    address = nq_addr_t("127.0.0.1", port=world.port)
    assert nq_client_connect(client, address, conf)
    conf.on_open = conf.on_close = None
    address.host, address.port = "192.0.2.1", 9
    world.until(lambda: conns and seen)
    nq_conn_close(conns[0])
    world.until(lambda: closed)
    opened = Open(world)
    assert opened.call() == (NQ_OK, b"x")
    acks: list[int] = []
    opt = nq_stream_opt_t(on_ack=lambda n, delay: acks.append(n))

    def send() -> None:
        nq_stream_send_ex(opened.streams[0], b"abc", opt)
        opt.on_ack = None

    in_thread(send)
    world.until(lambda: acks)
    assert acks == [4]


# ---- streams ----


def test_streams_that_were_not_opened_yet_are_forgotten_at_a_close(world: Any) -> None:
    """2.1 and 5: asked for, but the peer allows no more: the next connection has only those that its on_open opens."""
    world.serve(serve_all, nq_svconf_t(idle_timeout=nq_time_sec(20), limits={"max_streams_bidi": 2}))
    closed: list[Any] = []
    opened = Open(world, {"on_rpc_close": closed.append}, on_close=lambda *a: 1)
    for _ in range(5):
        nq_conn_rpc(opened.conn, "rpc")
    world.settle()
    assert len(opened.rpcs) == 1
    nq_conn_reset(opened.conn)
    world.until(lambda: len(opened.rpcs) == len(opened.streams) == 2)
    world.settle()
    assert opened.opens == len(opened.rpcs) == len(opened.streams) == 2
    assert closed == opened.rpcs[:1]
    assert opened.call() == (NQ_OK, b"x")


@pytest.mark.parametrize("kind", ["rpc", "stream"])
def test_a_server_refuses_its_own_stream(world: Any, kind: str) -> None:
    """5: a server's on_open that says no: on_close follows, the client hears of no stream, the connection goes on."""
    order = world.events

    def fill(m: Any) -> None:
        no = {f"on_{kind}_open": lambda h, p: order.append(("open", p[0])) or False}
        no |= {f"on_{kind}_close": lambda h: order.append("close")}  # type: ignore[dict-item]
        if kind == "rpc":
            nq_hdmap_rpc_handler(m, "no", nq_rpc_handler_t(**no))  # type: ignore[arg-type]
        else:
            nq_hdmap_stream_handler(m, "no", nq_stream_handler_t(**no))  # type: ignore[arg-type]
        serve_all(m)

    def on_open(conn: Any, pctx: Any) -> None:
        (nq_conn_rpc if kind == "rpc" else nq_conn_stream)(conn, "no", "ctx")

    world.serve(fill, nq_svconf_t(on_open=on_open, idle_timeout=nq_time_sec(20)))
    opened = Open(world)
    world.until(lambda: len(order) == 2)
    assert opened.call() == (NQ_OK, b"x")
    assert order == [("open", "ctx"), "close"]


def test_a_name_without_a_handler_is_not_opened(world: Any, logs: list[str]) -> None:
    """4: at the opener: nothing happens, and the log says why."""
    world.serve(serve_all)
    opened = Open(world)
    nq_conn_rpc(opened.conn, "nobody")
    nq_conn_stream(opened.conn, b"\xff")
    assert opened.call() == (NQ_OK, b"x")
    assert sum("no handler of that name" in line for line in logs) == 2


def test_context_of_a_stream_lives_until_its_close(world: Any) -> None:
    """5: on both sides, whatever on_open put into pctx[0]."""
    seen: list[Any] = []

    def on_open(stream: Any, pctx: Any) -> None:
        pctx[0] = ("was", pctx[0])

    handler: dict[str, Any] = {"on_stream_open": on_open, "on_stream_close": lambda s: seen.append(nq_stream_ctx(s))}
    world.serve(lambda m: nq_hdmap_stream_handler(m, "s", nq_stream_handler_t(**handler)))
    client = world.client(lambda m: nq_hdmap_stream_handler(m, "s", nq_stream_handler_t(**handler)))
    conns: list[Any] = []
    world.connect(client, on_open=lambda c, p: (conns.append(c), nq_conn_stream(c, "s", "ctx")))
    world.until(lambda: conns)
    client_map = nq_stream_handler_t(on_stream_open=lambda s, p: (nq_stream_send(s, b""), nq_stream_close(s)))  # type: ignore[arg-type, return-value]
    nq_hdmap_stream_handler(capi.nq_client_hdmap(client), "s", client_map)
    nq_conn_stream(conns[0], "s")
    world.until(lambda: seen)
    assert seen == [("was", None)]
    nq_conn_close(conns[0])
    world.until(lambda: len(seen) == 2)
    assert seen[1] == ("was", "ctx")


def test_retransmissions_are_told(world: Any) -> None:
    """5.4: on_retransmit of a write that was lost on its way, by no more bytes than it has; then its on_ack."""
    world.serve(serve_all)
    with Relay(("127.0.0.1", world.port)) as relay:
        opened = Open(world, port=relay.port)
        assert opened.call() == (NQ_OK, b"x")
        acks: list[int] = []
        lost: list[int] = []
        opt = nq_stream_opt_t(on_ack=lambda n, delay: acks.append(n), on_retransmit=lost.append)
        relay.cut()
        nq_stream_send_ex(opened.streams[0], bytes(5000), opt)
        world.settle(0.05)
        assert acks == []
        relay.restore()
        world.until(lambda: sum(acks) == 5002)
        world.settle()
    assert sum(acks) == 5002
    assert lost
    assert all(0 < n <= 5002 for n in lost)


# ---- thread rules ----


@pytest.mark.parametrize("what", ["rpc", "stream", "close", "reset", "task", "alarm"])
def test_queued_calls_take_effect_in_the_next_tick(world: Any, what: str) -> None:
    """7: also in the loop's own thread, inside a callback."""
    world.serve(serve_all)
    order = world.events
    inside = [False]

    def told(*args: Any) -> int:
        order.append(inside[0])
        return 0

    opened = Open(world, {"on_rpc_close": told}, {"on_stream_close": told}, on_close=told)
    rpc, stream = opened.rpcs[0], opened.streams[0]
    alarm = nq_rpc_alarm(rpc)

    def on_reply(*args: Any) -> None:
        inside[0] = True
        if what == "rpc":
            nq_rpc_close(rpc)
        elif what == "stream":
            nq_stream_close(stream)
        elif what == "close":
            nq_conn_close(opened.conn)
        elif what == "reset":
            nq_conn_reset(opened.conn)
        elif what == "task":
            nq_rpc_task(rpc, told)
            nq_stream_task(stream, told)
        else:
            nq_alarm_set(alarm, 0, told)
        assert nq_rpc_is_valid(rpc)
        assert nq_stream_is_valid(stream)
        assert nq_conn_is_valid(opened.conn)
        assert nq_alarm_is_valid(alarm)
        assert order == []
        inside[0] = False
        order.append("later")

    nq_rpc_call(rpc, 1, b"", on_reply)
    world.until(lambda: len(order) >= 2)
    assert order[0] == "later"
    assert set(order[1:]) == {False}


def test_modify_hdmap_at_once_and_queued(world: Any) -> None:
    """7: at once in the loop's own thread, in the next tick from another; every time a new, empty map."""
    world.serve(serve_all)
    opened = Open(world)
    maps: list[Any] = []
    nq_conn_modify_hdmap(opened.conn, maps.append)
    assert len(maps) == 1
    in_thread(lambda: nq_conn_modify_hdmap(opened.conn, maps.append))
    assert len(maps) == 1
    world.until(lambda: len(maps) == 2)
    assert len({id(m) for m in [*maps, capi.nq_client_hdmap(opened.client)]}) == 3
    again: list[Any] = []
    # The map in force is the last one: what is added to it counts, what is in the others does not.
    nq_hdmap_rpc_handler(maps[0], "rpc", nq_rpc_handler_t(on_rpc_open=lambda r, p: again.append("old")))
    nq_hdmap_rpc_handler(maps[1], "rpc", nq_rpc_handler_t(on_rpc_open=lambda r, p: again.append("new")))
    nq_conn_rpc(opened.conn, "rpc")
    nq_conn_stream(opened.conn, "s")
    world.until(lambda: again)
    world.settle()
    assert again == ["new"]
    assert len(opened.streams) == 1
    assert opened.call() == (NQ_OK, b"x")


def test_validity_is_told_in_the_calling_thread(world: Any) -> None:
    """7: before the call returns: without a reason when it is valid."""
    world.serve(serve_all)
    opened = Open(world)
    handles = [
        (nq_conn_is_valid, opened.conn), (nq_rpc_is_valid, opened.rpcs[0]), (nq_stream_is_valid, opened.streams[0]),
    ]  # fmt: skip
    told: list[Any] = []

    def ask() -> None:
        for is_valid, handle in handles:
            assert is_valid(handle, lambda h, reason: told.append((h, reason, threading.get_ident()))) is True  # type: ignore[operator]

    ask()
    assert told == [(handle, None, threading.get_ident()) for _, handle in handles]
    in_thread(ask)
    assert [(h, reason) for h, reason, _ in told[3:]] == [(handle, None) for _, handle in handles]
    assert threading.get_ident() not in {ident for _, _, ident in told[3:]}
    with pytest.raises(LookupError):  # it is the caller's own
        nq_conn_is_valid(opened.conn, lambda h, reason: {}["key"])  # type: ignore[index]


def test_client_functions_do_nothing_on_a_server(world: Any) -> None:
    """7 and 10: nq_conn_reset and nq_conn_reachability_change are a client's."""
    conns: list[Any] = []
    closed: list[Any] = []
    conf = nq_svconf_t(on_open=lambda c, p: conns.append(c), on_close=lambda *a: closed.append(a),
                       idle_timeout=nq_time_sec(20))  # fmt: skip
    world.serve(serve_all, conf)
    opened = Open(world)
    world.until(lambda: conns)
    nq_conn_reset(conns[0])
    nq_conn_reachability_change(conns[0], NQ_REACHABLE_WIFI)
    world.settle()
    assert opened.call() == (NQ_OK, b"x")
    assert closed == []
    assert nq_conn_is_valid(conns[0])


def test_alarms_of_a_server(world: Any) -> None:
    """8: they run in the worker that owns the stream; set and freed from any thread; they outlive the stream."""
    alarms: dict[str, Any] = {}
    fired: list[Any] = []
    owners: list[int] = []

    def on_rpc_open(rpc: Any, pctx: Any) -> None:
        owners.append(threading.get_ident())
        for name in ("repeats", "far", "never"):
            alarms[name] = nq_rpc_alarm(rpc)
        alarms["stale"] = nq_rpc_alarm(rpc)
        times = [0]

        def repeats(pnext: Any) -> None:
            times[0] += 1
            fired.append(("repeats", threading.get_ident()))
            pnext[0] = pnext[0] + nq_time_msec(5) if times[0] < 3 else STOP_INVOKE_NQ_TIME

        nq_alarm_set(alarms["repeats"], nq_time_now(), repeats)
        nq_alarm_set(alarms["never"], nq_time_now() + nq_time_sec(100), lambda pnext: fired.append("never"))

    rpc_handler = nq_rpc_handler_t(on_rpc_open=on_rpc_open, on_rpc_request=echo)

    def fill(m: Any) -> None:
        nq_hdmap_rpc_handler(m, "rpc", rpc_handler)
        nq_hdmap_stream_handler(m, "s", nq_stream_handler_t())

    world.serve(fill)
    opened = Open(world)
    assert opened.call() == (NQ_OK, b"x")
    world.until(lambda: len(fired) == 3)
    assert fired == [("repeats", owners[0])] * 3
    assert nq_alarm_is_valid(alarms["repeats"])
    nq_alarm_destroy(alarms["never"])
    nq_rpc_close(opened.rpcs[0])
    nq_conn_close(opened.conn)
    world.until(lambda: not nq_alarm_is_valid(alarms["never"]))
    nq_alarm_set(alarms["far"], nq_time_now(), lambda pnext: fired.append(("far", threading.get_ident())))
    world.until(lambda: len(fired) == 4)
    assert fired[3] == ("far", owners[0])
    world.until(lambda: not nq_alarm_is_valid(alarms["far"]))
    nq_server_join(world.servers.pop())
    assert not nq_alarm_is_valid(alarms["repeats"])
    nq_alarm_set(alarms["repeats"], 0, fired.append)
    assert len(fired) == 4


# ---- exceptions ----


def test_exceptions_in_every_callback_leave_the_loop_running(world: Any, unraisable: list[BaseException]) -> None:
    """Each is reported once, and what follows it happens all the same."""

    def fail(name: str, *effects: Any) -> Any:
        def callback(*args: Any) -> None:
            for effect in effects:
                effect(*args)
            raise LookupError(name)

        return callback

    def served(m: Any) -> None:
        serve_all(m)
        nq_hdmap_rpc_handler(
            m,
            "notify",
            nq_rpc_handler_t(
                on_rpc_request=echo, on_rpc_notify=fail("server notify"), on_rpc_close=fail("server rpc close")
            ),
        )
        nq_hdmap_stream_handler(
            m,
            "records",
            nq_stream_handler_t(on_stream_record=fail("server record"), on_stream_close=fail("server stream close")),
        )
        nq_hdmap_stream_handler(
            m, "reader", nq_stream_handler_t(stream_reader=fail("server reader"), stream_writer=lambda s, d: d)
        )
        nq_hdmap_stream_factory(m, "factory", fail("server factory"))

    conf = nq_svconf_t(idle_timeout=nq_time_sec(20), on_close=fail("server conn close"))
    world.serve(served, conf)
    opened = Open(world, on_finalize=fail("finalize"), on_close=fail("close"))
    alarms = nq_rpc_alarm(opened.rpcs[0]), nq_stream_alarm(opened.streams[0])
    for alarm in alarms:
        nq_alarm_set(alarm, 0, fail("alarm"))
    nq_rpc_task(opened.rpcs[0], fail("rpc task"))
    nq_stream_task(opened.streams[0], fail("stream task"))
    nq_stream_send_ex(opened.streams[0], b"x", nq_stream_opt_t(on_ack=fail("ack")))
    nq_rpc_call(opened.rpcs[0], 1, b"", fail("reply"))
    nq_client_resolve_host(opened.client, socket.AF_INET, "127.0.0.1", fail("resolve"))
    in_thread(lambda: nq_conn_modify_hdmap(opened.conn, fail("far modifier")))
    with pytest.raises(LookupError):  # at once in the caller's thread: its own
        nq_conn_modify_hdmap(opened.conn, fail("modifier"))
    hdmap = capi.nq_client_hdmap(opened.client)
    for name in ("records", "factory"):
        send = lambda s, p: nq_stream_send(s, b"x")  # noqa: E731
        nq_hdmap_stream_handler(hdmap, name, nq_stream_handler_t(on_stream_open=send))
        nq_conn_stream(opened.conn, name)
    framed = nq_stream_handler_t(
        on_stream_open=lambda s, p: (framed_streams.append(s), nq_stream_send(s, b"x")),  # type: ignore[arg-type, return-value]
        stream_reader=lambda s, c: None, stream_writer=lambda s, d: d if d else fail("writer")(),
    )  # fmt: skip
    framed_streams: list[Any] = []
    nq_hdmap_stream_handler(hdmap, "reader", framed)
    nq_conn_stream(opened.conn, "reader")
    nq_hdmap_rpc_handler(
        hdmap,
        "notify",
        nq_rpc_handler_t(on_rpc_open=lambda r, p: nq_rpc_notify(r, 1, b""), on_rpc_close=fail("rpc close")),
    )
    nq_conn_rpc(opened.conn, "notify")
    expected = {
        "alarm": 2, "rpc task": 1, "stream task": 1, "ack": 1, "reply": 1, "resolve": 1, "far modifier": 1,
        "server notify": 1, "server record": 1, "server reader": 1, "server factory": 1,
    }  # fmt: skip
    world.until(lambda: len(unraisable) >= sum(expected.values()))
    assert opened.call() == (NQ_OK, b"x")
    assert not any(nq_alarm_is_valid(alarm) for alarm in alarms)
    assert collections.Counter(str(e) for e in unraisable) == expected
    del unraisable[:]
    nq_conn_close(opened.conn)
    ends = {"close", "finalize", "rpc close", "server rpc close", "server stream close", "server conn close"}
    world.until(lambda: len(unraisable) >= len(ends))
    assert {str(e) for e in unraisable} == ends
    assert len(unraisable) == len(ends)
    again = Open(world)
    assert again.call() == (NQ_OK, b"x")
    nq_conn_close(again.conn)
    world.until(lambda: len(unraisable) == len(ends) + 1)


def test_a_failing_log_callback_stops_nothing(world: Any, unraisable: list[BaseException], logs: list[str]) -> None:
    def fail(text: str) -> None:
        raise OSError("no room")

    world.serve(serve_all)
    opened = Open(world)
    nq_log_config(nq_logconf_t(callback=fail))
    nq_conn_rpc(opened.conn, "nobody")  # logged
    nq_rpc_task(opened.rpcs[0], lambda rpc: {}["key"])  # type: ignore[index]  # as well
    world.until(lambda: len(unraisable) >= 3)
    nq_log_config(nq_logconf_t(callback=logs.append))
    assert opened.call() == (NQ_OK, b"x")
    assert {type(e) for e in unraisable} == {OSError, KeyError}


def test_a_call_in_on_close_of_its_stream_is_answered(world: Any) -> None:
    """6.3: exactly one reply for every call, after on_rpc_close; also for calls and streams of an empty handle."""
    world.serve(serve_all)
    order = world.events

    def on_rpc_close(rpc: Any) -> None:
        nq_rpc_call(rpc, 1, b"", lambda r, result, d: order.append(result))
        order.append("close")

    opened = Open(world, {"on_rpc_close": on_rpc_close})
    nq_rpc_close(opened.rpcs[0])
    world.until(lambda: len(order) == 2)
    assert order == ["close", NQ_EGOAWAY]
    nq_conn_rpc(nq_conn_t(), "rpc")
    nq_rpc_call(capi.nq_rpc_t(), 1, b"", lambda r, result, d: order.append(result))
    assert order == ["close", NQ_EGOAWAY, NQ_EGOAWAY]
    assert nq_conn_is_valid(nq_rpc_conn(opened.rpcs[0])) is False
    nq_client_destroy(opened.client)
