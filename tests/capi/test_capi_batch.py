"""Extensions: all requests of a tick in one call, all replies of many calls in another."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import naquid
import naquid.capi as capi
from naquid.capi import (
    NQ_EALLOC,
    NQ_EGOAWAY,
    NQ_ENOTSUPPORT,
    NQ_ETIMEOUT,
    NQ_EUSER,
    NQ_OK,
    extensions,
    nq_conn_close,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_close,
    nq_rpc_conn,
    nq_rpc_error,
    nq_rpc_handler_t,
    nq_rpc_is_valid,
    nq_rpc_notify,
    nq_rpc_reply,
    nq_rpc_t,
    nq_svconf_t,
    nq_time_msec,
    nq_time_sec,
)
from naquid.capi.extensions import (
    nq_hdmap_rpc_batch_handler,
    nq_on_rpc_batch_t,
    nq_on_rpc_replies_t,
    nq_rpc_batch_handler_t,
    nq_rpc_call_many,
)


def serve_batches(on_rpc_batch: nq_on_rpc_batch_t, **more: Any) -> Any:
    return lambda m: nq_hdmap_rpc_batch_handler(m, "rpc", nq_rpc_batch_handler_t(on_rpc_batch, **more))


def open_rpcs(world: Any, count: int = 1, **handler: Any) -> list[Any]:
    """RPC streams of a client, one of each of `count` connections."""
    rpcs: list[Any] = []
    made = nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r), **handler)
    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", made))
    for _ in range(count):
        world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(lambda: len(rpcs) == count)
    return rpcs


class Answers:
    """The replies to single calls, by number."""

    def __init__(self, world: Any, rpc: Any) -> None:
        self.world = world
        self.rpc = rpc
        self.got: dict[int, tuple[int, bytes]] = {}

    def call(self, *types: int, data: bytes = b"") -> Answers:
        for type_ in types:
            number = len(self.got)
            self.got[number] = (1, b"")  # no result yet

            def on_reply(rpc: Any, result: int, data: bytes, number: int = number) -> None:
                assert self.got[number] == (1, b"")
                self.got[number] = (result, data)

            nq_rpc_call(self.rpc, type_, data or b"%d" % number, on_reply)
        return self

    def all(self) -> list[tuple[int, bytes]]:
        self.world.until(lambda: all(result <= 0 for result, _ in self.got.values()))
        return list(self.got.values())


# ---- batch handlers ----


def test_requests_of_a_tick_come_in_one_call(world: Any) -> None:
    """Of every connection of a worker, in the thread of that worker, each answered with its own reply, in order."""
    batches: dict[int, list[tuple[int, int]]] = {}
    sent = threading.Event()

    def on_batch(rpcs: list[Any], types: list[int], msgids: list[int], datas: list[bytes]) -> list[bytes]:
        assert len(rpcs) == len(types) == len(msgids) == len(datas)
        assert all(type(rpc) is nq_rpc_t for rpc in rpcs)
        batches.setdefault(threading.get_ident(), []).append((len(rpcs), len(set(rpcs))))
        assert sent.wait(20)  # so that all the others come in the next tick
        return [b"%d %d " % (type_, msgid) + data for type_, msgid, data in zip(types, msgids, datas, strict=True)]

    world.serve(serve_batches(on_batch))
    rpcs = open_rpcs(world, 16)
    got: dict[Any, list[Any]] = {rpc: [] for rpc in rpcs}
    for number in range(200):
        for rpc in rpcs:
            nq_rpc_call(rpc, number + 1, b"%d" % number, lambda r, result, d: got[r].append((result, d)))
    for _ in range(3):
        capi.nq_client_poll(world.clients[0])
    sent.set()
    world.until(lambda: all(len(replies) == 200 for replies in got.values()))
    for replies in got.values():
        assert replies == [(NQ_OK, b"%d %d %d" % (n + 1, n + 1, n)) for n in range(200)]
    assert threading.get_ident() not in batches
    assert len(batches) == world.workers
    sizes = [batch for each in batches.values() for batch in each]
    assert sum(size for size, _ in sizes) == 16 * 200
    assert len(sizes) < 16 * 200 / 4
    assert max(streams for _, streams in sizes) > 1


def test_errors_and_later_replies(world: Any) -> None:
    """None for a request leaves its answer to nq_rpc_error or nq_rpc_reply, at once or later, from any thread."""
    waiting: list[Any] = []

    def on_batch(rpcs: list[Any], types: list[int], msgids: list[int], datas: list[bytes]) -> list[Any]:
        replies: list[Any] = []
        for rpc, type_, msgid, data in zip(rpcs, types, msgids, datas, strict=True):
            replies.append(None if type_ in (2, 3) else bytearray(data) if type_ == 4 else data)
            if type_ == 2:
                nq_rpc_error(rpc, msgid, b"why: " + data)
            if type_ == 3:
                waiting.append((rpc, msgid))
        return replies

    world.serve(serve_batches(on_batch))
    answers = Answers(world, open_rpcs(world)[0]).call(1, 2, 3, 4)
    world.until(lambda: waiting and answers.got[3][0] <= 0)
    for rpc, msgid in waiting:
        nq_rpc_reply(rpc, msgid, b"late")
    assert answers.all() == [(NQ_OK, b"0"), (NQ_EUSER, b"why: 1"), (NQ_OK, b"late"), (NQ_OK, b"3")]


def test_none_for_all_is_later_for_all(world: Any) -> None:
    def on_batch(rpcs: list[Any], types: list[int], msgids: list[int], datas: list[bytes]) -> None:
        for rpc, msgid, data in zip(reversed(rpcs), reversed(msgids), reversed(datas), strict=True):
            nq_rpc_reply(rpc, msgid, data)

    world.serve(serve_batches(on_batch))
    assert Answers(world, open_rpcs(world)[0]).call(1, 1, 1).all() == [(NQ_OK, b"%d" % i) for i in range(3)]


async def coroutine() -> None: ...


BAD_RESULTS: dict[str, tuple[Any, type[BaseException]]] = {
    "too few": (lambda datas: datas[1:], ValueError),
    "too many": (lambda datas: [*datas, b""], ValueError),
    "bytes": (lambda datas: b"x" * len(datas), TypeError),
    "text": (lambda datas: "x" * len(datas), TypeError),
    "a number": (lambda datas: 5, TypeError),
    "true": (lambda datas: True, TypeError),
    "exception": (lambda datas: {}["key"], KeyError),  # type: ignore[index]
}


@pytest.mark.parametrize("how", BAD_RESULTS)
def test_a_bad_result_is_an_error_reply_for_all(
    world: Any, how: str, unraisable: list[BaseException], logs: list[str]
) -> None:
    """Reported; the worker, the stream and its next batch go on."""
    result, error = BAD_RESULTS[how]

    def on_batch(rpcs: list[Any], types: list[int], msgids: list[int], datas: list[bytes]) -> Any:
        return result(datas) if 1 in types else datas

    world.serve(serve_batches(on_batch))
    answers = Answers(world, open_rpcs(world)[0]).call(1, 1, 1)
    assert answers.all() == [(NQ_EUSER, b"")] * 3
    assert {type(e) for e in unraisable} == {error}
    assert any(error.__name__ in line for line in logs)
    assert answers.call(2).all()[3] == (NQ_OK, b"3")


def test_a_bad_reply_is_an_error_reply_for_its_request(world: Any, unraisable: list[BaseException]) -> None:
    bad: dict[int, Any] = {1: "text", 2: 5, 3: True, 4: bytes(1001), 5: memoryview(b"1234")[::2], 6: b"fine"}

    def on_batch(rpcs: list[Any], types: list[int], msgids: list[int], datas: list[bytes]) -> Any:
        return (bad[type_] for type_ in types)  # any iterable does

    world.serve(serve_batches(on_batch), nq_svconf_t(idle_timeout=nq_time_sec(20), max_message_size=1000))
    answers = Answers(world, open_rpcs(world)[0]).call(*bad)
    user = (NQ_EUSER, b"")
    assert answers.all() == [user, user, user, (naquid.ETOOBIG, b""), user, (NQ_OK, b"fine")]
    names = sorted(type(e).__name__ for e in unraisable)
    assert names == ["BufferError", "MessageTooBig", "TypeError", "TypeError", "TypeError"]


def test_the_lists_are_the_handlers_own(world: Any) -> None:
    """Whatever it does to them, every request has the reply that stands at its place."""

    def on_batch(rpcs: list[Any], types: list[int], msgids: list[int], datas: list[bytes]) -> Any:
        replies = list(datas)
        for each in (rpcs, types, msgids, datas):
            each.clear()
        return replies

    world.serve(serve_batches(on_batch))
    assert Answers(world, open_rpcs(world)[0]).call(1, 1, 1).all() == [(NQ_OK, b"%d" % i) for i in range(3)]


@pytest.mark.parametrize("what", ["stream", "connection"])
def test_streams_that_end_meanwhile(world: Any, what: str, unraisable: list[BaseException]) -> None:
    """The handler closes what it answers; others are answered later, when they are gone: dropped."""
    late: list[Any] = []

    def on_batch(rpcs: list[Any], types: list[int], msgids: list[int], datas: list[bytes]) -> Any:
        late.extend(zip(rpcs, msgids, strict=True))
        if 2 in types:
            for rpc in set(rpcs):
                nq_rpc_close(rpc) if what == "stream" else nq_conn_close(nq_rpc_conn(rpc))
        return [None if type_ == 1 else data for type_, data in zip(types, datas, strict=True)]

    world.serve(serve_batches(on_batch))
    one, two = open_rpcs(world, 2)
    answers = Answers(world, one).call(1, 2, 1)
    assert answers.all() == [(NQ_EGOAWAY, b""), (NQ_OK, b"1"), (NQ_EGOAWAY, b"")]
    for rpc, msgid in late:
        nq_rpc_reply(rpc, msgid, b"to nobody")
    world.settle()
    assert unraisable == []
    assert Answers(world, two).call(2).all() == [(NQ_OK, b"0")]


def test_fin_waits_for_the_replies_of_a_batch(world: Any) -> None:
    """A caller that sends no more, but still reads: the stream is there until all of its requests were answered."""
    world.serve(serve_batches(lambda rpcs, types, msgids, datas: datas))

    async def half_close() -> bytes:
        async with await naquid.connect("127.0.0.1", world.port, ca=world.ca.ca) as conn:
            stream = await conn.open_raw_stream("rpc")
            stream.write(bytes.fromhex("05010001816105010002816205010003 8163"))
            stream.write_eof()
            return await stream.read()

    assert asyncio.run(asyncio.wait_for(half_close(), 20)).hex() == "05000001816105000002816205000003" + "8163"


def test_both_sides_and_what_a_handler_may_leave_out(world: Any) -> None:
    """Notifies come at once; a side without on_rpc_batch does not support requests; the client may have batches too."""
    seen: list[Any] = []

    def on_open(rpc: Any, pctx: Any) -> None:
        seen.append("open")

    def on_batch(rpcs: list[Any], types: list[int], msgids: list[int], datas: list[bytes]) -> Any:
        for rpc, msgid in zip(rpcs, msgids, strict=True):
            nq_rpc_call(rpc, 5, b"from server", lambda r, result, d, msgid=msgid: nq_rpc_reply(r, msgid, d))

    handler = {"on_rpc_open": on_open, "on_rpc_notify": lambda r, t, d: seen.append((t, d))}
    world.serve(serve_batches(on_batch, **handler))
    rpcs: list[Any] = []
    mine = nq_rpc_batch_handler_t(
        lambda rpcs, types, msgids, datas: [b"%d " % t + d for t, d in zip(types, datas, strict=True)],
        on_rpc_open=lambda r, p: rpcs.append(r),
    )
    client = world.client(lambda m: nq_hdmap_rpc_batch_handler(m, b"rpc", mine))
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(lambda: rpcs)
    nq_rpc_notify(rpcs[0], 9, b"note")
    assert Answers(world, rpcs[0]).call(1, 1).all() == [(NQ_OK, b"5 from server")] * 2
    assert seen == ["open", (9, b"note")]
    world.serve(lambda m: nq_hdmap_rpc_batch_handler(m, "rpc", nq_rpc_batch_handler_t()))
    assert Answers(world, open_rpcs(world)[0]).call(1).all() == [(NQ_ENOTSUPPORT, b"")]


# ---- many calls ----


def serve_kinds(world: Any) -> None:
    """1: echo. 2: an error reply. 3: no reply."""

    def on_request(rpc: Any, type_: int, msgid: int, data: bytes) -> None:
        if data.startswith(b"no"):
            nq_rpc_error(rpc, msgid, data)
        elif type_ != 3:
            nq_rpc_reply(rpc, msgid, data)

    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request)))


class Many:
    """What on_replies was called with: never more than once."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.calls: list[Any] = []

    def __call__(self, rpc: Any, results: list[int], datas: list[bytes]) -> None:
        self.calls.append((rpc, results, datas))

    def result(self) -> tuple[list[int], list[bytes]]:
        self.world.until(lambda: self.calls)
        self.world.settle(0.02)
        assert len(self.calls) == 1
        return self.calls[0][1:]


def test_many_calls_have_one_answer(world: Any) -> None:
    serve_kinds(world)
    rpc = open_rpcs(world)[0]
    many, mixed = Many(world), Many(world)
    on_replies: nq_on_rpc_replies_t = many
    payloads = [b"%d" % i for i in range(1000)]
    nq_rpc_call_many(rpc, 1, (p for p in payloads), on_replies)
    nq_rpc_call_many(rpc, 1, [b"a", b"no", memoryview(b"b"), bytearray(b"")], mixed)
    assert many.result() == ([NQ_OK] * 1000, payloads)
    assert many.calls[0][0] is rpc
    assert mixed.result() == ([NQ_OK, NQ_EUSER, NQ_OK, NQ_OK], [b"a", b"no", b"b", b""])
    none = Many(world)
    nq_rpc_call_many(rpc, 1, [], none)
    assert none.calls == []
    assert none.result() == ([], [])
    assert nq_rpc_is_valid(rpc)


def test_many_calls_that_time_out_or_go_away(world: Any) -> None:
    serve_kinds(world)
    order: list[str] = []
    rpc = open_rpcs(world, timeout=nq_time_msec(100), on_rpc_close=lambda r: order.append("close"))[0]
    short, default = Many(world), Many(world)
    nq_rpc_call_many(rpc, 3, [b"no", b"wait"], short, nq_time_msec(30))
    nq_rpc_call_many(rpc, 3, [b"wait"], default)
    assert short.result() == ([NQ_EUSER, NQ_ETIMEOUT], [b"no", b""])
    assert default.result() == ([NQ_ETIMEOUT], [b""])
    gone = Many(world)
    nq_rpc_call_many(rpc, 3, [b"no", b"1", b"2"], lambda *a: (order.append("replies"), gone(*a)), nq_time_sec(20))
    world.settle()
    nq_rpc_close(rpc)
    assert gone.result() == ([NQ_EUSER, NQ_EGOAWAY, NQ_EGOAWAY], [b"no", b"", b""])
    assert order == ["close", "replies"]
    for handle in (rpc, nq_rpc_t()):
        stale = Many(world)
        nq_rpc_call_many(handle, 1, [b"1", b"2"], stale)
        assert stale.result() == ([NQ_EGOAWAY] * 2, [b""] * 2)


def test_many_calls_from_another_thread(world: Any, unraisable: list[BaseException]) -> None:
    """Queued with a copy; what cannot be queued then is reported, and has its answer all the same: NQ_EALLOC."""
    serve_kinds(world)
    rpcs: list[Any] = []
    handler = nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r))
    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"), limits={"max_pending_calls": 4})
    world.until(lambda: rpcs)
    many, full = Many(world), Many(world)
    single: list[int] = []

    def work() -> None:
        data = bytearray(b"abc")
        nq_rpc_call_many(rpcs[0], 1, [data] * 3, many)
        data[:] = b"xyz"

    def too_much() -> None:
        nq_rpc_call_many(rpcs[0], 3, [b"1", b"2", b"3"], Many(world))
        nq_rpc_call_many(rpcs[0], 3, [b"1", b"2"], full)
        nq_rpc_call(rpcs[0], 3, b"", lambda r, result, d: single.append(result))

    for target in (work, too_much):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
        if target is work:
            assert many.result() == ([NQ_OK] * 3, [b"abc"] * 3)
    assert full.result() == ([NQ_EALLOC] * 2, [b""] * 2)
    assert single == [NQ_EALLOC]
    assert [type(e).__name__ for e in unraisable] == ["QueueFull"] * 2


def test_many_calls_without_room_raise(world: Any, unraisable: list[BaseException]) -> None:
    """What was sent before is not undone; on_replies is not called."""
    serve_kinds(world)
    rpcs: list[Any] = []
    handler = nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r))
    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
    limits = {"max_pending_calls": 4}
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"), limits=limits, max_message_size=1000)
    world.until(lambda: rpcs)
    many = Many(world)
    with pytest.raises(BufferError):
        nq_rpc_call_many(rpcs[0], 1, [b"x"] * 5, many)
    world.settle()
    with pytest.raises(ValueError, match="max_message_size"):
        nq_rpc_call_many(rpcs[0], 1, [b"x", bytes(1001)], many)
    with pytest.raises(TypeError):
        nq_rpc_call_many(rpcs[0], 1, [b"x", "text"], many)  # type: ignore[list-item]
    world.settle()
    assert many.calls == []

    def fail(*args: Any) -> None:
        raise LookupError("on_replies")

    nq_rpc_call_many(rpcs[0], 1, [b"x"], fail)
    world.until(lambda: unraisable)
    assert [type(e) for e in unraisable] == [LookupError]
    nq_rpc_call_many(rpcs[0], 1, [b"x"] * 4, many)
    assert many.result() == ([NQ_OK] * 4, [b"x"] * 4)


def test_many_calls_when_the_client_is_destroyed(world: Any) -> None:
    serve_kinds(world)
    rpc = open_rpcs(world)[0]
    now, queued = Many(world), Many(world)
    nq_rpc_call_many(rpc, 3, [b"1", b"2"], now)
    thread = threading.Thread(target=lambda: nq_rpc_call_many(rpc, 3, [b"1"], queued))
    thread.start()
    thread.join()
    capi.nq_client_destroy(world.clients[0])
    assert now.result() == ([NQ_EGOAWAY] * 2, [b"", b""])
    assert queued.result() == ([NQ_EGOAWAY], [b""])


# ---- names and arguments ----


def test_extensions_are_no_names_of_the_original() -> None:
    assert set(extensions.__all__) & set(capi.__all__) == set()
    names: dict[str, Any] = {}
    exec("from naquid.capi.extensions import *", names)
    assert set(names) - {"__builtins__"} == set(extensions.__all__)


def test_wrong_arguments_raise_at_the_call(small: Any) -> None:
    serve_kinds(small)
    rpc = open_rpcs(small)[0]
    right: list[Any] = [rpc, 1, [b""], print]
    for at, wrongs in enumerate(
        ([None, 5, nq_rpc_conn(rpc)], ["1", 1.5, None, True], [b"bytes", "text", 5], [None, 5])
    ):
        for wrong in wrongs:  # type: ignore[attr-defined]
            with pytest.raises(TypeError):
                nq_rpc_call_many(*right[:at], wrong, *right[at + 1 :])  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        nq_rpc_call_many(rpc, 1, [b""], print, 1.5)  # type: ignore[arg-type]
    for type_, timeout in ((0, 0), (32768, 0), (1, -1), (1, 2**64)):
        with pytest.raises(ValueError, match="it must be"):
            nq_rpc_call_many(rpc, type_, [b""], print, timeout)
    hdmap = capi.nq_client_hdmap(small.clients[0])
    fields: list[dict[str, Any]] = [{f"on_rpc_{name}": 5} for name in ("batch", "notify", "open", "close")]
    for field in [*fields, {"timeout": "1"}, {"use_large_msgid": "no"}]:
        with pytest.raises(TypeError):
            nq_hdmap_rpc_batch_handler(hdmap, "x", nq_rpc_batch_handler_t(**field))
    with pytest.raises(ValueError, match="timeout"):
        nq_hdmap_rpc_batch_handler(hdmap, "x", nq_rpc_batch_handler_t(timeout=-1))
    with pytest.raises(ValueError, match="NUL"):
        nq_hdmap_rpc_batch_handler(hdmap, "", nq_rpc_batch_handler_t())
    with pytest.raises(TypeError, match="nq_rpc_batch_handler_t"):
        nq_hdmap_rpc_batch_handler(hdmap, "x", nq_rpc_handler_t())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        nq_hdmap_rpc_batch_handler(None, "x", nq_rpc_batch_handler_t())  # type: ignore[arg-type]
    assert nq_hdmap_rpc_batch_handler(hdmap, "x", nq_rpc_batch_handler_t()) is True
