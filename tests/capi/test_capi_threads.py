"""Foreign threads call every function that may be called from any thread while connections come and go."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from typing import Any

from harness import descriptors, rss_kb

import naquid.capi as capi
from naquid.capi import (
    NQ_EGOAWAY,
    NQ_OK,
    NQ_REACHABLE_WIFI,
    nq_client_destroy,
    nq_client_poll,
    nq_conn_close,
    nq_conn_flush,
    nq_conn_is_valid,
    nq_conn_modify_hdmap,
    nq_conn_rpc,
    nq_conn_stream,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_handler,
    nq_rpc_call,
    nq_rpc_call_ex,
    nq_rpc_close,
    nq_rpc_handler_t,
    nq_rpc_notify,
    nq_rpc_opt_t,
    nq_rpc_reply,
    nq_rpc_task,
    nq_stream_handler_t,
    nq_stream_opt_t,
    nq_stream_send,
    nq_stream_send_ex,
    nq_svconf_t,
    nq_time_msec,
    nq_time_now,
    nq_time_sec,
)

SECONDS = float(os.environ.get("NAQUID_TEST_SECONDS", "20"))
RECONNECTS = 8000  # a few seconds


def serve_all(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d)))
    nq_hdmap_stream_handler(hdmap, "s", nq_stream_handler_t(on_stream_record=nq_stream_send))


def in_thread(fn: Any) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            fn()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def test_foreign_thread_keeps_its_order_and_copies(world: Any) -> None:
    """7: queued with a copy, first in first out, results in the loop's thread."""
    world.serve(serve_all)
    rpcs: list[Any] = []
    streams: list[Any] = []
    records: list[bytes] = []

    def fill(m: Any) -> None:
        nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r)))
        handler = nq_stream_handler_t(
            on_stream_open=lambda s, p: streams.append(s), on_stream_record=lambda s, d: records.append(d)
        )
        nq_hdmap_stream_handler(m, "s", handler)

    conns: list[Any] = []
    world.connect(world.client(fill), on_open=lambda c, p: conns.append(c))
    world.until(lambda: conns)
    in_thread(lambda: (nq_conn_rpc(conns[0], "rpc"), nq_conn_stream(conns[0], "s")))
    world.until(lambda: rpcs and streams)
    got: list[Any] = []
    main = threading.get_ident()

    def on_reply(rpc: Any, result: int, data: bytes) -> None:
        assert threading.get_ident() == main
        got.append((result, data))

    def work() -> None:
        buffer = bytearray(4)
        for i in range(200):
            buffer[:] = i.to_bytes(4, "little")
            nq_rpc_call(rpcs[0], 1, buffer, on_reply)
            nq_stream_send(streams[0], buffer)
        nq_rpc_notify(rpcs[0], 1, b"")
        nq_stream_send_ex(streams[0], b"end", nq_stream_opt_t(on_ack=lambda n, d: got.append(n)))
        nq_conn_flush(conns[0])

    in_thread(work)
    world.until(lambda: len(got) == 201 and len(records) == 201)
    numbers = [i.to_bytes(4, "little") for i in range(200)]
    assert [g for g in got if g != 4] == [(NQ_OK, number) for number in numbers]
    assert records == [*numbers, b"end"]


def test_replies_from_another_thread(world: Any) -> None:
    """6.3: a request may be answered at any later time from any thread."""
    waiting: list[Any] = []

    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        waiting.append((rpc, msgid, data))

    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request)))
    got: list[Any] = []

    def on_open(rpc: Any, pctx: Any) -> None:
        for i in range(100):
            nq_rpc_call(rpc, 1, b"%d" % i, lambda r, result, d: got.append((result, d)))

    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=on_open)))
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(lambda: len(waiting) == 100)
    for i, (rpc, msgid, data) in enumerate(reversed(waiting)):
        (capi.nq_rpc_error if i % 2 else nq_rpc_reply)(rpc, msgid, data)
    world.until(lambda: len(got) == 100)
    assert [d for _, d in got] == [b"%d" % i for i in reversed(range(100))]
    assert [result for result, _ in got] == [capi.NQ_EUSER if i % 2 else NQ_OK for i in range(100)]


def test_a_call_queued_for_a_client_that_is_destroyed(world: Any) -> None:
    """Exactly one reply for every accepted call, also when its loop ends first."""
    world.serve(serve_all)
    rpcs: list[Any] = []
    handler = nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r))
    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(lambda: rpcs)
    got: list[Any] = []
    in_thread(lambda: nq_rpc_call(rpcs[0], 1, b"", lambda r, result, d: got.append(result)))
    nq_client_destroy(client)
    assert len(got) == 1
    in_thread(lambda: nq_rpc_call(rpcs[0], 1, b"", lambda r, result, d: got.append(result)))
    assert got[1] == NQ_EGOAWAY


class Shared:
    """What all threads use at once: the newest handles of each kind, of both sides, and what was counted."""

    def __init__(self) -> None:
        self.handles: dict[str, list[Any]] = {"conn": [], "rpc": [], "stream": [], "alarm": []}
        self.lock = threading.Lock()
        self.calls = 0
        self.replies = 0
        self.closed = 0

    def keep(self, kind: str, handle: Any) -> None:
        handles = self.handles[kind]
        handles.append(handle)
        if len(handles) > 200:
            del handles[:100]

    def pick(self, kind: str) -> Any:
        handles = self.handles[kind][:]  # others make the list shorter
        return random.choice(handles) if handles else None

    # ---- what both sides do ----

    def fill(self, m: Any) -> None:
        nq_hdmap_rpc_handler(
            m,
            "rpc",
            nq_rpc_handler_t(
                on_rpc_open=lambda r, p: self.keep("rpc", r), on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d)
            ),
        )
        handler = nq_stream_handler_t(
            on_stream_open=lambda s, p: self.keep("stream", s), on_stream_record=lambda s, d: None
        )
        nq_hdmap_stream_handler(m, "s", handler)

    def on_open(self, conn: Any, pctx: Any) -> None:
        self.keep("conn", conn)
        nq_conn_rpc(conn, "rpc")
        nq_conn_stream(conn, "s")

    def on_close(self, conn: Any, error: int, detail: Any, remote: bool) -> int:
        """Of the client alone."""
        self.closed += 1
        return nq_time_msec(random.choice([0, 1, 5]))

    # ---- what foreign threads do ----

    def replied(self, rpc: Any, result: int, data: bytes) -> None:
        with self.lock:
            self.replies += 1

    def call(self, rpc: Any) -> None:
        with self.lock:
            self.calls += 1
        if random.random() < 0.5:
            nq_rpc_call(rpc, 1, b"data", self.replied)
        else:
            nq_rpc_call_ex(rpc, 1, b"data", nq_rpc_opt_t(self.replied, nq_time_msec(50)))

    def alarm(self, make: Any) -> Any:
        def run(handle: Any) -> None:
            made = make(handle)
            self.keep("alarm", made)
            capi.nq_alarm_set(made, nq_time_now() + nq_time_msec(random.randrange(20)), lambda box: None)

        return run

    def usual_actions(self) -> list[tuple[str, Any]]:
        """The kind of handle that each takes, and the action."""
        return [
            ("rpc", self.call), ("rpc", self.call), ("rpc", lambda r: nq_rpc_notify(r, 1, b"x")),
            ("rpc", lambda r: nq_rpc_reply(r, 5, b"x")), ("rpc", lambda r: capi.nq_rpc_error(r, 5, b"x")),
            ("rpc", lambda r: nq_rpc_task(r, lambda r: None)), ("rpc", self.alarm(capi.nq_rpc_alarm)),
            ("rpc", capi.nq_rpc_is_valid), ("rpc", capi.nq_rpc_sid), ("rpc", capi.nq_rpc_outgoing),
            ("rpc", lambda r: nq_conn_is_valid(capi.nq_rpc_conn(r), lambda c, reason: None)),
            ("stream", lambda s: nq_stream_send(s, b"record")), ("stream", self.alarm(capi.nq_stream_alarm)),
            ("stream", lambda s: nq_stream_send_ex(s, b"x", nq_stream_opt_t(on_ack=lambda n, d: None))),
            ("stream", lambda s: capi.nq_stream_task(s, lambda s: None)), ("stream", capi.nq_stream_conn),
            ("stream", capi.nq_stream_is_valid), ("stream", capi.nq_stream_sid), ("stream", capi.nq_stream_outgoing),
            ("conn", nq_conn_is_valid), ("conn", nq_conn_flush), ("conn", capi.nq_conn_fd),
            ("conn", capi.nq_conn_reconnect_wait), ("conn", capi.nq_conn_is_client),
            ("conn", lambda c: nq_conn_rpc(c, "rpc")), ("conn", lambda c: nq_conn_stream(c, "s")),
            ("conn", lambda c: nq_conn_modify_hdmap(c, self.fill)),
            ("alarm", capi.nq_alarm_is_valid), ("alarm", capi.nq_alarm_destroy),
        ]  # fmt: skip

    def rare_actions(self) -> list[tuple[str, Any]]:
        """Those that end what they act on, or move it."""
        return [
            ("rpc", nq_rpc_close), ("stream", capi.nq_stream_close), ("conn", nq_conn_close),
            ("conn", capi.nq_conn_reset), ("conn", lambda c: capi.nq_conn_reachability_change(c, NQ_REACHABLE_WIFI)),
        ]  # fmt: skip


class ForeignThreads:
    """Threads that own neither a client nor a server, and act on any handle until they are joined."""

    def __init__(self, shared: Shared, count: int) -> None:
        self.shared = shared
        self.failures: list[BaseException] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self) -> None:
        try:
            usual, rare = self.shared.usual_actions(), self.shared.rare_actions()
            while not self.stop.is_set():
                kind, action = random.choice(rare if random.random() < 0.01 else usual)
                handle = self.shared.pick(kind)
                if handle is not None:
                    action(handle)
                if random.random() < 0.05:
                    time.sleep(0.001)
        except BaseException as error:
            self.failures.append(error)

    def join(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_every_function_from_every_thread(world: Any, unraisable: list[BaseException]) -> None:
    """While connections come and go: nothing crashes, every call is answered exactly once."""
    shared = Shared()
    conf = nq_svconf_t(on_open=shared.on_open, idle_timeout=nq_time_sec(20), shutdown_timeout=nq_time_msec(500))
    world.serve(shared.fill, conf)
    client = world.client(shared.fill)
    foreign = ForeignThreads(shared, 3)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if client._loop._live_conns < 8:
            world.connect(client, on_open=shared.on_open, on_close=shared.on_close)
        for _ in range(5):
            nq_client_poll(client)
    foreign.join()
    assert foreign.failures == []
    world.clients.clear()
    nq_client_destroy(client)
    capi.nq_server_join(world.servers.pop())
    unexpected = [e for e in unraisable if not isinstance(e, BufferError)]
    assert unexpected == []
    assert shared.closed > 0
    assert shared.calls > 100
    assert shared.replies == shared.calls
    gc.collect()


def test_reconnecting_for_a_while_leaks_nothing(small: Any) -> None:
    """High-frequency reconnection of one object, with a stream and a call each time: no growth in descriptors, memory,
    connections or timers."""
    ended = [0]

    def server_close(conn: Any, error: int, detail: Any, remote: bool) -> None:
        ended[0] += 1

    small.serve(serve_all, nq_svconf_t(on_close=server_close, idle_timeout=nq_time_sec(20)))
    opened, replies, closed = [0], [0], [0]

    def on_open(conn: Any, pctx: Any) -> None:
        opened[0] += 1
        nq_conn_rpc(conn, "rpc")

    def rpc_open(rpc: Any, pctx: Any) -> None:
        nq_rpc_call(rpc, 1, b"x", on_reply)

    def on_reply(rpc: Any, result: int, data: bytes) -> None:
        replies[0] += result == NQ_OK
        if again[0]:  # a reset connects anew, whatever on_close returns
            capi.nq_conn_reset(capi.nq_rpc_conn(rpc))
        else:
            nq_conn_close(capi.nq_rpc_conn(rpc))

    again = [1]

    def on_close(conn: Any, error: int, detail: Any, remote: bool) -> int:
        closed[0] += 1
        return again[0]

    client = small.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=rpc_open)))
    fds = descriptors()
    small.connect(client, on_open=on_open, on_close=on_close)
    small.until(lambda: replies[0] >= RECONNECTS // 4, patience=60)  # pools, caches and the allocator have their size
    gc.collect()
    before = rss_kb()
    small.until(lambda: replies[0] >= RECONNECTS, patience=60)
    gc.collect()
    assert rss_kb() - before < 4096
    again[0] = 0  # each connection has a socket of its own until it has drained
    small.until(lambda: descriptors() <= fds + 2, patience=60)
    assert opened[0] - 1 <= closed[0] <= opened[0]
    assert ended[0] >= RECONNECTS - 100
    stats = client._loop.stats()
    assert stats["connections"] <= 2
    assert stats["streams"] <= 1
    assert stats["alarms"] == 0
    assert stats["pending_calls"] <= 1
