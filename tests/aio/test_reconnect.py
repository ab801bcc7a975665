"""Connections that come back after they were lost."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any

import pytest
from harness import HOST, Bench, Variant, free_port, until
from reconnecting import QUICK, echo_app, stop

import naquid
import naquid.client
from naquid import ConnectionState as State


class Watch:
    """The states of a connection, as they come."""

    def __init__(self, conn: naquid.Connection) -> None:
        self.seen: list[State] = []
        self.task = asyncio.ensure_future(self._run(conn))

    async def _run(self, conn: naquid.Connection) -> None:
        async for state in conn.states():
            self.seen.append(state)


def test_comes_back(run: Variant, bench: Bench) -> None:
    """A server that is restarted: calls in flight fail, opening waits, states() tells."""

    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        events: list[Any] = []
        app = naquid.Handlers()
        app.on_connect(lambda conn: events.append("on"))
        app.on_disconnect(lambda conn, error: events.append(error))
        async with bench.connect(port, app, reconnect=QUICK) as conn:
            watch = Watch(conn)
            rpc = await conn.open_rpc("echo")
            stream = await conn.open_stream("records")
            assert await rpc.call(1, b"one") == b"one"
            await stream.send(b"record")
            assert await stream.recv() == b"record"
            never = await conn.open_rpc("never")
            waiting = asyncio.ensure_future(never.call(1, b""))
            await asyncio.sleep(0.01)
            server.close()
            with pytest.raises(naquid.ConnectionLost) as lost:
                await waiting
            assert lost.value.code == 8
            assert lost.value.remote
            assert not conn.is_closed
            assert not conn.is_open
            assert conn.state in (State.WAITING, State.CONNECTING)
            assert isinstance(conn.error, naquid.ConnectionLost)
            new = asyncio.ensure_future(rpc.call(1, b"new"))
            with pytest.raises(naquid.ConnectionLost):
                rpc.notify(1, b"two")
            with pytest.raises(naquid.ConnectionLost):
                rpc.call_soon(1, b"two", print)
            with pytest.raises(naquid.ConnectionLost):
                rpc.call_many(1, [b"two"])
            with pytest.raises(naquid.ConnectionLost):
                await stream.send(b"two")
            with pytest.raises(naquid.ConnectionLost):
                await stream.recv()
            with pytest.raises(naquid.ConnectionLost):
                await stream.drain()
            with pytest.raises(naquid.ConnectionLost):
                await conn.ping()
            with pytest.raises(naquid.ConnectionLost):
                conn.send_datagram(b"two")
            with pytest.raises(naquid.ConnectionLost):
                conn.stats()
            opening = [asyncio.ensure_future(conn.open_rpc("echo")) for _ in range(3)]
            await server.wait_closed()
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in [*opening, new])
            async with bench.serve(echo_app(), port=port):
                fresh = [await task for task in opening]
                for one in fresh:
                    assert await one.call(1, b"three") == b"three"
                assert conn.is_open
                assert conn.error is None
                assert conn.state is State.OPEN
                assert conn.state == "open"
                assert conn.stats().streams >= 3
                assert await conn.ping() > 0
                assert await new == b"new"
                assert await rpc.call(1, b"four") == b"four"
                with pytest.raises(naquid.ConnectionLost):
                    await stream.send(b"four")
                assert len(events) == 3
                assert events[0] == events[2] == "on"
                assert isinstance(events[1], naquid.ConnectionLost)
                await conn.close()
                await watch.task
        assert conn.error is None
        assert watch.seen[:2] == [State.OPEN, State.WAITING]
        assert watch.seen[-3:] == [State.OPEN, State.CLOSING, State.CLOSED]
        assert set(watch.seen[2:-3]) == {State.CONNECTING, State.WAITING} or watch.seen[2:-3] == [State.CONNECTING]
        assert [async_state async for async_state in conn.states()] == [State.CLOSED]
        assert events[3] is None
        assert len(events) == 4

    run(main)


def test_an_rpc_stream_comes_back(run: Variant, bench: Bench) -> None:
    """Calls on the old object: those made while the connection is away wait, at most for their timeout; later ones go
    over one new stream. What is closed stays closed."""

    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        async with bench.connect(port, reconnect=QUICK) as conn:
            rpc, closed, dropped = [await conn.open_rpc("echo") for _ in range(3)]
            never = await conn.open_rpc("never", call_timeout=0.02)
            for one in (rpc, closed, dropped):
                assert await one.call(1, b"one") == b"one"
            closed.close()
            for _life in range(2):
                await stop(server)
                await until(lambda: not conn.is_open)
                dropped.close()
                for one in (closed, dropped):
                    with pytest.raises(naquid.ConnectionLost):
                        await one.call(1, b"two")
                with pytest.raises(naquid.CallTimeout, match="did not come back"):
                    await rpc.call(1, b"two", timeout=0.01)
                with pytest.raises(naquid.CallTimeout, match="did not come back"):
                    await never.call(1)
                for bad in (0, 40000):
                    with pytest.raises(ValueError, match="request type"):
                        await rpc.call(bad, b"two")
                with pytest.raises(ValueError, match="above 0"):
                    await rpc.call(1, b"two", timeout=0)
                with pytest.raises(TypeError):
                    await rpc.call(1, "two")
                payload = bytearray(b"copied")
                waiting = asyncio.ensure_future(rpc.call(1, payload))
                cancelled = asyncio.ensure_future(rpc.call(1, b"three"))
                payload[:] = b"change"
                await asyncio.sleep(0)
                cancelled.cancel()
                server = await bench.serve(echo_app(), port=port)
                assert await waiting == b"copied"
                assert cancelled.cancelled()
                assert await rpc.call_many(1, [b"a", b"b"]) == [b"a", b"b"]
                soon = asyncio.get_running_loop().create_future()
                rpc.call_soon(1, b"soon", lambda result, data, soon=soon: soon.set_result(data))
                rpc.notify(1, b"note")
                assert await rpc.call(1, b"four") == b"four"
                assert soon.result() == b"soon"
                assert conn.stats().streams <= 2
                with pytest.raises(naquid.CallTimeout):
                    await never.call(1)
            rpc.close()
            with pytest.raises(naquid.ConnectionLost):
                await rpc.call(1, b"five")
        with pytest.raises(naquid.ConnectionLost):
            await never.call(1)
        await server.shutdown()

    run(main)


def test_many_lives(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        async with bench.connect(port, reconnect=QUICK) as conn:
            for life in range(5):
                rpc = await conn.open_rpc("echo")
                assert await rpc.call(1, b"%d" % life) == b"%d" % life
                await stop(server)
                server = await bench.serve(echo_app(), port=port)
            await conn.wait_open()
            assert conn.is_open
        await server.shutdown()

    run(main)


@pytest.mark.parametrize("when", ["waiting", "connecting"])
@pytest.mark.parametrize("how", ["close", "abort"])
def test_close_while_it_is_away(run: Variant, bench: Bench, when: str, how: str) -> None:
    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        backoff = QUICK if when == "connecting" else naquid.Backoff(initial=1000, maximum=1000)
        conn = await bench.connect(port, reconnect=backoff)
        await stop(server)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:  # an attempt lasts, once it goes there
            silent.bind((HOST, port))
            silent.setblocking(False)
            if when == "connecting":
                await asyncio.to_thread(select.select, [silent], [], [])
            await close_and_look(conn, when, how)

    async def close_and_look(conn: naquid.Connection, when: str, how: str) -> None:
        await until(lambda: conn.state is State(when))
        opening = asyncio.ensure_future(conn.open_stream("records"))
        watch = Watch(conn)
        await asyncio.sleep(0)
        if how == "close":
            await conn.close(5, "enough")
        else:
            conn.abort(5, "enough")
            await conn.wait_closed()
        assert conn.is_closed
        assert isinstance(conn.error, naquid.ConnectionLost)
        assert (conn.error.code, conn.error.reason, conn.error.remote) == (5, "enough", False)
        with pytest.raises(naquid.ConnectionLost) as error:
            await opening
        assert error.value.code == 5
        await watch.task
        assert watch.seen == [State(when), State.CLOSING, State.CLOSED]

    run(main)


def test_gives_up(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        backoff = naquid.Backoff(initial=0.01, maximum=0.02, attempts=2)
        limits = naquid.Limits(handshake_timeout=0.2)
        conn = await bench.connect(port, reconnect=backoff, limits=limits)
        watch = Watch(conn)
        await asyncio.sleep(0)
        opening = None
        await stop(server)
        await until(lambda: not conn.is_open)
        opening = asyncio.ensure_future(conn.open_rpc("echo"))
        await conn.wait_closed()
        assert isinstance(conn.error, naquid.ConnectionLost)
        assert "after 2 attempts" in str(conn.error)
        assert isinstance(conn.error.__cause__, naquid.HandshakeFailed)
        with pytest.raises(naquid.ConnectionLost, match="after 2 attempts"):
            await opening
        with pytest.raises(naquid.ConnectionLost, match="after 2 attempts"):
            await conn.open_rpc("echo")
        await watch.task
        assert watch.seen == [State.OPEN, *[State.WAITING, State.CONNECTING] * 2, State.WAITING, State.CLOSED]

    run(main)


def test_a_certificate_that_is_refused_is_waited_out(run: Variant, bench: Bench, other_ca: Any) -> None:
    """Somebody else's certificate on the port for a while: an operator's mistake, mended while clients run."""

    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        wrong = other_ca.issue()
        async with bench.connect(port, reconnect=QUICK) as conn:
            await stop(server)
            async with naquid.serve(echo_app(), HOST, port, cert=wrong.cert, key=wrong.key):
                await until(lambda: isinstance(conn.error, naquid.HandshakeFailed))
                assert conn.error.alert == 48  # unknown_ca
                assert not conn.is_closed
            async with bench.serve(echo_app(), port=port):
                rpc = await conn.open_rpc("echo")
                assert await rpc.call(1, b"back") == b"back"

    run(main)


def test_the_first_attempt_is_not_repeated(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        with pytest.raises(naquid.HandshakeFailed):
            await bench.connect(free_port(), reconnect=QUICK, limits=naquid.Limits(handshake_timeout=0.1))

    run(main)


def test_a_close_in_order_by_the_peer_is_the_end(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(echo_app()) as server, bench.connect(server.port, reconnect=QUICK) as conn:
            await until(lambda: server.connections)
            (accepted,) = server.connections
            await accepted.close(0)
            await conn.wait_closed()
            assert conn.error is None

    run(main)


@pytest.mark.parametrize("code", [1, 99])
def test_a_close_with_a_code_by_the_peer_is_a_loss(run: Variant, bench: Bench, code: int) -> None:
    async def main() -> None:
        async with bench.serve(echo_app()) as server, bench.connect(server.port, reconnect=QUICK) as conn:
            await until(lambda: server.connections)
            (accepted,) = server.connections
            watch = Watch(conn)
            await accepted.close(code, "go")
            await until(lambda: len(watch.seen) > 1)
            await until(lambda: conn.is_open)
            assert await (await conn.open_rpc("echo")).call(1, b"x") == b"x"
            watch.task.cancel()

    run(main)


def test_the_name_is_resolved_again(run: Variant, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that moves, and a resolver that fails for a while."""
    asked: list[str] = []
    answers: list[Any] = []

    async def getaddrinfo(host: str, port: int, **kwargs: Any) -> list[Any]:
        asked.append(host)
        answer = answers[0] if len(answers) == 1 else answers.pop(0)
        if answer is None:
            raise socket.gaierror(socket.EAI_AGAIN, "later")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port)) for address in answer]

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
        answers[:] = [["127.0.0.1"]]
        server = await bench.serve(echo_app(), host="127.0.0.1")
        port = server.port
        limits = naquid.Limits(handshake_timeout=0.2)
        async with bench.connect(port, host="localhost", reconnect=QUICK, limits=limits) as conn:
            assert conn.remote_address == ("127.0.0.1", port)
            answers[:] = [None, None, ["127.0.0.1", "127.0.0.2"]]
            await stop(server)
            async with bench.serve(echo_app(), host="127.0.0.2", port=port):
                rpc = await conn.open_rpc("echo")
                assert await rpc.call(1, b"moved") == b"moved"
                assert conn.remote_address == ("127.0.0.2", port)
                assert len(asked) >= 4

    if run.loop == "uvloop":
        pytest.skip("a uvloop has no attributes to replace")
    run(main)


def test_cancelled_opening_while_it_is_away(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        async with bench.connect(port, reconnect=QUICK) as conn:
            await stop(server)
            await until(lambda: not conn.is_open)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await conn.open_rpc("echo")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await conn.wait_open()
            async with bench.serve(echo_app(), port=port):
                assert await (await conn.open_rpc("echo")).call(1, b"x") == b"x"

    run(main)


def test_callbacks_of_calls_in_flight(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        results: list[int] = []
        async with bench.connect(port, reconnect=QUICK) as conn:
            rpc = await conn.open_rpc("never")
            for _ in range(100):
                rpc.call_soon(1, b"", lambda result, payload: results.append(result))
            await asyncio.sleep(0.02)
            server.close()
            await until(lambda: len(results) == 100)
            assert set(results) == {naquid.EGOAWAY}
            await server.wait_closed()

    run(main)


def test_cancel_of_a_call_from_before(run: Variant, bench: Bench) -> None:
    """A message ID from before a loss names no call that was made after it."""

    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        results: list[int] = []
        told: list[int] = []
        async with bench.connect(port, reconnect=QUICK) as conn:
            rpc = await conn.open_rpc("echo")
            for life in range(3):
                old = told[:]
                told += [rpc.call_soon(1, b"", lambda result, payload: results.append(result)) for _ in range(3)]
                assert not any(rpc.cancel(msgid) for msgid in old)
                await until(lambda life=life: len(results) == 3 * life + 3)
                await stop(server)
                await until(lambda: not conn.is_open)
                server = await bench.serve(echo_app(), port=port)
                await conn.wait_open()
            last = rpc.call_soon(1, b"", lambda result, payload: results.append(result))
            assert rpc.cancel(last)
            assert not rpc.cancel(last)
            assert results == [naquid.OK] * 9
            await stop(server)

    run(main)


def test_on_disconnect_may_close_for_good(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        server = await bench.serve(echo_app())
        app = naquid.Handlers()
        app.on_disconnect(lambda conn, error: conn.abort(3))
        conn = await bench.connect(server.port, app, reconnect=QUICK)
        await stop(server)
        await conn.wait_closed()
        assert conn.error.code == 3

    run(main)


def test_a_short_life_is_a_failed_attempt() -> None:
    """A server that takes connections and ends them at once is backed off from, too."""

    class Lost:
        error = None

    async def main() -> None:
        async def resolve() -> list[tuple[str, int]]:
            return [(HOST, 1)]

        class Conn(Lost):
            async def _reconnect(self, host: str, port: int) -> None:
                return None

            def _end(self, error: BaseException) -> None:
                ended.append(error)

        ended: list[BaseException] = []
        conn: Any = Conn()
        backoff = naquid.Backoff(initial=0.01, maximum=0.01, factor=1, jitter=0, attempts=3)
        reconnector = naquid.reconnect.Reconnector(backoff, resolve)
        for _ in range(3):
            reconnector.lost(conn)
            assert reconnector._task is not None
            await asyncio.wait_for(reconnector._task, 10)
            reconnector._waited = 1000.0  # it has lasted less than this
            assert not ended
        reconnector.lost(conn)
        assert reconnector._task is not None
        await asyncio.wait_for(reconnector._task, 10)
        assert "after 3 attempts" in str(ended[0])

    asyncio.run(main())


def test_delays() -> None:
    backoff = naquid.Backoff(initial=0.5, maximum=4, factor=2, jitter=0)
    assert [backoff.delay(n) for n in (1, 2, 3, 4, 5, 1000)] == [0.5, 1, 2, 4, 4, 4]
    backoff = naquid.Backoff(initial=1, maximum=1, jitter=0.5)
    delays = [backoff.delay(1) for _ in range(1000)]
    assert 0.5 <= min(delays) < 0.6
    assert 0.9 < max(delays) <= 1


@pytest.mark.parametrize(
    "field",
    [
        {"initial": -1},
        {"initial": float("nan")},
        {"maximum": 0.01},
        {"factor": 0.5},
        {"factor": float("inf")},
        {"jitter": 1.5},
        {"jitter": -0.1},
        {"attempts": 0},
        {"attempts": 1.5},
    ],
)
def test_backoff_is_checked(field: dict[str, Any]) -> None:
    with pytest.raises(naquid.ConfigError, match=next(iter(field))):
        naquid.Backoff(**field)


def test_reconnect_is_a_backoff() -> None:
    bad: Any = 5
    with pytest.raises(naquid.ConfigError, match="Backoff"):
        naquid.ClientConfig(reconnect=bad)


def test_states_of_a_connection_that_does_not_come_back(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(echo_app()) as server:
            conn = await bench.connect(server.port)
            await until(lambda: server.connections)
            (accepted,) = server.connections
            ours, theirs = Watch(conn), Watch(accepted)
            await asyncio.sleep(0)
            await conn.close()
            await ours.task
            await theirs.task
            assert ours.seen == [State.OPEN, State.CLOSING, State.CLOSED]
            assert theirs.seen == [State.OPEN, State.CLOSED]

    run(main)
