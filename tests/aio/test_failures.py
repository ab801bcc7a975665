"""What handlers raise: in the log with all that tells where, in on_error, and at the caller as a failure, no more."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from harness import Bench, OnSim, Unraisable, Variant, until

import naquid
from naquid import logs

FAILED = b"the peer's handler failed"


class Records(logging.Handler):
    """The records of the logger, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.got.append(record)

    def errors(self) -> list[logging.LogRecord]:
        return [record for record in self.got if record.levelno == logging.ERROR]


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    logs.logger.addHandler(handler)
    yield handler
    logs.logger.removeHandler(handler)


class Told(list[tuple[Exception, naquid.ErrorInfo]]):
    """What on_error is told."""

    def app(self) -> naquid.Handlers:
        app = naquid.Handlers()
        app.on_error(lambda error, info: self.append((error, info)))
        return app


def failing_app(told: Told) -> naquid.Handlers:
    """A handler of each kind, each with an error of its own."""
    app = told.app()

    def fail(text: str) -> Any:
        raise ArithmeticError(text)

    async def fail_late(text: str) -> Any:
        await asyncio.sleep(0)
        raise ArithmeticError(text)

    app.rpc("plain")(lambda rpc, type, payload: fail("plain"))
    app.rpc("late")(lambda rpc, type, payload: fail_late("late"))
    app.rpc("wrong")(lambda rpc, type, payload: 1.5)  # type: ignore[type-var]
    app.rpc_batch("batch")(lambda batch: fail("batch"))
    app.rpc_notify("plain")(lambda rpc, type, payload: fail("notify"))
    app.rpc_notify("late")(lambda rpc, type, payload: fail_late("notify late"))
    app.stream("plain stream")(lambda stream: fail("plain stream"))
    app.stream("late stream")(lambda stream: fail_late("late stream"))

    @app.raw_stream("raw")
    async def raw(stream: naquid.RawStream) -> None:
        raise ArithmeticError("raw")

    app.datagram(lambda conn, data: fail("datagram"))
    app.on_disconnect(lambda conn, error: fail("gone"))
    return app


def test_every_kind_of_handler(
    run: Variant, bench: Bench, records: Records, unraisable: Unraisable, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    hook: list[Any] = []

    async def main() -> None:
        monkeypatch.setattr(sys, "unraisablehook", hook.append)
        async with bench.pair(failing_app(told)) as (server, conn):
            await until(lambda: server.connections)
            peer = next(iter(server.connections))
            address = peer.remote_address
            for name in ("plain", "late", "wrong", "batch"):
                rpc = await conn.open_rpc(name)
                with pytest.raises(naquid.RpcError) as caught:
                    await rpc.call(7)
                assert (caught.value.code, caught.value.payload) == (naquid.EUSER, FAILED)
            for name in ("plain", "late"):
                (await conn.open_rpc(name)).notify(8)
            for name in ("plain stream", "late stream"):
                stream = await conn.open_stream(name)
                await stream.send(b"")
                with pytest.raises(naquid.StreamReset) as reset:
                    await stream.recv()
                assert reset.value.code == 7
            raw = await conn.open_raw_stream("raw")
            raw.write(b"x")
            with pytest.raises(naquid.StreamReset):
                await raw.read()
            conn.send_datagram(b"x")
            await until(lambda: len(told) == 10)
        await until(lambda: len(told) == 11)
        found = {str(error): info for error, info in told}
        assert set(found) == {
            *("plain", "late", "batch", "notify", "notify late", "plain stream", "late stream", "raw", "datagram"),
            "gone",
            *(text for text in found if "float" in text),
        }
        assert all(info.conn is peer for info in found.values())
        names = {text: None if info.stream is None else info.stream.name for text, info in found.items()}
        assert names["notify late"] == "late"
        assert names["batch"] == "batch"
        assert names["raw"] == "raw"
        assert names["datagram"] is names["gone"] is None
        types = {text: info.type for text, info in found.items()}
        assert (types["plain"], types["late"], types["notify"], types["notify late"]) == (7, 7, 8, 8)
        assert types["batch"] is types["raw"] is types["datagram"] is None
        assert address is not None
        logged = {str(record.exc_info[1]): record for record in records.errors() if record.exc_info}
        assert set(logged) == set(found)
        for text, record in logged.items():
            assert record.name == "naquid"
            assert f"peer {address[0]}:{address[1]}" in record.getMessage()
            assert record.naquid_peer == address  # type: ignore[attr-defined]
            assert record.naquid_stream == names[text]  # type: ignore[attr-defined]
            assert record.naquid_type == types[text]  # type: ignore[attr-defined]
            assert record.exc_info is not None
            assert record.exc_info[2] is not None or "float" in text
        assert "handler test_failures.failing_app.<locals>.<lambda> failed" in logged["plain"].getMessage()
        assert "stream 'plain' (ID " in logged["plain"].getMessage()
        assert "type 7" in logged["plain"].getMessage()
        assert "fail_late" in logged["late stream"].getMessage()

    run(main)
    unraisable.take()
    assert hook == []  # handlers have nothing to do with it


def test_on_connect_and_a_client(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    """The handlers of a client are told of alike; on_connect belongs to no stream, and refuses the connection."""
    told, client_told = Told(), Told()
    app, client_app = told.app(), client_told.app()
    fails = False

    @app.on_connect
    def hello(conn: naquid.Connection) -> None:
        if fails:
            raise LookupError("hello")

    @app.rpc("ask")
    async def ask(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        try:
            return await rpc.call(3)
        except naquid.RpcError as error:
            return error.payload

    @client_app.rpc("ask")
    def asked(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        raise LookupError("asked")

    async def main() -> None:
        nonlocal fails
        server = await bench.serve(app)
        async with bench.connect(server.port, client_app) as conn:
            rpc = await conn.open_rpc("ask")
            assert await rpc.call(1) == FAILED
            assert [(str(error), info.conn, info.stream, info.type) for error, info in client_told] == [
                ("asked", conn, rpc, 3)
            ]
        fails = True
        refused = asyncio.ensure_future(bench.connect(server.port)._connect())
        await until(lambda: told)
        assert (told[0][1].stream, told[0][1].type, told[0][1].handler) == (None, None, hello)
        await asyncio.wait([refused])
        if refused.exception() is None:  # it had opened before the refusal came
            await refused.result().wait_closed()
        await server.shutdown()

    run(main)
    unraisable.take()


def test_a_thousand_alike_are_one_record(
    run_sim: OnSim, bench: Bench, records: Records, unraisable: Unraisable
) -> None:
    """By the event loop's clock; on_error is told of each."""
    told = Told()
    app = told.app()

    @app.rpc("broken")
    def broken(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        if type == 2:
            raise KeyError(type)
        raise ValueError(payload)

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("broken")
            await rpc.call_many(1, [b"%d" % i for i in range(1000)], return_exceptions=True)
            await rpc.call_many(2, [b""], return_exceptions=True)  # of another kind
            assert [record.exc_info is not None for record in records.errors()] == [True, True]
            await asyncio.sleep(1.1)
            assert len(records.errors()) == 3
            assert records.errors()[2].naquid_count == 999  # type: ignore[attr-defined]
            assert "999 more within 1 s: ValueError in handler" in records.errors()[2].getMessage()
            await asyncio.sleep(2)  # a second in which nothing came: the next is told at once
            assert len(records.errors()) == 3
            for _ in range(3):
                await rpc.call_many(1, [b""], return_exceptions=True)
            assert len(records.errors()) == 4
        # what was counted when the event loop's last user left is told then

    run_sim(main)
    assert len(told) == 1004
    assert len(unraisable.take()) == 1004
    assert [record.naquid_count for record in records.errors() if not record.exc_info] == [999, 2]  # type: ignore[attr-defined]


def test_kinds_are_bounded(run_sim: OnSim, bench: Bench, records: Records, unraisable: Unraisable) -> None:
    """Errors of ever new types, as a handler may make them of what its peer sends, cost no more than so many."""
    app = naquid.Handlers()

    @app.rpc("broken")
    def broken(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        raise __builtins__["type"](f"Error{payload!r}", (Exception,), {})("new")  # type: ignore[index]

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("broken")
            await rpc.call_many(1, [b"%d" % i for i in range(1000)], return_exceptions=True)
            assert len(records.errors()) == logs.MOST + 1
            await asyncio.sleep(1.1)
            assert records.errors()[-1].getMessage().startswith("743 more within 1 s: failures of other kinds")

    run_sim(main)
    assert len(unraisable.take()) == 1000


@pytest.mark.parametrize("coroutine", [False, True])
def test_on_error_that_raises(
    run: Variant, bench: Bench, records: Records, unraisable: Unraisable, coroutine: bool
) -> None:
    """Its own failure is logged, is told to nobody, and costs the caller nothing."""
    app = naquid.Handlers()
    calls: list[str] = []

    def fail(error: Exception, info: naquid.ErrorInfo) -> None:
        calls.append(str(error))
        raise LookupError("in on_error")

    async def fail_late(error: Exception, info: naquid.ErrorInfo) -> None:
        await asyncio.sleep(0)
        fail(error, info)

    app.on_error(fail_late if coroutine else fail)

    @app.rpc("broken")
    def broken(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        raise ValueError("broken")

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("broken")
            with pytest.raises(naquid.RpcError, match="handler failed"):
                await rpc.call(1)
            await until(lambda: len(records.errors()) == 2)
            assert calls == ["broken"]
            assert "fail" in records.errors()[1].getMessage()

    run(main)
    assert [str(error) for error in unraisable.take()] == ["broken", "in on_error"]


def test_what_is_no_handlers(run: Variant, bench: Bench, records: Records, unraisable: Unraisable) -> None:
    """A callback of call_soon is none of the handlers: it is reported as Python reports what nobody can catch."""
    app = naquid.Handlers()
    app.rpc("echo")(lambda rpc, type, payload: payload)

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("echo")
            rpc.call_soon(1, b"", lambda result, payload: 1 / 0)
            await until(lambda: unraisable)
            assert isinstance(unraisable.take()[0], ZeroDivisionError)
            assert records.errors() == []

    run(main)
