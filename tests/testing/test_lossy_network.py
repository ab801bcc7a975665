"""What a real network does to the asyncio API: each test goes through a relay, and compares what arrives."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from harness import Variant, noise, rss_kb, until

import naquid
from naquid.testing.plugin import NaquidClient, NaquidRelay, NaquidServer


class Network:
    """The plugin's fixtures in one hand."""

    def __init__(self, server: NaquidServer, client: NaquidClient, relay: NaquidRelay) -> None:
        self.serve = server
        self.connect = client
        self.relay = relay


@pytest.fixture
def network(naquid_server: NaquidServer, naquid_client: NaquidClient, naquid_relay: NaquidRelay) -> Network:
    return Network(naquid_server, naquid_client, naquid_relay)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Variant:
    return Variant(loop=request.param)


def client_config(**limits: Any) -> naquid.ClientConfig:
    return naquid.ClientConfig(limits=naquid.Limits(**limits))


def server_config(**limits: Any) -> naquid.ServerConfig:
    return naquid.ServerConfig(limits=naquid.Limits(**limits))


def echo_app() -> naquid.Handlers:
    app = naquid.Handlers()

    @app.raw_stream
    async def raw(stream: naquid.RawStream) -> None:
        while data := await stream.read(65536):
            stream.write(data)
            await stream.drain()
        stream.write_eof()

    @app.rpc("echo")
    def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload

    @app.stream("echo records")
    async def records(stream: naquid.Stream) -> None:
        async for record in stream:
            await stream.send(record)

    return app


async def echoed(stream: naquid.RawStream, data: bytes) -> bytes:
    """Writes data and reads what comes back, both at once, to the end."""

    async def write() -> None:
        for at in range(0, len(data), 32768):
            stream.write(data[at : at + 32768])
            await stream.drain()
        stream.write_eof()

    _, back = await asyncio.gather(write(), stream.read())
    return back


@pytest.mark.parametrize("seed", range(4))
def test_handshake_under_loss(run: Variant, network: Network, seed: int) -> None:
    async def main() -> None:
        patient = 60.0
        async with network.serve(echo_app(), config=server_config(handshake_timeout=patient)) as server:
            relay = network.relay(server, seed=seed, loss=0.2)
            for _ in range(3):
                async with network.connect(relay, config=client_config(handshake_timeout=patient)) as conn:
                    rpc = await conn.open_rpc("echo")
                    assert await rpc.call(1, b"through") == b"through"
            assert relay.to_server.counters.lost + relay.to_client.counters.lost > 0
            relay.change(loss=0)
            await until(lambda: not server.connections)

    run(main)


def test_handshake_with_everything_twice(run: Variant, network: Network) -> None:
    opened: list[naquid.Connection] = []

    async def main() -> None:
        app = echo_app()
        app.on_connect(opened.append)
        async with network.serve(app) as server:
            relay = network.relay(server, duplicate=1.0, delay=0.001, jitter=0.004)
            for _ in range(5):
                async with network.connect(relay) as conn:
                    assert await conn.ping() > 0
            relay.change(duplicate=0, delay=0, jitter=0)
            await until(lambda: not server.connections)
            assert len(opened) == 5

    run(main)


BAD = {"loss": 0.05, "reorder": 0.05, "reorder_delay": 0.005, "duplicate": 0.05}


def test_bytes_through_a_bad_network(run: Variant, network: Network) -> None:
    data = noise(1 << 20)

    async def main() -> None:
        async with network.serve(echo_app()) as server:
            relay = network.relay(server, seed=3, **BAD)
            async with network.connect(relay) as conn:
                back = await echoed(await conn.open_raw_stream("raw"), data)
                assert back == data
                assert conn.stats().packets_lost > 0
            for direction in (relay.to_server, relay.to_client):
                assert direction.counters.lost
                assert direction.counters.duplicated
                assert direction.counters.reordered

    run(main)


def test_many_streams_through_a_bad_network(run: Variant, network: Network) -> None:
    async def main() -> None:
        async with network.serve(echo_app()) as server:
            relay = network.relay(server, seed=5, delay=0.002, jitter=0.004, **BAD)
            async with network.connect(relay) as conn:

                async def raw(seed: int) -> None:
                    data = noise(50_000 + seed, seed)
                    assert await echoed(await conn.open_raw_stream("raw"), data) == data

                async def records(seed: int) -> None:
                    stream = await conn.open_stream("echo records")
                    sent = [noise(size, seed) for size in (0, 1, 100, 5000, 40_000)]
                    for record in sent:
                        await stream.send(record)
                    stream.finish()
                    assert [record async for record in stream] == sent

                await asyncio.gather(*(job(seed) for seed in range(8) for job in (raw, records)))
            relay.change(loss=0)

    run(main)


def test_calls_under_loss(run: Variant, network: Network) -> None:
    async def main() -> None:
        async with network.serve(echo_app()) as server:
            relay = network.relay(server, seed=11, **BAD)
            async with network.connect(relay) as conn:
                rpc = await conn.open_rpc("echo")
                payloads = [noise(at * 37 % 3000, at) for at in range(200)]
                assert await asyncio.gather(*(rpc.call(1, payload) for payload in payloads)) == payloads
                for payload in payloads[:30]:  # one after the other: each loss is a tail loss
                    assert await rpc.call(2, payload) == payload

    run(main)


def test_datagrams_are_lost_but_never_changed(run: Variant, network: Network) -> None:
    got: list[bytes] = []

    async def main() -> None:
        app = naquid.Handlers()
        app.datagram(lambda conn, data: got.append(data))
        async with network.serve(app) as server:
            relay = network.relay(server, seed=2, loss=0.2, duplicate=0.2)
            async with network.connect(relay) as conn:
                sent = [noise(100, seed) for seed in range(300)]
                for at, data in enumerate(sent):
                    conn.send_datagram(data)
                    if at % 10 == 0:
                        await asyncio.sleep(0.001)
                await conn.ping()
                await conn.ping()
        assert 100 < len(got) <= 300
        assert len(set(got)) == len(got)  # what came twice was one packet
        assert set(got) <= set(sent)

    run(main)


def test_nat_rebinding_during_traffic(run: Variant, network: Network) -> None:
    async def main() -> None:
        async with network.serve(echo_app()) as server:
            relay = network.relay(server, seed=1, delay=0.001)
            async with network.connect(relay) as conn:
                rpc = await conn.open_rpc("echo")
                assert await rpc.call(1, b"first") == b"first"
                (accepted,) = server.connections
                seen = {accepted.remote_address}
                done = asyncio.Event()

                async def rebind() -> None:
                    for _ in range(3):
                        before = accepted.remote_address
                        relay.rebind()
                        await until(lambda before=before: accepted.remote_address != before)
                        seen.add(accepted.remote_address)
                    done.set()

                async def call() -> None:
                    for at in itertools.count():
                        assert await rpc.call(1, b"%d" % at) == b"%d" % at
                        if done.is_set():
                            return

                data = noise(300_000)
                _, _, back = await asyncio.gather(rebind(), call(), echoed(await conn.open_raw_stream("raw"), data))
                assert back == data
                assert len(seen) == 4
                assert server.connections == {accepted}
                assert relay.clients == 1

    run(main)


def test_nat_rebinding_on_a_silent_connection(run: Variant, network: Network) -> None:
    """The server has something to say first: it does not know the new port until the client speaks."""

    async def main() -> None:
        app = echo_app()
        async with network.serve(app) as server:
            relay = network.relay(server)
            async with network.connect(relay, config=client_config(keep_alive=0.05)) as conn:
                await conn.ping()
                (accepted,) = server.connections
                before = accepted.remote_address
                relay.rebind()
                await until(lambda: accepted.remote_address != before)
                assert await accepted.ping() > 0
                assert await conn.ping() > 0

    run(main)


def test_black_hole_ends_in_idle_timeout(run: Variant, network: Network) -> None:
    ended: list[Exception | None] = []

    async def main() -> None:
        app = echo_app()
        app.on_disconnect(lambda conn, error: ended.append(error))
        async with network.serve(app, config=server_config(idle_timeout=0.5)) as server:
            relay = network.relay(server)
            conn = await network.connect(relay, config=client_config(idle_timeout=0.5))
            rpc = await conn.open_rpc("echo")
            stream = await conn.open_stream("echo records")
            assert await rpc.call(1, b"x") == b"x"
            relay.cut()
            waiting = [asyncio.ensure_future(job) for job in (rpc.call(1, b"lost"), stream.recv(), conn.ping())]
            for outcome in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(outcome, naquid.IdleTimeout), outcome
            assert isinstance(conn.error, naquid.IdleTimeout)
            await conn.wait_closed()
            with pytest.raises(naquid.IdleTimeout):
                await conn.open_rpc("echo")
            await until(lambda: ended)
            assert isinstance(ended[0], naquid.IdleTimeout)
            assert not server.connections
            assert relay.to_server.counters.cut > 0

    run(main)


def test_a_short_black_hole_is_survived(run: Variant, network: Network) -> None:
    async def main() -> None:
        async with network.serve(echo_app()) as server:
            relay = network.relay(server)
            async with network.connect(relay) as conn:
                rpc = await conn.open_rpc("echo")
                assert await rpc.call(1, b"before") == b"before"
                relay.cut()
                call = asyncio.ensure_future(rpc.call(1, b"during"))
                await until(lambda: relay.to_server.counters.cut >= 2)  # sent, and probed for
                relay.restore()
                assert await call == b"during"

    run(main)


def test_nobody_answers(run: Variant, network: Network) -> None:
    async def main() -> None:
        async with network.serve(echo_app()) as server:
            relay = network.relay(server)
            relay.cut()
            with pytest.raises(naquid.HandshakeFailed, match="no answer"):
                await network.connect(relay, config=client_config(handshake_timeout=0.5))
            assert relay.to_server.counters.cut >= 2
            assert not server.connections

    run(main)


@pytest.mark.parametrize("end", ["stop_sending", "close"])
def test_a_stop_that_comes_with_the_first_bytes(run: Variant, network: Network, end: str) -> None:
    """STOP_SENDING may stand before the name in the same packet: the handler is told all the same."""
    outcomes: list[BaseException] = []

    async def main() -> None:
        app = naquid.Handlers()

        @app.raw_stream("raw")
        async def raw(stream: naquid.RawStream) -> None:
            await stream.read(1)
            try:
                while True:
                    stream.write(b"x")
                    await stream.drain()
                    await asyncio.sleep(0)
            except naquid.StreamError as error:
                outcomes.append(error)

        async with network.serve(app) as server, network.connect(server) as conn:
            for _ in range(10):
                stream = await conn.open_raw_stream("raw")
                stream.write(b"x")
                getattr(stream, end)()
            await until(lambda: len(outcomes) == 10)
            assert all(isinstance(outcome, naquid.StreamReset) for outcome in outcomes), outcomes

    run(main)


def test_a_slow_network_makes_the_writer_wait(run: Variant, network: Network) -> None:
    """Four times what may be queued is written over a thin line: it must all arrive, and never wait in memory."""
    limits = {"send_high": 64 << 10, "send_low": 16 << 10}
    got = bytearray()

    async def main() -> None:
        app = naquid.Handlers()

        @app.raw_stream
        async def sink(stream: naquid.RawStream) -> None:
            while data := await stream.read(65536):
                got.extend(data)

        async with network.serve(app) as server:
            relay = network.relay(server, rate=1_500_000, queue=64 << 10)
            async with network.connect(relay, config=client_config(**limits)) as conn:
                stream = await conn.open_raw_stream()
                data = noise(1 << 20)
                most = waited = 0
                for at in range(0, len(data), 16384):
                    stream.write(data[at : at + 16384])
                    most = max(most, stream.queued)
                    drain = asyncio.ensure_future(stream.drain())
                    await asyncio.sleep(0)
                    waited += not drain.done()
                    await drain
                stream.write_eof()
                await until(lambda: len(got) == len(data))
                assert got == data
                assert waited > 4
                assert most <= limits["send_high"] + 16384
                assert relay.to_server.held <= 64 << 10

    run(main)


def test_an_unread_stream_stops_its_writer(network: Network) -> None:
    """The reader does not read: what waits is bounded at the sender, in between and at the receiver."""
    limits = {"stream_window": 256 << 10, "connection_window": 512 << 10, "send_high": 256 << 10, "send_low": 64 << 10}

    async def main() -> None:
        app = naquid.Handlers()
        read = asyncio.Event()
        got = bytearray()

        @app.raw_stream
        async def sink(stream: naquid.RawStream) -> None:
            await read.wait()
            while data := await stream.read(65536):
                got.extend(data)

        async with network.serve(app, config=server_config(**limits)) as server:
            relay = network.relay(server, seed=4, **BAD)
            async with network.connect(relay, config=client_config(**limits)) as conn:
                stream = await conn.open_raw_stream()
                piece = noise(65536)
                written = 0

                async def write() -> None:
                    nonlocal written
                    while written < 64 << 20 and not read.is_set():
                        stream.write(piece)
                        written += len(piece)
                        await stream.drain()
                    stream.write_eof()

                before = rss_kb()
                writer = asyncio.ensure_future(write())
                last = -1
                while written != last:  # until it stands still
                    last = written
                    for _ in range(5):
                        await conn.ping()
                        await asyncio.sleep(0.02)
                assert not writer.done()
                assert written <= 2 << 20
                assert rss_kb() - before < 16 << 10
                read.set()
                await writer
                await until(lambda: len(got) == written)
                assert got == piece * (written // len(piece))

    Variant()(main)


def test_a_small_mtu(run: Variant, network: Network) -> None:
    """Nothing above the least that QUIC needs passes (RFC 9000 14.1), and both sides keep to it."""

    async def main() -> None:
        limits = {"max_udp_payload": 1200}
        async with network.serve(echo_app(), config=server_config(**limits)) as server:
            relay = network.relay(server, mtu=1200)
            async with network.connect(relay, config=client_config(**limits)) as conn:
                data = noise(200_000)
                assert await echoed(await conn.open_raw_stream("raw"), data) == data
                assert relay.to_server.counters.lost == relay.to_client.counters.lost == 0

    run(main)
