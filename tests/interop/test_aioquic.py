"""Against aioquic, which nobody here wrote, in both roles: raw streams, datagrams, records and RPC."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness import Bench, Variant, noise, until
from quic import Frames, Peer, client, frame, record, server

import naquid

SIZE = 10_000_000

# From the text of the wire format: arguments of frame(), and the bytes before the payload.
VECTORS = [
    ((1, 1, 8), "05 01 00 01 88"),
    ((10000, 0x1234, 300), "01 27 10 12 34 2c 82"),
    ((200, 7, 0), "01 00 c8 00 07 80"),
    ((1, 70000, 0), "06 01 00 01 11 70 80"),
    ((0x7FFF, 0, 15), "00 7f ff 8f"),
    ((10, 0, 128), "04 0a 00 81"),
    ((0, 1, 8), "05 00 00 01 88"),
    ((-7, 0x0102, 4), "05 f9 01 02 84"),
]


@pytest.mark.parametrize(("arguments", "expected"), VECTORS)
def test_the_handwritten_frames(arguments: tuple[int, int, int], expected: str) -> None:
    type, msgid, size = arguments
    payload = noise(size)
    whole = frame(type, msgid, payload)
    assert whole == bytes.fromhex(expected) + payload
    for split in range(len(whole) + 1):
        frames = Frames()
        assert frames.feed(whole[:split]) + frames.feed(whole[split:]) == [(type, msgid, payload)]


def raw_echo() -> naquid.Handlers:
    app = naquid.Handlers()

    @app.raw_stream
    async def echo(stream: naquid.RawStream) -> None:
        while data := await stream.read(1 << 16):
            stream.write(data)
            await stream.drain()

    return app


def rpc_app(seen: list[Any]) -> naquid.Handlers:
    app = naquid.Handlers()

    @app.rpc("rpc")
    def handle(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes | None:
        seen.append(("request", type, payload))
        if type == 13:
            raise naquid.RpcError(b"unlucky", -1313)
        if type == 14:
            raise naquid.RpcError(b"", -7)
        return payload[::-1]

    @app.rpc_notify("rpc")
    def notified(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        seen.append(("notify", type, payload))
        rpc.notify(type, payload)

    @app.stream("records")
    async def records(stream: naquid.Stream) -> None:
        async for one in stream:
            await stream.send(one)

    return app


# ---- aioquic is the client ----


def test_raw_streams_of_its_client(run: Variant, bench: Bench) -> None:
    """10 MB each way, compared; both ends are seen."""
    data = noise(SIZE)

    async def main() -> None:
        async with bench.serve(raw_echo()) as listening, client(listening.port, bench.ca.ca) as peer:
            stream = peer.open(data, end=True)
            await peer.until(lambda: stream in peer.finished)
            assert peer.received[stream] == data
            small = [peer.open(noise(100, number), end=True) for number in range(50)]
            await peer.until(lambda: peer.finished.issuperset(small))
            for number, stream in enumerate(small):
                assert peer.received[stream] == noise(100, number)

    run(main)


def test_datagrams_and_uni_streams_of_its_client(run: Variant, bench: Bench) -> None:
    app = naquid.Handlers()
    app.datagram(lambda conn, data: conn.send_datagram(data[::-1]))

    @app.uni_stream
    async def back(stream: naquid.RawStream) -> None:
        data = await stream.read()
        answer = await stream.connection.open_uni_stream()
        answer.write(data[::-1])
        answer.write_eof()

    async def main() -> None:
        async with bench.serve(app) as listening, client(listening.port, bench.ca.ca) as peer:
            peer.datagram(b"position")
            await peer.until(lambda: peer.datagrams == [b"noitisop"])
            peer.open(noise(5000), end=True, uni=True)
            await peer.until(lambda: 3 in peer.finished)
            assert peer.received[3] == noise(5000)[::-1]

    run(main)


def test_rpc_of_its_client(run: Variant, bench: Bench) -> None:
    """Every vector as it stands in the wire format, sent in one piece and byte by byte."""
    seen: list[Any] = []

    async def main() -> None:
        async with bench.serve(rpc_app(seen)) as listening, client(listening.port, bench.ca.ca) as peer:
            stream = peer.open(bytes.fromhex("72 70 63 00 05 01 00 01 82 68 69"))  # "rpc", request 1, "hi"
            await peer.until(lambda: len(peer.received[stream]) >= 7)
            assert peer.received[stream] == bytes.fromhex("05 00 00 01 82 69 68")
            peer.received[stream].clear()

            expected = b""
            seen.clear()
            for (_, msgid, size), head in VECTORS[:6]:
                payload = noise(size)
                peer.send(stream, bytes.fromhex(head) + payload)
                if msgid:
                    expected += frame(0, msgid, payload[::-1])
                else:
                    expected += bytes.fromhex(head) + payload
            await peer.until(lambda: len(peer.received[stream]) >= len(expected))
            assert peer.received[stream] == expected
            assert seen == [
                ("request" if msgid else "notify", type, noise(size)) for (type, msgid, size), _ in VECTORS[:6]
            ]
            peer.received[stream].clear()

            for byte in frame(300, 0xFFFF, b"slowly"):
                peer.send(stream, bytes([byte]))
                await asyncio.sleep(0)
            await peer.until(lambda: len(peer.received[stream]) >= 11)
            assert peer.received[stream] == bytes.fromhex("05 00 ff ff 86") + b"ylwols"
            peer.received[stream].clear()

            peer.send(stream, frame(13, 0x10000) + frame(14, 0xFFFFFFFF))
            want = bytes.fromhex("02 fa df 00 01 00 00 87") + b"unlucky" + bytes.fromhex("06 f9 ff ff ff ff 80")
            await peer.until(lambda: len(peer.received[stream]) >= len(want))
            assert peer.received[stream] == want
            peer.send(stream, b"", end=True)
            await peer.until(lambda: stream in peer.finished)

    run(main)


def test_many_requests_of_its_client(run: Variant, bench: Bench) -> None:
    seen: list[Any] = []

    async def main() -> None:
        async with bench.serve(rpc_app(seen)) as listening, client(listening.port, bench.ca.ca) as peer:
            stream = peer.open(b"rpc\0")
            frames = Frames()
            replies: list[tuple[int, int, bytes]] = []
            sent = b"".join(frame(1, number, noise(number % 300, number)) for number in range(1, 2001))
            for at in range(0, len(sent), 777):
                peer.send(stream, sent[at : at + 777])
                await asyncio.sleep(0)

            def complete() -> bool:
                replies.extend(frames.feed(bytes(peer.received[stream])))
                peer.received[stream].clear()
                return len(replies) == 2000

            await peer.until(complete)
            assert replies == [(0, number, noise(number % 300, number)[::-1]) for number in range(1, 2001)]

    run(main)


def test_records_of_its_client(run: Variant, bench: Bench) -> None:
    sizes = [0, 1, 127, 128, 300, 16383, 16384, 2_097_152]

    async def main() -> None:
        async with bench.serve(rpc_app([])) as listening, client(listening.port, bench.ca.ca) as peer:
            sent = b"".join(record(noise(size)) for size in sizes)
            assert record(noise(300))[:2] == bytes.fromhex("2c 82")
            assert record(noise(16384))[:3] == bytes.fromhex("00 00 81")
            stream = peer.open(b"records\0" + sent, end=True)
            await peer.until(lambda: stream in peer.finished)
            assert peer.received[stream] == sent

    run(main)


def test_calls_to_its_client(run: Variant, bench: Bench) -> None:
    """The server opens an RPC stream; aioquic reads the request's bytes and answers by hand."""
    replies: list[bytes] = []
    app = naquid.Handlers()

    @app.on_connect
    async def call(conn: naquid.Connection) -> None:
        rpc = await conn.open_rpc("rpc")
        replies.append(await rpc.call(1, b"hi"))

    async def main() -> None:
        async with bench.serve(app) as listening, client(listening.port, bench.ca.ca) as peer:
            await peer.until(lambda: len(peer.received[1]) >= 11)
            assert peer.received[1] == bytes.fromhex("72 70 63 00 05 01 00 01 82 68 69")
            peer.send(1, bytes.fromhex("05 00 00 01 83") + b"yes")
            await until(lambda: replies)
            assert replies == [b"yes"]

    run(main)


def test_its_client_closes_and_is_closed(run: Variant, bench: Bench) -> None:
    gone: list[Any] = []
    app = raw_echo()
    app.on_disconnect(lambda conn, error: gone.append(error))

    async def main() -> None:
        async with bench.serve(app) as listening:
            async with client(listening.port, bench.ca.ca) as peer:
                await until(lambda: listening.connections)
                peer.close(0x77, "goodbye")
                await until(lambda: gone)
                assert gone[0].code == 0x77
                assert gone[0].reason == "goodbye"
                assert gone[0].remote
            async with client(listening.port, bench.ca.ca) as peer:
                await until(lambda: listening.connections)
                (accepted,) = listening.connections
                await accepted.close(0x1234567890, "enough")
                await peer.until(lambda: peer.end)
                assert peer.end is not None
                assert peer.end.error_code == 0x1234567890
                assert peer.end.reason_phrase == "enough"
                assert peer.end.frame_type is None

    run(main)


def test_no_error_of_the_transport_is_an_end_in_order(run: Variant, bench: Bench) -> None:
    """Clients of HTTP and their like end so: nothing went wrong. Any other code of the transport is an error."""
    gone: list[Any] = []
    app = raw_echo()
    app.on_disconnect(lambda conn, error: gone.append(error))

    async def main() -> None:
        async with bench.serve(app) as listening:
            for code in (0, 0xA):
                async with client(listening.port, bench.ca.ca) as peer:
                    await until(lambda: listening.connections)
                    peer._quic.close(error_code=code, frame_type=0)
                    peer.transmit()
                    await until(lambda: gone)
                error = gone.pop()
                assert error is None if code == 0 else error.code == code

    run(main)


def test_streams_keep_their_ids(run: Variant, bench: Bench) -> None:
    """Also those that were over before their handler ran."""
    ids: list[int] = []
    app = naquid.Handlers()

    @app.uni_stream
    async def short(stream: naquid.RawStream) -> None:
        await stream.wait_closed()
        ids.append(stream.stream_id)

    async def main() -> None:
        async with bench.serve(app) as listening, client(listening.port, bench.ca.ca) as peer:
            for _ in range(3):
                peer.open(b"all of it", end=True, uni=True)
            await until(lambda: len(ids) == 3)
            assert ids == [2, 6, 10]

    run(main)


def test_retry_with_its_client(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with (
            bench.serve(raw_echo(), always_retry=True) as listening,
            client(listening.port, bench.ca.ca) as peer,
        ):
            stream = peer.open(b"after a Retry", end=True)
            await peer.until(lambda: stream in peer.finished)
            assert peer.received[stream] == b"after a Retry"

    run(main)


def test_version_2_with_its_client(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        from aioquic.quic.packet import QuicProtocolVersion

        v2 = QuicProtocolVersion.VERSION_2
        async with (
            bench.serve(raw_echo()) as listening,
            client(listening.port, bench.ca.ca, supported_versions=[v2], original_version=v2) as peer,
        ):
            stream = peer.open(b"version 2", end=True)
            await peer.until(lambda: stream in peer.finished)
            assert peer.received[stream] == b"version 2"

    run(main)


def test_its_client_with_another_alpn(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(raw_echo()) as listening:
            with pytest.raises(ConnectionError):
                async with client(listening.port, bench.ca.ca, alpn="h3"):
                    pass
            async with client(listening.port, bench.ca.ca) as peer:
                stream = peer.open(b"x", end=True)
                await peer.until(lambda: stream in peer.finished)

    run(main)


# ---- aioquic is the server ----


def test_raw_streams_to_its_server(run: Variant, bench: Bench) -> None:
    data = noise(SIZE)

    def echo(peer: Peer, stream: int) -> None:
        peer._quic.send_stream_data(stream, bytes(peer.received[stream]), stream in peer.finished)
        peer.received[stream].clear()

    async def main() -> None:
        async with server(bench.leaf, echo) as (port, _), bench.connect(port) as conn:
            assert conn.alpn == "nq/1"
            stream = await conn.open_raw_stream()

            async def send() -> None:
                for at in range(0, SIZE, 1 << 16):
                    stream.write(data[at : at + (1 << 16)])
                    await stream.drain()
                stream.write_eof()

            sending = asyncio.ensure_future(send())
            assert await stream.read() == data
            await sending
            await stream.wait_closed()

    run(main)


def test_rpc_to_its_server(run: Variant, bench: Bench) -> None:
    """Our bytes are what the wire format says, and its hand-made replies are understood."""
    streams: dict[int, Frames] = {}
    opened: list[bytes] = []
    got: list[tuple[int, int, bytes]] = []

    def answer(peer: Peer, stream: int) -> None:
        data = bytes(peer.received[stream])
        peer.received[stream].clear()
        if stream not in streams:
            opened.append(data)
            assert data.startswith(b"rpc\0")
            data = data[4:]
            streams[stream] = Frames()
        for type, msgid, payload in streams[stream].feed(data):
            got.append((type, msgid, payload))
            if not msgid:
                reply = frame(type, 0, payload)  # a notification comes back as one
            elif type == 13:
                reply = frame(-1313, msgid, b"unlucky")
            else:
                reply = frame(0, msgid, payload[::-1])
            peer._quic.send_stream_data(stream, reply)

    notified: list[tuple[int, bytes]] = []
    app = naquid.Handlers()
    app.rpc_notify("rpc")(lambda rpc, type, payload: notified.append((type, payload)))

    async def main() -> None:
        async with server(bench.leaf, answer) as (port, _), bench.connect(port, app) as conn:
            rpc = await conn.open_rpc("rpc")
            assert await rpc.call(1, b"hi") == b"ih"
            assert opened == [bytes.fromhex("72 70 63 00 05 01 00 01 82 68 69")]
            for number in range(14, 312):
                payload = noise(number * 7, number)
                assert await rpc.call(number, payload) == payload[::-1]
            with pytest.raises(naquid.RpcError) as caught:
                await rpc.call(13)
            assert (caught.value.code, caught.value.payload) == (-1313, b"unlucky")
            rpc.notify(32767, b"fifteen bytes..")
            await until(lambda: notified == [(32767, b"fifteen bytes..")])
            assert [msgid for _, msgid, _ in got] == [*range(1, 301), 0]
            assert await rpc.call(1, noise(1_000_000)) == noise(1_000_000)[::-1]

    run(main)


def test_requests_of_its_server(run: Variant, bench: Bench) -> None:
    """aioquic opens the stream as a server and calls; our client answers."""
    seen: list[Any] = []

    def ignore(peer: Peer, stream: int) -> None:
        pass

    async def main() -> None:
        async with server(bench.leaf, ignore) as (port, peers), bench.connect(port, rpc_app(seen)) as conn:
            await conn.ping()
            (peer,) = peers
            stream = peer.open(b"rpc\0" + frame(1, 70000, b"to the client"))
            want = frame(0, 70000, b"tneilc eht ot")
            await peer.until(lambda: len(peer.received[stream]) >= len(want))
            assert peer.received[stream] == want

    run(main)


def test_its_server_resets_and_stops(run: Variant, bench: Bench) -> None:
    def end(peer: Peer, stream: int) -> None:
        peer._quic.reset_stream(stream, 0x55)
        peer._quic.stop_stream(stream, 0x66)

    async def main() -> None:
        async with server(bench.leaf, end) as (port, _), bench.connect(port) as conn:
            stream = await conn.open_raw_stream()
            stream.write(b"x")
            with pytest.raises(naquid.StreamReset) as caught:
                await stream.read(1)
            assert caught.value.code == 0x55
            await stream.wait_closed()
            with pytest.raises(naquid.StreamReset) as caught:
                stream.write(b"y")
            assert caught.value.code == 0x66
            assert conn.is_open

    run(main)


def test_its_server_is_verified(run: Variant, bench: Bench, other_ca: Any) -> None:
    async def main() -> None:
        async with server(other_ca.issue(), lambda peer, stream: None) as (port, _):
            with pytest.raises(naquid.HandshakeFailed) as caught:
                await bench.connect(port)
            assert caught.value.alert == 48

    run(main)
