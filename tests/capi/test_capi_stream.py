"""Streams: records, custom framing, raw mode, factories, acknowledgements, opening and closing."""

from __future__ import annotations

from typing import Any

import pytest

from naquid.capi import (
    NQ_OK,
    nq_conn_equal,
    nq_conn_modify_hdmap,
    nq_conn_rpc,
    nq_conn_stream,
    nq_hdmap_raw_handler,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_factory,
    nq_hdmap_stream_handler,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_rpc_reply,
    nq_stream_close,
    nq_stream_conn,
    nq_stream_ctx,
    nq_stream_equal,
    nq_stream_handler_t,
    nq_stream_is_valid,
    nq_stream_opt_t,
    nq_stream_outgoing,
    nq_stream_send,
    nq_stream_send_ex,
    nq_stream_sid,
    nq_stream_t,
    nq_stream_task,
    nq_svconf_t,
    nq_time_sec,
)


def echo_records(hdmap: Any) -> None:
    nq_hdmap_stream_handler(hdmap, "s", nq_stream_handler_t(on_stream_record=nq_stream_send))


class Peer:
    """A client with one open stream called "s"."""

    def __init__(self, world: Any, name: str = "s", add: Any = nq_hdmap_stream_handler, **handler: Any) -> None:
        self.world = world
        self.stream: Any = None
        self.conn: Any = None
        self.records: list[bytes] = []
        handler.setdefault("on_stream_open", self.opened)
        handler.setdefault("on_stream_record", lambda s, data: self.records.append(data))
        made = nq_stream_handler_t(**handler)

        def fill(m: Any) -> None:
            if add is nq_hdmap_raw_handler:
                add(m, made)
            elif add is nq_hdmap_stream_factory:
                add(m, name, lambda conn: made)
            else:
                add(m, name, made)

        self.name = name
        self.client = world.client(fill)
        world.connect(self.client, on_open=self.connected)
        world.until(lambda: self.stream is not None)

    def connected(self, conn: Any, pctx: Any) -> None:
        self.conn = conn
        nq_conn_stream(conn, self.name, "ctx")

    def opened(self, stream: Any, pctx: Any) -> None:
        self.stream = stream


def test_records_keep_their_bounds_and_order(world: Any) -> None:
    """Better on purpose 3: every complete record, of any size, also none; several in one chunk."""
    world.serve(echo_records)
    peer = Peer(world)
    sizes = [0, 1, 12, 127, 128, 0, 300, 16383, 16384, 70_000, 0, 5, 2_000_000, 1]
    sent = [bytes((i + k) & 255 for k in range(min(size, 256))) * (size // 256 + 1) for i, size in enumerate(sizes)]
    sent = [data[:size] for data, size in zip(sent, sizes, strict=True)]
    for data in sent:
        nq_stream_send(peer.stream, data)
    world.until(lambda: len(peer.records) == len(sent))
    assert peer.records == sent


def test_handles_and_contexts(world: Any) -> None:
    seen: list[Any] = []

    def on_open(stream: Any, pctx: Any) -> None:
        assert pctx[0] is None
        pctx[0] = "server's"

    def on_record(stream: Any, data: bytes) -> None:
        seen.append((nq_stream_outgoing(stream), nq_stream_sid(stream), nq_stream_ctx(stream)))

    world.serve(
        lambda m: nq_hdmap_stream_handler(
            m, "s", nq_stream_handler_t(on_stream_open=on_open, on_stream_record=on_record)
        )
    )
    peer = Peer(world)
    nq_stream_send(peer.stream, b"x")
    world.until(lambda: seen)
    assert seen == [((False, True), 0, "server's")]
    assert nq_stream_outgoing(peer.stream) == (True, True)
    assert nq_stream_ctx(peer.stream) == "ctx"
    assert nq_conn_equal(nq_stream_conn(peer.stream), peer.conn)
    assert nq_stream_is_valid(peer.stream)
    assert nq_stream_equal(peer.stream, peer.stream)
    assert not nq_stream_equal(peer.stream, nq_stream_t())


def test_an_opened_stream_is_invisible_until_it_is_written(world: Any) -> None:
    """5: the name goes with the first write."""
    opened: list[Any] = []
    world.serve(
        lambda m: nq_hdmap_stream_handler(m, "s", nq_stream_handler_t(on_stream_open=lambda s, p: opened.append(s)))
    )
    peer = Peer(world)
    world.settle(0.1)
    assert opened == []
    nq_stream_send(peer.stream, b"")
    world.until(lambda: opened)


def test_close_is_told_to_both_sides_after_all_data(world: Any) -> None:
    """Better on purpose 13: FIN when the data was all sent."""
    got: list[Any] = []
    handler = nq_stream_handler_t(
        on_stream_record=lambda s, data: got.append(len(data)), on_stream_close=lambda s: got.append("close")
    )
    world.serve(lambda m: nq_hdmap_stream_handler(m, "s", handler))
    peer = Peer(world, on_stream_close=lambda s: world.events.append(nq_stream_is_valid(s)))
    for _ in range(10):
        nq_stream_send(peer.stream, bytes(50_000))
    nq_stream_close(peer.stream)
    nq_stream_close(peer.stream)
    world.until(lambda: "close" in got and world.events)
    assert got == [50_000] * 10 + ["close"]
    assert world.events == [True]
    stale = peer.stream
    reasons: list[Any] = []
    assert not nq_stream_is_valid(stale, lambda s, reason: reasons.append(reason))
    empty = nq_stream_conn(stale)
    assert empty.s == 0
    from naquid.capi import nq_conn_is_valid

    nq_conn_is_valid(empty, lambda c, reason: reasons.append(reason))
    assert reasons == ["outdated handle", "conn not found"]
    nq_stream_send(stale, b"dropped")
    nq_stream_send_ex(stale, b"dropped", nq_stream_opt_t())
    nq_stream_task(stale, lambda s: reasons.append("task"))
    world.settle()
    assert len(reasons) == 2
    assert nq_stream_sid(stale) == 0


def test_refused_stream(world: Any) -> None:
    closes: list[str] = []
    handler = nq_stream_handler_t(
        on_stream_open=lambda s, p: False,
        on_stream_record=lambda s, d: closes.append("record"),
        on_stream_close=lambda s: closes.append("server"),
    )
    world.serve(lambda m: nq_hdmap_stream_handler(m, "s", handler))
    peer = Peer(world, on_stream_close=lambda s: closes.append("client"))
    nq_stream_send(peer.stream, b"x")
    world.until(lambda: len(closes) == 2)
    world.settle()
    assert sorted(closes) == ["client", "server"]


def test_exception_in_on_open_is_a_refusal(world: Any, unraisable: list[BaseException]) -> None:
    def on_open(s: Any, p: Any) -> None:
        raise RuntimeError("no")

    world.serve(lambda m: nq_hdmap_stream_handler(m, "s", nq_stream_handler_t(on_stream_open=on_open)))
    closed: list[Any] = []
    peer = Peer(world, on_stream_close=closed.append)
    nq_stream_send(peer.stream, b"x")
    world.until(lambda: closed)
    assert [type(e) for e in unraisable] == [RuntimeError]


class Lines:
    """Custom framing: lines, cut from chunks of any size."""

    def __init__(self) -> None:
        self.rest: dict[Any, bytes] = {}

    def reader(self, stream: Any, chunk: bytes) -> Any:
        if chunk.startswith(b"!"):
            return -1
        lines = (self.rest.pop(stream, b"") + chunk).split(b"\n")
        self.rest[stream] = lines.pop()
        if not lines:
            return None
        return lines if len(lines) > 1 else lines[0]

    def writer(self, stream: Any, words: Any) -> bytes:
        return b" ".join(words) + b"\n" if words else b""


def test_custom_framing(world: Any) -> None:
    """5.3: the reader gets new chunks only and returns a record, several, or none; the writer takes any object."""
    server, mine = Lines(), Lines()
    handler = nq_stream_handler_t(
        on_stream_record=lambda s, line: nq_stream_send(s, [b"echo", line]),
        stream_reader=server.reader,
        stream_writer=server.writer,
    )
    world.serve(lambda m: nq_hdmap_stream_handler(m, "s", handler))
    closed: list[Any] = []
    peer = Peer(world, stream_reader=mine.reader, stream_writer=mine.writer, on_stream_close=closed.append)
    for i in range(100):
        nq_stream_send(peer.stream, [b"a", b"%d" % i])
    nq_stream_send(peer.stream, [b"x" * 100_000])
    world.until(lambda: len(peer.records) == 101)
    assert peer.records == [b"echo a %d" % i for i in range(100)] + [b"echo " + b"x" * 100_000]
    nq_stream_send(peer.stream, [])
    world.until(lambda: closed)


@pytest.mark.parametrize("how", ["negative", "ValueError"])
def test_reader_closes_the_stream(world: Any, how: str) -> None:
    closed: list[str] = []
    lines = Lines()

    def reader(stream: Any, chunk: bytes) -> Any:
        if how == "negative":
            return -1
        raise ValueError("not mine")

    handler = nq_stream_handler_t(
        stream_reader=reader, stream_writer=lines.writer, on_stream_close=lambda s: closed.append("server")
    )
    world.serve(lambda m: nq_hdmap_stream_handler(m, "s", handler))
    peer = Peer(
        world,
        stream_reader=lines.reader,
        stream_writer=lines.writer,
        on_stream_close=lambda s: closed.append("client"),
    )
    nq_stream_send(peer.stream, [b"x"])
    world.until(lambda: len(closed) == 2)


@pytest.mark.parametrize("framed", [False, True])
def test_raw_mode(world: Any, framed: bool) -> None:
    """4 and 5: no names on the wire; records still have their length unless there is a reader."""
    lines = Lines()
    more: dict[str, Any] = {"stream_reader": lines.reader, "stream_writer": lines.writer} if framed else {}
    handler = nq_stream_handler_t(on_stream_record=lambda s, d: nq_stream_send(s, [d] if framed else d), **more)
    world.serve(lambda m: nq_hdmap_raw_handler(m, handler))
    peer = Peer(world, add=nq_hdmap_raw_handler, **more)
    for word in (b"one", b"two", b"x" * 5000):
        nq_stream_send(peer.stream, [word] if framed else word)
    world.until(lambda: len(peer.records) == 3)
    assert peer.records == [b"one", b"two", b"x" * 5000]


def test_stream_factory(world: Any) -> None:
    """The factory makes a handler for every stream; without a reader it carries records."""
    made: list[Any] = []

    def factory(conn: Any) -> nq_stream_handler_t:
        made.append(conn)
        number = len(made)
        return nq_stream_handler_t(on_stream_record=lambda s, d: nq_stream_send(s, b"%d " % number + d))

    world.serve(lambda m: nq_hdmap_stream_factory(m, "s", factory))
    peer = Peer(world)
    sent = [b"", b"a", b"b" * 127, b"c" * 128, b"d" * 300_000]
    for data in sent:
        nq_stream_send(peer.stream, data)
    world.until(lambda: len(peer.records) == len(sent))
    assert peer.records == [b"1 " + data for data in sent]
    other = Peer(world, add=nq_hdmap_stream_factory)
    for data in sent:
        nq_stream_send(other.stream, data)
    world.until(lambda: len(other.records) == len(sent))
    assert other.records == [b"2 " + data for data in sent]


def test_factory_stream_refuses_bad_lengths(small: Any) -> None:
    """An overlong length, and a record above the limit, close the stream with a code; nothing is delivered."""
    got: list[Any] = []
    handler = nq_stream_handler_t(
        on_stream_record=lambda s, d: got.append(d), on_stream_close=lambda s: got.append("close")
    )
    conf = nq_svconf_t(idle_timeout=nq_time_sec(20), max_message_size=1000)
    small.serve(lambda m: nq_hdmap_stream_factory(m, "s", lambda conn: handler), conf)
    for bad in (b"\x00\x80", b"\x00\x00\x00\x00\x00\x00", b"\x7f\x87" + b"x"):
        got.clear()
        peer = Peer(small, stream_reader=lambda s, c: None, stream_writer=lambda s, d: d)
        nq_stream_send(peer.stream, bad)
        small.until(lambda: got)
        assert got == ["close"]


def test_a_record_above_the_limit_closes_the_stream(world: Any) -> None:
    """Better on purpose 4."""
    got: list[Any] = []
    handler = nq_stream_handler_t(
        on_stream_record=lambda s, d: got.append(len(d)), on_stream_close=lambda s: got.append("close")
    )
    conf = nq_svconf_t(idle_timeout=nq_time_sec(20), max_message_size=1000)
    world.serve(lambda m: nq_hdmap_stream_handler(m, "s", handler), conf)
    closed: list[Any] = []
    peer = Peer(world, on_stream_close=closed.append)
    nq_stream_send(peer.stream, bytes(1000))
    nq_stream_send(peer.stream, bytes(1001))
    world.until(lambda: closed and "close" in got)
    assert got == [1000, "close"]


def test_acknowledgements(world: Any) -> None:
    """5.4: on_ack counts the bytes of the write, framing included, the name not."""
    world.serve(echo_records)
    peer = Peer(world)
    acks: list[Any] = []
    lost: list[int] = []
    opt = nq_stream_opt_t(on_ack=lambda n, delay: acks.append((n, delay)), on_retransmit=lost.append)
    nq_stream_send_ex(peer.stream, b"hogehogehoge", opt)
    world.until(lambda: acks)
    assert [n for n, _ in acks] == [13]
    assert 0 < acks[0][1] < nq_time_sec(20)
    acks.clear()
    nq_stream_send(peer.stream, b"between")
    nq_stream_send_ex(peer.stream, bytes(100_000), opt)
    world.until(lambda: sum(n for n, _ in acks) == 100_003)
    world.until(lambda: len(peer.records) == 3)
    nq_stream_send_ex(peer.stream, b"", nq_stream_opt_t())
    with pytest.raises(TypeError):
        nq_stream_send_ex(peer.stream, b"", nq_stream_opt_t(on_ack=5))  # type: ignore[arg-type]


def test_streams_asked_for_before_the_connection_is_there(world: Any) -> None:
    """5: opened right after on_open; many at once, of both kinds, each with its own context."""

    def fill(m: Any) -> None:
        nq_hdmap_stream_handler(m, "s", nq_stream_handler_t(on_stream_open=lambda s, p: order.append(p[0])))
        nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=lambda s, p: order.append(p[0])))

    order = world.events
    world.serve(echo_records)
    client = world.client(fill)

    def on_open(conn: Any, pctx: Any) -> None:
        for i in range(50):
            (nq_conn_rpc if i % 2 else nq_conn_stream)(conn, "rpc" if i % 2 else "s", i)
        order.append("on_open")

    world.connect(client, on_open=on_open)
    world.until(lambda: len(order) == 51)
    assert order == ["on_open", *range(50)]


def test_streams_from_the_server(world: Any) -> None:
    """5: a server opens streams too."""

    def on_open(conn: Any, pctx: Any) -> None:
        nq_conn_stream(conn, "s", "from server")
        nq_conn_rpc(conn, "rpc")

    got: list[Any] = []

    def served(m: Any) -> None:
        handler = nq_stream_handler_t(
            on_stream_open=lambda s, p: nq_stream_send(s, p[0].encode()), on_stream_record=lambda s, d: got.append(d)
        )
        nq_hdmap_stream_handler(m, "s", handler)
        rpc = nq_rpc_handler_t(
            on_rpc_open=lambda r, p: nq_rpc_call(r, 3, b"hi", lambda r, result, d: got.append((result, d)))
        )
        nq_hdmap_rpc_handler(m, "rpc", rpc)

    def mine(m: Any) -> None:
        nq_hdmap_stream_handler(m, "s", nq_stream_handler_t(on_stream_record=nq_stream_send))
        nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d + b"!")))

    world.serve(served, nq_svconf_t(on_open=on_open, idle_timeout=nq_time_sec(20)))
    world.connect(world.client(mine))
    world.until(lambda: len(got) == 2)
    assert sorted(got, key=str) == [(NQ_OK, b"hi!"), b"from server"]


def test_modify_hdmap(world: Any) -> None:
    """4: a new, empty map of the connection's own; open streams keep their handlers."""

    def on_open(conn: Any, pctx: Any) -> None:
        handler = nq_stream_handler_t(on_stream_record=lambda s, d: nq_stream_send(s, b"own " + d))
        nq_conn_modify_hdmap(conn, lambda m: nq_hdmap_stream_handler(m, "own", handler))

    world.serve(echo_records, nq_svconf_t(on_open=on_open, idle_timeout=nq_time_sec(20)))
    peer = Peer(world, name="own")
    nq_stream_send(peer.stream, b"x")
    world.until(lambda: peer.records)
    assert peer.records == [b"own x"]
    closed: list[Any] = []
    inherited = Peer(world, on_stream_close=closed.append)
    nq_stream_send(inherited.stream, b"x")
    world.until(lambda: closed)
    # The client's own map: what is open goes on.
    nq_conn_modify_hdmap(peer.conn, lambda m: None)
    nq_conn_stream(peer.conn, "own")
    nq_stream_send(peer.stream, b"y")
    world.until(lambda: len(peer.records) == 2)
    with pytest.raises(TypeError):
        nq_conn_modify_hdmap(peer.conn, None)  # type: ignore[arg-type]


def test_task(world: Any) -> None:
    world.serve(echo_records)
    peer = Peer(world)
    ran: list[Any] = []
    nq_stream_task(peer.stream, ran.append)
    world.until(lambda: ran)
    assert ran == [peer.stream]
    with pytest.raises(TypeError):
        nq_stream_task(peer.stream, None)  # type: ignore[arg-type]


def test_wrong_arguments(small: Any) -> None:
    small.serve(echo_records)
    peer = Peer(small)
    with pytest.raises(TypeError):
        nq_stream_send(peer.stream, "text")
    with pytest.raises(TypeError):
        nq_stream_send(peer.conn, b"")
    with pytest.raises(TypeError):
        nq_conn_stream(peer.conn, 5)  # type: ignore[arg-type]
    client = small.client()
    from naquid.capi import nq_client_hdmap

    hdmap = nq_client_hdmap(client)
    with pytest.raises(ValueError, match="255"):
        nq_hdmap_stream_handler(hdmap, "x" * 256, nq_stream_handler_t())
    with pytest.raises(ValueError, match="NUL"):
        nq_hdmap_stream_handler(hdmap, "a\0b", nq_stream_handler_t())
    with pytest.raises(TypeError):
        nq_hdmap_stream_handler(hdmap, "a", nq_stream_handler_t(on_stream_open=5))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="both"):
        nq_hdmap_stream_handler(hdmap, "a", nq_stream_handler_t(stream_reader=lambda s, c: None))
    with pytest.raises(TypeError):
        nq_hdmap_stream_factory(hdmap, "a", None)  # type: ignore[arg-type]
