"""Loops, workers, handles and handler maps under many threads at once: on free-threaded CPython, and with the lock.

NAQUID_TEST_SECONDS: how long each of the long tests lasts. Each passes in any time; more of it finds more.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import subprocess
import sys
import sysconfig
import threading
import time
from typing import Any

import pytest

import naquid
import naquid.capi as capi
from naquid import _naquid

SECONDS = float(os.environ.get("NAQUID_TEST_SECONDS", "2"))
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def echo(rpc: Any, type: int, msgid: int, data: bytes) -> None:
    capi.nq_rpc_reply(rpc, msgid, data)


def serve_echo(hdmap: Any) -> None:
    capi.nq_hdmap_rpc_handler(hdmap, "rpc", capi.nq_rpc_handler_t(on_rpc_request=echo))
    capi.nq_hdmap_stream_handler(hdmap, "s", capi.nq_stream_handler_t(on_stream_record=capi.nq_stream_send))


@pytest.mark.skipif(not FREE_THREADED, reason="this CPython always has its global lock")
def test_the_import_leaves_the_lock_off() -> None:
    code = "import sys, naquid, naquid.capi; sys.exit(sys._is_gil_enabled())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    environment["PYTHONPATH"] = os.path.dirname(os.path.dirname(naquid.__file__))
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_handlers_of_workers_overlap(net: Any, threads: Any, polled: Any) -> None:
    """Two handlers meet: each is inside its worker's tick until the other is there too."""
    meeting = threading.Barrier(2)
    where: set[int] = set()

    def meet(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        where.add(threading.get_ident())
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.2)  # both connections may be of one worker: that request is answered, others follow
        capi.nq_rpc_reply(rpc, msgid, b"met" if not meeting.broken else b"alone")
        if meeting.broken:
            meeting.reset()

    server, port = net.serve(
        2, lambda m: capi.nq_hdmap_rpc_handler(m, "rpc", capi.nq_rpc_handler_t(on_rpc_request=meet))
    )
    got: list[bytes] = []

    def opened(rpc: Any, pctx: Any) -> None:
        capi.nq_rpc_call(rpc, 1, b"", replied)

    def replied(rpc: Any, result: int, data: bytes) -> None:
        got.append(data)
        if result == capi.NQ_OK and b"met" not in got:
            capi.nq_rpc_call(rpc, 1, b"", replied)

    client = net.client(lambda m: capi.nq_hdmap_rpc_handler(m, "rpc", capi.nq_rpc_handler_t(on_rpc_open=opened)))
    for _ in range(32):  # a connection's worker is chosen by chance: not all have the same
        net.connect(client, port, on_open=lambda conn, pctx: capi.nq_conn_rpc(conn, "rpc"))
    polled(lambda: b"met" in got, client)
    assert len(where) == 2
    capi.nq_client_destroy(client)
    capi.nq_server_join(server)


class Shared:
    """What workers, clients and foreign threads use at once: the handles of both sides, and what was counted. The list
    of handles has no lock, as an application's may have none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = {"calls": 0, "replies": 0, "closed": 0}
        self.handles: list[Any] = []
        self.served: dict[int, int] = {}  # requests, by the thread that answered them
        self.stop = threading.Event()

    def count(self, name: str) -> None:
        with self.lock:
            self.counts[name] += 1

    def keep(self, handle: Any) -> None:
        self.handles.append(handle)
        if len(self.handles) > 300:
            del self.handles[:150]

    # ---- handlers ----

    def fill(self, m: Any) -> None:
        capi.nq_hdmap_rpc_handler(
            m, "rpc", capi.nq_rpc_handler_t(on_rpc_open=lambda r, p: self.keep(r), on_rpc_request=self.request)
        )
        capi.nq_hdmap_stream_handler(
            m, "s",
            capi.nq_stream_handler_t(on_stream_open=lambda s, p: self.keep(s), on_stream_record=lambda s, d: None),
        )  # fmt: skip

    def request(self, rpc: Any, type: int, msgid: int, data: bytes) -> None:
        self.served[threading.get_ident()] = self.served.get(threading.get_ident(), 0) + 1
        conn = capi.nq_rpc_conn(rpc)
        side = "client" if capi.nq_conn_is_client(conn) else "server"
        capi.nq_rpc_reply(rpc, msgid, data if capi.nq_conn_ctx(conn)[0] == side else b"wrong")

    def server_open(self, conn: Any, pctx: Any) -> None:
        pctx[0] = ["server", object()]
        self.keep(conn)

    def client_open(self, conn: Any, pctx: Any) -> None:
        pctx[0] = ["client", object()]
        self.keep(conn)
        for _ in range(2):
            capi.nq_conn_rpc(conn, "rpc")
            capi.nq_conn_stream(conn, "s")

    def client_closed(self, conn: Any, error: int, detail: Any, remote: bool) -> int:
        self.count("closed")
        return capi.nq_time_msec(random.choice([0, 1, 5]))


class Actions:
    """What a foreign thread does with a handle: something at random, which now and then ends what it acts on."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    def on(self, handle: Any) -> None:
        if isinstance(handle, capi.nq_conn_t):
            self.on_conn(handle)
        elif isinstance(handle, capi.nq_rpc_t):
            self.on_rpc(handle)
        else:
            self.on_stream(handle)

    def on_rpc(self, rpc: Any) -> None:
        call = self.call
        random.choice([
            call, call, call, lambda r: capi.nq_rpc_notify(r, 1, b"x"), lambda r: capi.nq_rpc_reply(r, 60_000, b"x"),
            lambda r: capi.nq_rpc_task(r, lambda r: None), capi.nq_rpc_sid, capi.nq_rpc_ctx, capi.nq_rpc_outgoing,
            lambda r: capi.nq_rpc_is_valid(r, lambda r, why: None), lambda r: check_context(capi.nq_rpc_conn(r)),
            self.alarm,
        ])(rpc)  # fmt: skip
        if random.random() < 0.01:
            capi.nq_rpc_close(rpc)

    def on_stream(self, stream: Any) -> None:
        random.choice([
            lambda s: capi.nq_stream_send(s, b"record"), capi.nq_stream_sid, capi.nq_stream_ctx,
            lambda s: capi.nq_stream_send_ex(s, b"x", capi.nq_stream_opt_t(on_ack=lambda n, d: None)),
            lambda s: check_context(capi.nq_stream_conn(s)), lambda s: capi.nq_stream_task(s, capi.nq_stream_sid),
        ])(stream)  # fmt: skip
        if random.random() < 0.01:
            capi.nq_stream_close(stream)

    def on_conn(self, conn: Any) -> None:
        random.choice([
            check_context, check_context, capi.nq_conn_flush, capi.nq_conn_fd, capi.nq_conn_reconnect_wait,
            self.own_map, lambda c: capi.nq_conn_rpc(c, "rpc"), lambda c: capi.nq_conn_stream(c, "s"),
            lambda c: capi.nq_conn_is_valid(c, lambda c, why: None),
        ])(conn)  # fmt: skip
        if random.random() < 0.01:
            random.choice([capi.nq_conn_close, capi.nq_conn_reset])(conn)

    def call(self, rpc: Any) -> None:
        self.shared.count("calls")
        options = capi.nq_rpc_opt_t(self.replied, capi.nq_time_msec(200))
        if random.random() < 0.5:
            capi.nq_rpc_call(rpc, 1, b"payload", self.replied)
        else:
            capi.nq_rpc_call_ex(rpc, 1, b"payload", options)

    def replied(self, rpc: Any, result: int, data: bytes) -> None:
        self.shared.count("replies")
        if result == capi.NQ_OK and data != b"payload":
            raise AssertionError(data)

    def alarm(self, rpc: Any) -> None:
        made = capi.nq_rpc_alarm(rpc)
        capi.nq_alarm_set(made, capi.nq_time_now() + capi.nq_time_msec(random.randrange(10)), lambda box: None)
        if random.random() < 0.5:
            capi.nq_alarm_destroy(made)

    def own_map(self, conn: Any) -> None:
        maps: list[Any] = []

        def modify(m: Any) -> None:
            maps.append(m)
            self.shared.fill(m)

        capi.nq_conn_modify_hdmap(conn, modify)
        for m in maps:
            serve_echo(m)


def check_context(handle: Any) -> None:
    """A connection's context is that of a side, once there is one."""
    if isinstance(handle, capi.nq_conn_t):
        found = capi.nq_conn_ctx(handle)
        assert found is None or found[0] in ("server", "client")


def act_on_handles(shared: Shared) -> None:
    """What a foreign thread does until it is to stop."""
    actions = Actions(shared)
    while not shared.stop.is_set():
        known = list(shared.handles)  # the others change it meanwhile
        for handle in random.sample(known, min(20, len(known))):
            actions.on(handle)
        time.sleep(0.002)


def run_clients(net: Any, shared: Shared, port: int) -> None:
    """What a client's thread does until it is to stop: one client after another, each with a few connections."""
    while not shared.stop.is_set():
        client = net.client(shared.fill)
        end = time.monotonic() + random.uniform(0.2, 0.6)
        while time.monotonic() < end and not shared.stop.is_set():
            if client._loop._live_conns < 4:
                net.connect(client, port, on_open=shared.client_open, on_close=shared.client_closed)
            capi.nq_client_poll(client)
        capi.nq_client_destroy(client)


def test_workers_clients_and_foreign_threads(net: Any, threads: Any) -> None:
    """Workers, clients in threads of their own, and threads that own nothing; what they share is Python objects. Each
    call has one reply, each connection's context is its own, and nothing is left."""
    shared = Shared()
    counts, served, handles = shared.counts, shared.served, shared.handles
    unraisable: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda event: unraisable.append(event.exc_value)
    try:
        server, port = net.serve(4, shared.fill, on_open=shared.server_open)
        for _ in range(2):
            threads.start(run_clients, net, shared, port)
            threads.start(act_on_handles, shared)
        end = time.monotonic() + 30 * SECONDS
        time.sleep(SECONDS)
        while not (counts["replies"] and len(served) > 1) and time.monotonic() < end:
            time.sleep(0.01)
        shared.stop.set()
        threads.join()
        capi.nq_server_join(server)
    finally:
        sys.unraisablehook = hook
    assert [error for error in unraisable if not isinstance(error, BufferError)] == []
    assert counts["replies"] == counts["calls"] > 0
    assert counts["closed"] > 0
    assert len(served) > 1
    assert all(not capi.nq_rpc_is_valid(h) for h in handles if isinstance(h, capi.nq_rpc_t))
    assert all(capi.nq_conn_ctx(h) is None for h in handles if isinstance(h, capi.nq_conn_t))
    gc.collect()


def test_servers_start_and_stop_beside_each_other(net: Any, threads: Any, polled: Any) -> None:
    """Each thread has servers and clients of its own; one of them is joined while its client still calls."""

    def work() -> None:
        end = time.monotonic() + SECONDS
        rounds = 0
        while rounds == 0 or time.monotonic() < end:
            got: list[int] = []
            server, port = net.serve(2, serve_echo)

            def opened(rpc: Any, pctx: Any, got: list[int] = got) -> None:
                for _ in range(20):
                    capi.nq_rpc_call(rpc, 1, b"x", lambda r, result, data: got.append(result))

            client = net.client(
                lambda m, o=opened: capi.nq_hdmap_rpc_handler(m, "rpc", capi.nq_rpc_handler_t(on_rpc_open=o))
            )
            net.connect(client, port, on_open=lambda conn, pctx: capi.nq_conn_rpc(conn, "rpc"))
            polled(lambda got=got: got, client)
            other = threading.Thread(target=capi.nq_server_join, args=(server,))
            other.start()
            while other.is_alive():
                capi.nq_client_poll(client)
            other.join()
            capi.nq_client_destroy(client)
            assert len(got) == 20
            rounds += 1

    for _ in range(3):
        threads.start(work)
    threads.join()


def test_each_call_has_one_reply_when_its_loop_ends(net: Any, threads: Any, polled: Any) -> None:
    """Threads call into a loop while it is destroyed: none is lost between the queue and the end, none told twice."""
    server, port = net.serve(1, serve_echo)
    for _ in range(5):
        rpcs: list[Any] = []
        client = net.client(
            lambda m, rpcs=rpcs: capi.nq_hdmap_rpc_handler(
                m, "rpc", capi.nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r))
            )
        )
        net.connect(client, port, on_open=lambda conn, pctx: capi.nq_conn_rpc(conn, "rpc"))
        polled(lambda rpcs=rpcs: rpcs, client)
        told: list[list[int]] = [[0] * 500 for _ in range(3)]
        begun = threading.Barrier(4)

        def work(mine: list[int], rpc: Any = rpcs[0], begun: Any = begun) -> None:
            begun.wait(60)
            for i in range(len(mine)):

                def replied(rpc: Any, result: int, data: bytes, i: int = i) -> None:
                    mine[i] += 1

                capi.nq_rpc_call(rpc, 1, b"x", replied)

        for mine in told:
            threads.start(work, mine)
        begun.wait(60)
        capi.nq_client_poll(client)
        capi.nq_client_destroy(client)
        threads.join()
        assert told == [[1] * 500] * 3
    capi.nq_server_join(server)


def test_one_thread_at_a_time_runs_a_loop(threads: Any) -> None:
    """A second one is refused, and nothing is run twice."""
    loop = _naquid.Loop()
    ran: list[int] = []
    refused: list[bool] = []

    def work() -> None:
        for _ in range(300):
            try:
                loop.poll(0.0)
            except RuntimeError:
                refused.append(True)

    for _ in range(3):
        threads.start(work)
    for i in range(300):
        loop.post(ran.append, i)
    threads.join()
    loop.poll(0.0)
    assert ran == list(range(300))
    loop.close()
    with pytest.raises(naquid.Error):
        loop.poll(0.0)


def test_a_loop_is_closed_by_another_thread(threads: Any) -> None:
    """While it runs, polls or is posted to: it ends once, and whoever comes late is told so."""
    for round in range(30):
        loop = _naquid.Loop()
        started = threading.Barrier(3)

        def drive(loop: Any = loop, started: Any = started, run: bool = round % 2 == 0) -> None:
            started.wait(60)
            with contextlib.suppress(naquid.Error):
                if run:
                    loop.run()
                while not run:
                    loop.poll(0.0)

        def post(loop: Any = loop, started: Any = started) -> None:
            started.wait(60)
            while True:
                try:
                    loop.post(lambda: None)
                except naquid.Error:
                    break
            assert loop.closed

        threads.start(drive)
        threads.start(post)
        started.wait(60)
        time.sleep(random.choice([0, 0.001]))
        loop.close()
        threads.join()
        loop.close()
        assert loop.closed


def test_what_belongs_to_a_loops_thread_refuses_others(net: Any, threads: Any) -> None:
    loop = _naquid.Loop()
    errors: list[BaseException] = []

    def other() -> None:
        try:
            loop.now()
        except RuntimeError as error:
            errors.append(error)

    threads.start(other)
    threads.join()
    assert len(errors) == 1
    assert "thread" in str(errors[0])
    loop.close()


def test_event_loops_in_threads(net: Any, threads: Any) -> None:
    """Each thread has an asyncio event loop with a server and a client; they share handlers, and call each other's
    servers."""
    app = naquid.Handlers()
    ports: list[int] = []
    met = threading.Barrier(3)
    ports_done = threading.Barrier(3, action=ports.clear)

    @app.rpc("double")
    async def double(rpc: Any, type: int, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        return payload * 2

    @app.rpc("upper")
    def upper(rpc: Any, type: int, payload: bytes) -> bytes:
        return payload.upper()

    async def one_round() -> None:
        async with naquid.serve(app, "127.0.0.1", 0, cert=net.leaf.cert, key=net.leaf.key) as server:
            assert server.address is not None
            ports.append(server.address[1])
            await asyncio.to_thread(met.wait, 60)
            for port in list(ports):
                async with naquid.connect("127.0.0.1", port, ca=net.ca.ca) as conn:
                    rpc, other = await conn.open_rpc("double"), await conn.open_rpc("upper")
                    calls = [rpc.call(1, b"%d" % i) for i in range(30)]
                    assert await asyncio.gather(*calls) == [b"%d" % i * 2 for i in range(30)]
                    assert await other.call(1, b"abc") == b"ABC"
            await asyncio.to_thread(met.wait, 60)
        await asyncio.to_thread(met.wait, 60)

    def work() -> None:
        try:
            for _ in range(2):  # each with a new event loop
                asyncio.run(one_round())
                ports_done.wait(60)
        except BaseException:
            met.abort()
            ports_done.abort()
            raise

    for _ in range(3):
        threads.start(work)
    threads.join()
