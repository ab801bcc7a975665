"""The bytes of streams, as original-semantics has them: one end is in raw mode and shows or chooses every byte."""

from __future__ import annotations

from typing import Any

import pytest

from naquid.capi import (
    NQ_EUSER,
    NQ_OK,
    nq_conn_rpc,
    nq_conn_stream,
    nq_hdmap_raw_handler,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_factory,
    nq_hdmap_stream_handler,
    nq_rpc_call,
    nq_rpc_error,
    nq_rpc_handler_t,
    nq_rpc_notify,
    nq_rpc_reply,
    nq_stream_handler_t,
    nq_stream_send,
    nq_svconf_t,
    nq_time_sec,
)


class Bytes:
    """The side in raw mode: what came, in chunks of any size, and whether the stream is open."""

    def __init__(self) -> None:
        self.got = b""
        self.stream: Any = None
        self.closed = False
        self.handler = nq_stream_handler_t(
            on_stream_open=self.opened, on_stream_close=self.ended, stream_reader=self.read, stream_writer=self.write
        )

    def opened(self, stream: Any, pctx: Any) -> None:
        self.stream = stream

    def ended(self, stream: Any) -> None:
        self.closed = True

    def read(self, stream: Any, chunk: bytes) -> None:
        self.got += chunk

    def write(self, stream: Any, data: bytes) -> bytes:
        return data


def raw_client(world: Any) -> Bytes:
    """A client whose stream carries exactly the bytes that it sends."""
    made = Bytes()
    client = world.client(lambda m: nq_hdmap_raw_handler(m, made.handler))
    world.connect(client, on_open=lambda c, p: nq_conn_stream(c, "the name is not sent"))
    world.until(lambda: made.stream)
    return made


def raw_server(world: Any) -> Bytes:
    made = Bytes()
    world.serve(lambda m: nq_hdmap_raw_handler(m, made.handler))
    return made


def length(n: int) -> bytes:
    """5.1: groups of 7 bits, the least significant first; the last byte has 0x80."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F)
        n >>= 7
    return bytes(out) + bytes([n | 0x80])


LENGTHS = {0: "80", 1: "81", 12: "8c", 127: "ff", 128: "0081", 300: "2c82", 16383: "7fff", 16384: "000081"}


def test_lengths() -> None:
    """5.1's table, by the helper above."""
    assert {n: length(n).hex() for n in LENGTHS} == LENGTHS
    assert length(2097152).hex() == "00000081"
    assert length(0xFFFFFFFF).hex() == "7f7f7f7f8f"


@pytest.mark.parametrize("add", [nq_hdmap_stream_handler, nq_hdmap_stream_factory])
def test_records_that_are_sent(world: Any, add: Any) -> None:
    """5: the name and one NUL before the first bytes, once; 5.2: length and payload. A factory's streams too."""
    server = raw_server(world)
    streams: list[Any] = []
    handler = nq_stream_handler_t(on_stream_open=lambda s, p: streams.append(s))
    made = (lambda conn: handler) if add is nq_hdmap_stream_factory else handler
    client = world.client(lambda m: add(m, "stream", made))
    world.connect(client, on_open=lambda c, p: nq_conn_stream(c, "stream"))
    world.until(lambda: streams)
    world.settle(0.05)
    assert server.stream is None  # 5: nothing was written, so the peer knows nothing
    wanted = b"stream\0"
    for n in LENGTHS:
        nq_stream_send(streams[0], bytes(n))
        wanted += length(n) + bytes(n)
    nq_stream_send(streams[0], b"hogehogehoge")
    wanted += b"\x8chogehogehoge"
    world.until(lambda: len(server.got) >= len(wanted))
    assert server.got == wanted


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
@pytest.mark.parametrize("add", [nq_hdmap_stream_handler, nq_hdmap_stream_factory])
def test_records_that_come(world: Any, add: Any, size: int) -> None:
    """Better on purpose 3: any chunking of the same bytes gives the same records; the acceptor sends no name."""
    records: list[bytes] = []
    handler = nq_stream_handler_t(on_stream_record=lambda s, d: (records.append(d), nq_stream_send(s, d[:3])))
    made = (lambda conn: handler) if add is nq_hdmap_stream_factory else handler
    world.serve(lambda m: add(m, "stream", made))
    client = raw_client(world)
    sent = [bytes([n & 255]) * n for n in (0, 1, 12, 127, 128, 300, 0)]
    data = b"stream\0" + b"".join(length(len(record)) + record for record in sent)
    for at in range(0, len(data), size):
        nq_stream_send(client.stream, data[at : at + size])
        if size < 100:
            world.settle(0)
    world.until(lambda: len(records) == len(sent))
    assert records == sent
    wanted = b"".join(length(len(record[:3])) + record[:3] for record in sent)
    world.until(lambda: len(client.got) >= len(wanted))
    assert client.got == wanted


REQUESTS = [
    (1, 1, 8, "0501000188"),
    (10000, 2, 300, "01271000022c82"),
    (127, 3, 0, "057f000380"),
    (128, 4, 0, "010080000480"),
    (200, 5, 0, "0100c8000580"),
    (255, 6, 0, "0100ff000680"),
    (256, 7, 0, "010100000780"),
    (32767, 8, 1, "017fff000881"),
]
NOTIFIES = [(0x7FFF, 15, "007fff8f"), (10, 128, "040a0081"), (200, 0, "0000c880")]


def test_rpc_that_is_sent(world: Any) -> None:
    """6.1's table, and better on purpose 2: types 128 to 255 go out as two bytes."""
    server = raw_server(world)
    rpcs: list[Any] = []
    handler = nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r))
    world.connect(
        world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler)), on_open=lambda c, p: nq_conn_rpc(c, "rpc")
    )
    world.until(lambda: rpcs)
    wanted = b"rpc\0"
    for type_, _, size, head in REQUESTS:
        nq_rpc_call(rpcs[0], type_, bytes(size), print)
        wanted += bytes.fromhex(head) + bytes(size)
    for type_, size, head in NOTIFIES:
        nq_rpc_notify(rpcs[0], type_, bytes(size))
        wanted += bytes.fromhex(head) + bytes(size)
    for msgid, answer, head in ((1, nq_rpc_reply, "0500000182"), (0x102, nq_rpc_error, "05f9010282"),
                                (70000, nq_rpc_reply, "06000001117082")):  # fmt: skip
        answer(rpcs[0], msgid, b"hi")
        wanted += bytes.fromhex(head) + b"hi"
    world.until(lambda: len(server.got) >= len(wanted))
    assert server.got == wanted


@pytest.mark.parametrize("size", [1, 3, 100_000])
def test_rpc_that_comes(world: Any, size: int) -> None:
    """6.1: either size of message ID and type; a reply that nobody waits for is ignored."""
    seen: list[Any] = []

    def on_request(rpc: Any, type_: int, msgid: int, data: bytes) -> None:
        seen.append((type_, msgid, data))
        (nq_rpc_error if type_ == 9 else nq_rpc_reply)(rpc, msgid, data)

    handler = nq_rpc_handler_t(on_rpc_request=on_request, on_rpc_notify=lambda r, t, d: seen.append((t, d)))
    world.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
    client = raw_client(world)
    data = b"rpc\0" + b"".join(
        bytes.fromhex(frame)
        for frame in (
            "05 01 0001 82 6869",  # 6.1's first request
            "01 2710 1234 81 78",
            "06 01 00011170 80",  # message ID 70000
            "01 0004 000a 80",  # a small type in two bytes
            "05 09 000b 81 65",
            "04 0a 81 6e",  # a notify
            "05 00 00ff 80",  # a reply to nothing
            "05 01 000c 80",
        )
    )
    for at in range(0, len(data), size):
        nq_stream_send(client.stream, data[at : at + size])
        if size < 100:
            world.settle(0)
    world.until(lambda: seen and seen[-1][1] == 12)
    assert seen == [
        (1, 1, b"hi"), (10000, 0x1234, b"x"), (1, 70000, b""), (4, 10, b""), (9, 11, b"e"),
        (10, b"n"), (1, 12, b""),
    ]  # fmt: skip
    replies = ["050000018268 69", "050012348178", "06000001117080", "0500000a80",
               "05f9000b8165", "0500000c80"]  # fmt: skip
    wanted = b"".join(bytes.fromhex(reply) for reply in replies)
    world.until(lambda: len(client.got) >= len(wanted))
    assert client.got == wanted
    assert not client.closed


def test_replies_that_come(world: Any) -> None:
    """6.3: late, double and unknown replies are dropped; the result of an error reply is the caller's."""
    server = raw_server(world)
    rpcs: list[Any] = []
    got: list[Any] = []
    handler = nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r))
    world.connect(
        world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler)), on_open=lambda c, p: nq_conn_rpc(c, "rpc")
    )
    world.until(lambda: rpcs)
    for _ in range(3):
        nq_rpc_call(rpcs[0], 1, b"", lambda r, result, d: got.append((result, d)))
    world.until(lambda: len(server.got) == 4 + 15)
    for frame in ("05 00 0002 81 62", "05 00 0002 81 78", "05 f9 0001 81 61", "05 00 0063 80", "06 00 00000003 81 63"):
        nq_stream_send(server.stream, bytes.fromhex(frame))
    world.until(lambda: len(got) == 3)
    world.settle()
    assert got == [(NQ_OK, b"b"), (NQ_EUSER, b"a"), (NQ_OK, b"c")]


BAD = {
    "too big": b"stream\0" + length(1001),
    "overlong": b"stream\0\x00\x80",
    "endless": b"stream\0" + bytes(6),
    "rpc overlong": b"rpc\0\x05\x01\x00\x01\x00\x80",
    "both sizes of message ID": b"rpc\0\x07\x01\x00\x00\x00\x01\x80",
    "a reserved flag": b"rpc\0\x85\x01\x00\x01\x80",
    "a result without message ID": b"rpc\0\x04\x00\x80",
    "unknown name": b"nobody\0",
    "no name": b"\0",
    "long name": b"x" * 300,
}


@pytest.mark.parametrize("what", BAD)
def test_bad_bytes_close_the_stream_and_nothing_else(world: Any, what: str) -> None:
    """Better on purpose 4 and 8: the connection and its other streams go on."""
    seen: list[Any] = []
    conns: list[Any] = []
    conf = nq_svconf_t(on_close=lambda *a: conns.append(a), idle_timeout=nq_time_sec(20), max_message_size=1000)

    def fill(m: Any) -> None:
        nq_hdmap_stream_handler(m, "stream", nq_stream_handler_t(on_stream_record=lambda s, d: seen.append(d)))
        nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: seen.append(d)))

    world.serve(fill, conf)
    streams: list[Any] = []
    closed: list[Any] = []
    handler = nq_stream_handler_t(
        on_stream_open=lambda s, p: streams.append(s), on_stream_close=closed.append,
        stream_reader=lambda s, c: None, stream_writer=lambda s, d: d,
    )  # fmt: skip
    client = world.client(lambda m: nq_hdmap_raw_handler(m, handler))
    world.connect(client, on_open=lambda c, p: (nq_conn_stream(c, ""), nq_conn_stream(c, "")))
    world.until(lambda: len(streams) == 2)
    nq_stream_send(streams[0], BAD[what])
    world.until(lambda: closed)
    assert seen == []
    nq_stream_send(streams[1], b"stream\0\x82ok")
    world.until(lambda: seen)
    assert seen == [b"ok"]
    assert closed == [streams[0]]
    assert conns == []
