"""Collections of handlers: one in another, names used twice, handlers that come too late."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from harness import Bench, Variant

import naquid


def join(rpc: Any, type: Any = None, payload: Any = None) -> Any:
    return b"join"


def leave(rpc: Any, type: Any = None, payload: Any = None) -> Any:
    return b"leave"


async def talk(stream: Any) -> None:
    await stream.send(b"talk")


def hear(conn: Any, data: Any = None) -> Any:
    conn.send_datagram(data[::-1])


def batch(requests: naquid.RpcBatch) -> list[bytes | naquid.RpcError | None]:
    return [b"batch"] * len(requests)


def test_all_handlers_of_another_one(run: Variant, bench: Bench) -> None:
    met: list[str] = []
    app, chat = naquid.Handlers(), naquid.Handlers()
    app.rpc("join")(join)
    chat.rpc("leave")(leave)
    chat.rpc_batch("many")(batch)
    chat.rpc_notify("join")(lambda rpc, type, payload: met.append("notified"))
    chat.stream("talk")(talk)
    chat.datagram(hear)
    chat.on_connect(lambda conn: met.append("connected"))
    app.on_disconnect(lambda conn, error: met.append("gone"))
    app.include(chat)

    @app.rpc("after")
    def after(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return b"after"

    async def main() -> None:
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("join")
            rpc.notify(1)
            assert await rpc.call(1) == b"join"
            for name in ("leave", "after"):
                assert await (await conn.open_rpc(name)).call(1) == name.encode()
            assert await (await conn.open_rpc("many")).call(1) == b"batch"
            stream = await conn.open_stream("talk")
            await stream.send(b"")
            assert await stream.recv() == b"talk"

    run(main)
    assert met == ["connected", "notified", "gone"]


TWICE: list[tuple[Callable[[naquid.Handlers], Any], Callable[[naquid.Handlers], Any], str, str]] = [
    (lambda a: a.rpc("x")(join), lambda a: a.rpc("x")(leave), "test_include.join", "test_include.leave"),
    (lambda a: a.rpc("x")(join), lambda a: a.rpc_batch("x")(batch), "test_include.join", "test_include.batch"),
    (lambda a: a.rpc_notify("x")(join), lambda a: a.rpc_notify("x")(leave), "test_include.join", "test_include.leave"),
    (lambda a: a.stream("x")(talk), lambda a: a.stream("x")(hear), "test_include.talk", "test_include.hear"),
    (lambda a: a.raw_stream("x")(talk), lambda a: a.raw_stream("x")(hear), "test_include.talk", "test_include.hear"),
    (lambda a: a.raw_stream(talk), lambda a: a.raw_stream(hear), "test_include.talk", "test_include.hear"),
    (lambda a: a.uni_stream(talk), lambda a: a.uni_stream(hear), "test_include.talk", "test_include.hear"),
    (lambda a: a.datagram(hear), lambda a: a.datagram(leave), "test_include.hear", "test_include.leave"),
    (lambda a: a.on_connect(hear), lambda a: a.on_connect(leave), "test_include.hear", "test_include.leave"),
    (lambda a: a.on_disconnect(hear), lambda a: a.on_disconnect(leave), "test_include.hear", "test_include.leave"),
    (lambda a: a.rpc_native("x", 1), lambda a: a.rpc_native("x", 2), " 1 ", " 2:"),
    (lambda a: a.stream_native("x", 1), lambda a: a.stream_native("x", 2), " 1 ", " 2:"),
    (lambda a: a.datagram_native(1), lambda a: a.datagram_native(2), " 1 ", " 2:"),
]


@pytest.mark.parametrize(("first", "second", "one", "other"), TWICE)
def test_the_same_twice(first: Any, second: Any, one: str, other: str) -> None:
    """Both are named, whether they come one by one or by include(), which then has added nothing."""
    app = naquid.Handlers()
    first(app)
    with pytest.raises(naquid.ConfigError) as caught:
        second(app)
    assert one in str(caught.value)
    assert other in str(caught.value)
    more = naquid.Handlers()
    second(more)
    more.rpc("unrelated")(join)
    with pytest.raises(naquid.ConfigError) as caught:
        app.include(more)
    assert one in str(caught.value)
    assert other in str(caught.value)
    app.rpc("unrelated")(join)


def test_one_name_of_two_kinds() -> None:
    app, more = naquid.Handlers(), naquid.Handlers()
    app.rpc("x")(join)
    more.stream("x")(talk)
    with pytest.raises(naquid.ConfigError, match=r"'x'.*test_include\.join and test_include\.talk"):
        app.include(more)


def test_a_native_handler_beside_one_in_python(run_once: Variant, bench: Bench) -> None:
    """The same name may have both: what the table of functions leaves out goes to the other."""
    app, more = naquid.Handlers(), naquid.Handlers()
    app.rpc("x")(join)
    more.rpc_native("x", object())
    app.include(more)
    assert app._requests["x"] is join
    with pytest.raises(naquid.ConfigError, match=r"test_include\.join and test_include\.leave"):
        app.rpc("x")(leave)


def test_what_include_does_not_take() -> None:
    app: Any = naquid.Handlers()
    wrongs: list[Any] = [None, {}, naquid.Handlers]
    for wrong in wrongs:
        with pytest.raises(naquid.ConfigError, match=r"include\(\) takes a naquid\.Handlers"):
            app.include(wrong)
    with pytest.raises(naquid.ConfigError, match="not the same one"):
        app.include(app)


LATE: list[Callable[[naquid.Handlers], Any]] = [
    lambda a: a.rpc("late")(join),
    lambda a: a.rpc_batch("late")(batch),
    lambda a: a.rpc_notify("late")(join),
    lambda a: a.rpc_native("late", 1),
    lambda a: a.stream("late")(talk),
    lambda a: a.stream_native("late", 1),
    lambda a: a.raw_stream("late")(talk),
    lambda a: a.raw_stream(talk),
    lambda a: a.uni_stream(talk),
    lambda a: a.datagram(hear),
    lambda a: a.datagram_native(1),
    lambda a: a.on_connect(hear),
    lambda a: a.on_disconnect(hear),
    lambda a: a.include(naquid.Handlers()),
]


def test_too_late(run: Variant, bench: Bench) -> None:
    """A handler that nobody would ever call is an error that says who has used the collection."""
    app, client_app, part = naquid.Handlers(), naquid.Handlers(), naquid.Handlers()
    app.include(part)

    async def main() -> None:
        async with bench.pair(app, client_app):
            pass

    run(main)
    for used, who in ((app, r"serve\(\)"), (client_app, r"connect\(\)"), (part, r"include\(\)")):
        for add in LATE:
            with pytest.raises(naquid.ConfigError, match=rf"too late: {who} has used these handlers"):
                add(used)


def test_used_again(run_once: Variant, bench: Bench) -> None:
    """The same collection serves more than once; a copy of it can be added to, and leaves it alone."""
    app = naquid.Handlers()
    app.rpc("join")(join)

    async def main() -> None:
        async with bench.serve(app), bench.pair(app, app) as (_, conn):
            assert await (await conn.open_rpc("join")).call(1) == b"join"
        other = copy.copy(app)
        other.rpc("leave")(leave)
        async with bench.pair(other) as (_, conn):
            assert await (await conn.open_rpc("join")).call(1) == b"join"
            assert await (await conn.open_rpc("leave")).call(1) == b"leave"
        assert list(app._requests) == ["join"]

    run_once(main)
