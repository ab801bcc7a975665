"""naquid.testing.SimNetwork: what its clock and its links do, and that nothing of it is real."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket
import threading
import time
import weakref
from typing import Any

import pytest

import naquid
from naquid import _naquid, capi
from naquid.testing import Authority, SimConditions, SimDeadlock, SimNetwork

SERVER = "10.0.0.1"


def echo_app() -> naquid.Handlers:
    app = naquid.Handlers()
    app.rpc("echo")(lambda rpc, type, payload: payload)

    @app.datagram
    def datagram(conn: naquid.Connection, data: bytes) -> None:
        conn.send_datagram(data)

    return app


class Place:
    """Certificates, and the two ends in few words."""

    def __init__(self, authority: Authority) -> None:
        self.ca = authority.ca
        self.leaf = authority.issue("localhost", SERVER, "fd00::1", "game.test", "10.0.0.2")

    def serve(self, host: str = SERVER, port: int = 4433, **limits: Any) -> naquid.server.Serving:
        config = naquid.ServerConfig(limits=naquid.Limits(**limits))
        return naquid.serve(echo_app(), host, port, cert=self.leaf.cert, key=self.leaf.key, config=config)

    def connect(
        self, host: str = SERVER, port: int = 4433, name: str | None = "localhost", reconnect: Any = None, **limits: Any
    ) -> naquid.client.Connecting:
        config = naquid.ClientConfig(server_name=name, reconnect=reconnect, limits=naquid.Limits(**limits))
        return naquid.connect(host, port, ca=self.ca, config=config)


@pytest.fixture(scope="module")
def place(naquid_ca: Authority) -> Place:
    return Place(naquid_ca)


def now() -> float:
    return asyncio.get_running_loop().time()


# ---- the clock ----


def test_time_passes_on_its_clock_only() -> None:
    async def main() -> list[float]:
        start, seen = now(), []
        for seconds in (0.001, 1, 600, 86400 * 3):
            await asyncio.sleep(seconds)
            seen.append(now() - start)
        return seen

    with SimNetwork() as network:
        before, real = network.time, time.monotonic()
        assert network.run(main(), limit=1e6) == pytest.approx([0.001, 1.001, 601.001, 259801.001])
        assert network.time - before == pytest.approx(259801.001)
        assert time.monotonic() - real < 259801.001  # a hang, or days of real time


def test_the_clock_goes_on_in_the_next_run() -> None:
    with SimNetwork() as network:
        start = network.time
        for _ in range(3):
            network.run(asyncio.sleep(10))
        assert network.time - start == pytest.approx(30)


def test_a_round_trip_takes_what_the_link_says(place: Place) -> None:
    async def main() -> None:
        async with place.serve(), place.connect() as conn:
            rpc = await conn.open_rpc("echo")
            await rpc.call(1, b"warm")
            await asyncio.sleep(1)
            start = now()
            assert await rpc.call(1, b"hi") == b"hi"
            assert now() - start == pytest.approx(0.2)
            network.link(delay=0.7)
            start = now()
            assert await rpc.call(1, b"hi", timeout=5) == b"hi"
            assert now() - start == pytest.approx(1.4)

    with SimNetwork(delay=0.1) as network:
        network.run(main())


def test_an_idle_timeout_is_exact(place: Place) -> None:
    async def main() -> float:
        async with place.serve(idle_timeout=40.0), place.connect(idle_timeout=30.0, keep_alive=0) as conn:
            await asyncio.sleep(5)
            await conn.ping()
            start = now()
            network.link(cut=True)
            await conn.wait_closed()
            assert isinstance(conn.error, naquid.IdleTimeout)
            return now() - start

    with SimNetwork(delay=0.01) as network:
        # The timer starts with the last packet that was received (RFC 9000 10.1): the PONG.
        assert network.run(main()) == pytest.approx(30, abs=0.05)


def test_a_call_timeout_is_exact(place: Place) -> None:
    async def main() -> float:
        async with place.serve(), place.connect() as conn:
            rpc = await conn.open_rpc("echo")
            await rpc.call(1, b"warm")
            network.link(cut=SERVER)
            start = now()
            with pytest.raises(naquid.CallTimeout):
                await rpc.call(1, b"hi", timeout=2.5)
            end = now()
            network.link(cut=False)
            return end - start

    with SimNetwork() as network:
        assert network.run(main()) == pytest.approx(2.5, abs=0.001)


# ---- the same again ----


async def _story(place: Place, network: SimNetwork) -> list[object]:
    """What depends on every packet: when each of 200 calls was answered, and what was lost."""
    told: list[object] = []
    async with place.serve(), place.connect() as conn:
        rpc = await conn.open_rpc("echo")
        for number in range(200):
            assert await rpc.call(1, b"%d" % number, timeout=60) == b"%d" % number
            told.append(now())
        await asyncio.sleep(60)
        told += [conn.is_open, network.counters]
    return told


@pytest.mark.parametrize("conditions", [{"loss": 0.1}, {"loss": 0.02, "jitter": 0.03, "duplicate": 0.1}])
def test_a_seed_gives_the_same_run(place: Place, conditions: dict[str, Any]) -> None:
    runs = []
    for seed in (7, 7, 8):
        with SimNetwork(seed=seed, **conditions) as network:
            runs.append(network.run(_story(place, network)))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert network.counters.lost > 0


# ---- links ----


def test_what_is_lost_and_doubled_is_counted(place: Place) -> None:
    async def main() -> None:
        async with place.serve(), place.connect() as conn:
            before = network.counters
            got = []
            network.link(duplicate=1.0)
            assert await conn.ping() > 0
            network.link(duplicate=0.0, loss=1.0)
            twice = network.counters
            assert twice.duplicated - before.duplicated == twice.sent - before.sent > 0
            ping = asyncio.ensure_future(conn.ping())
            await asyncio.sleep(3)
            lost = network.counters
            assert lost.lost - twice.lost == lost.sent - twice.sent > 0
            network.link(loss=0.0)
            got.append(await ping)
            assert got[0] is not None

    with SimNetwork() as network:
        network.run(main())


def test_a_narrow_link(place: Place) -> None:
    async def main() -> float:
        async with place.serve(), place.connect() as conn:
            rpc = await conn.open_rpc("echo")
            await rpc.call(1, b"warm")
            network.link(rate=1e5)
            start = now()
            assert len(await rpc.call(1, bytes(1_000_000), timeout=600)) == 1_000_000
            return now() - start

    with SimNetwork() as network:
        assert 10 < network.run(main()) < 40  # there and back at 100 kB/s each, what was lost in the queue once more


def test_packets_above_the_mtu_vanish(place: Place) -> None:
    async def main() -> None:
        async with place.serve(), place.connect() as conn:
            await asyncio.sleep(20)  # it is looked for how large packets may be
            assert 1200 < conn.max_datagram_size < 1400
            rpc = await conn.open_rpc("echo")
            assert len(await rpc.call(1, bytes(100_000))) == 100_000

    with SimNetwork(mtu=1400) as network:
        network.run(main())
        assert network.counters.lost > 0


def test_damaged_packets_are_no_data(place: Place) -> None:
    async def main() -> None:
        async with place.serve(), place.connect() as conn:
            rpc = await conn.open_rpc("echo")
            network.link(corrupt=0.3)
            for number in range(50):
                assert await rpc.call(1, b"%d" % number, timeout=60) == b"%d" % number
            assert conn.stats().packets_lost > 0
            network.link(corrupt=0)

    with SimNetwork(seed=3) as network:
        network.run(main())


@pytest.mark.parametrize(
    ("field", "value"),
    [("loss", 1.1), ("duplicate", -0.1), ("corrupt", 2), ("delay", -1), ("jitter", 1e10), ("rate", -1), ("mtu", 0)],
)
def test_conditions_are_checked(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field} is "):
        SimConditions(**{field: value})
    with SimNetwork() as network:
        with pytest.raises(ValueError, match=f"^{field} is "):
            network.link(**{field: value})
        assert network.conditions == SimConditions()
        with pytest.raises(TypeError):
            network.link(nonsense=1)
        with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
            network.link(cut="game.test")


# ---- hosts and names ----


def test_hosts_have_engines_and_addresses_of_their_own(place: Place) -> None:
    async def main() -> None:
        async with place.serve() as server:
            with network.host("10.0.0.2"):
                two = await place.connect()
            with network.host("10.0.0.3", "fd00::3"):
                three = await place.connect()
            without = await place.connect()
            assert await without.ping() is not None
            assert {conn.remote_address[0] for conn in server.connections if conn.remote_address} == {
                "10.0.0.2",
                "10.0.0.3",
                "10.0.0.250",
            }
            network.link(cut="10.0.0.3")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(three.ping(), 1)
            assert await two.ping() is not None
            assert await without.ping() is not None
            network.link(cut=False)
            for conn in (two, three, without):
                await conn.close()

    with SimNetwork() as network:
        network.run(main())


def test_tasks_are_of_the_host_that_began_them(place: Place) -> None:
    async def client() -> str:
        async with place.connect() as conn:
            assert await conn.ping() is not None
            return next(str(c.remote_address[0]) for c in servers[0].connections if c.remote_address)

    servers: list[naquid.Server] = []

    async def main() -> None:
        async with place.serve() as server:
            servers.append(server)
            with network.host("10.0.0.9"):
                task = asyncio.create_task(client())
            assert await task == "10.0.0.9"

    with SimNetwork() as network:
        network.run(main())


def test_addresses_of_both_families(place: Place) -> None:
    async def main() -> None:
        with network.host("10.0.0.1", "fd00::1"):
            server = await place.serve("::")
        async with server:
            for host, seen in (("10.0.0.1", "10.0.0.250"), ("fd00::1", "fd00::250")):
                async with place.connect(host) as conn:
                    assert conn.remote_address == (host, 4433)
                    assert await conn.ping() is not None
                    assert [c.remote_address[0] for c in server.connections if c.remote_address] == [seen]
            with network.host("10.0.0.2"), pytest.raises(naquid.HandshakeFailed):  # it has no address of IPv6
                await place.connect("fd00::1")

    with SimNetwork() as network:
        network.run(main())


def test_addresses_are_taken_once(place: Place) -> None:
    async def main() -> None:
        async with place.serve():
            with pytest.raises(OSError, match="Address already in use"):
                await place.serve()
            with network.host(SERVER), pytest.raises(OSError, match="Address already in use"):
                await place.serve("0.0.0.0")
            with network.host("10.0.0.2"), pytest.raises(OSError, match="Cannot assign requested address"):
                await place.serve("10.0.0.3")
            async with place.serve(port=0) as one, place.serve(port=0) as two:
                assert one.port != two.port
        async with place.serve():
            pass

    with SimNetwork() as network:
        network.run(main())
        for wrong in ((), ("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "fd00::9"), ("nowhere",)):
            with pytest.raises(ValueError, match=r"host|address"), network.host(*wrong):
                pass


def test_names(place: Place) -> None:
    async def main() -> None:
        async with place.serve("10.0.0.2"):
            for name in ("game.test", "both.test"):
                expected = "localhost" if name == "both.test" else None
                async with place.connect(name, name=expected) as conn:
                    assert conn.remote_address == ("10.0.0.2", 4433)
            with pytest.raises(naquid.ResolveError, match="elsewhere"):
                await place.connect("elsewhere")
            network.name("elsewhere", "10.0.0.2")
            async with place.connect("elsewhere") as conn:
                assert conn.is_open
            network.name("elsewhere")
            with pytest.raises(naquid.ResolveError):
                await place.connect("elsewhere")

    with SimNetwork(names={"game.test": "10.0.0.2", "both.test": ["10.0.0.77", "10.0.0.2"]}) as network:
        network.run(main())
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        SimNetwork(names={"game.test": "other.test"})


def test_a_nat_that_forgets(place: Place) -> None:
    async def main() -> None:
        async with place.serve() as server, place.connect() as conn:
            rpc = await conn.open_rpc("echo")
            assert await rpc.call(1, b"there") == b"there"
            (accepted,) = server.connections
            ports = []
            for _ in range(3):
                network.rebind()
                assert await rpc.call(1, b"still there") == b"still there"
                await asyncio.sleep(1)
                assert accepted.remote_address is not None
                ports.append(accepted.remote_address[1])
            assert len(set(ports)) == 3
            with pytest.raises(ValueError, match=r"nothing is open at 10\.0\.0\.99"):
                network.rebind("10.0.0.99")

    with SimNetwork() as network:
        network.run(main())


def test_an_endpoint_connects_from_its_own_host(place: Place) -> None:
    async def main() -> None:
        async with place.serve() as server:
            with network.host("10.0.0.5"):
                endpoint = await naquid.Endpoint("0.0.0.0", 99)
            config = naquid.ClientConfig(server_name="localhost")
            async with endpoint, endpoint.connect(SERVER, 4433, ca=place.ca, config=config) as conn:
                assert await conn.ping() is not None
                assert [c.remote_address for c in server.connections] == [("10.0.0.5", 99)]

    with SimNetwork() as network:
        network.run(main())


def test_a_connection_comes_back(place: Place) -> None:
    async def main() -> list[float]:
        async with place.serve() as server:
            backoff = naquid.Backoff(initial=1.0, factor=2.0, maximum=60.0, jitter=0.0)
            limits: dict[str, Any] = {"idle_timeout": 10.0, "keep_alive": 3.0, "handshake_timeout": 4.0}
            with network.host("10.0.0.2"):
                conn = await place.connect(reconnect=backoff, **limits)
            network.link(cut=True)
            start, seen = now(), []
            states = conn.states()
            async for state in states:
                seen.append((state.name, round(now() - start)))
                if len(seen) == 8:
                    break
            network.link(cut=False)
            while not conn.is_open:  # noqa: ASYNC110
                await asyncio.sleep(1)
            assert await conn.ping() is not None
            await conn.close()
            assert server.is_serving()
            return [at for name, at in seen if name == "CONNECTING"]

    with SimNetwork() as network:
        begun = network.run(main())
        gaps = [after - before for before, after in itertools.pairwise(begun)]
        assert gaps == [4 + 2, 4 + 4]  # an attempt takes 4 s to fail, then twice the wait before


# ---- what it is not ----


def test_waiting_for_nothing_is_an_error() -> None:
    ended = []

    async def main() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    with SimNetwork() as network:
        with pytest.raises(SimDeadlock, match="cannot happen any more"):
            network.run(main())
        assert ended == [True]
        assert network.run(asyncio.sleep(1, "the next one runs")) == "the next one runs"


def test_a_program_that_does_not_end(place: Place) -> None:
    async def main() -> None:
        async with place.serve(), place.connect():
            while True:  # noqa: ASYNC110
                await asyncio.sleep(1)

    with SimNetwork() as network:
        start = network.time
        with pytest.raises(TimeoutError, match=r"has not ended in 100 s .*limit"):
            network.run(main(), limit=100)
        assert 99 <= network.time - start < 200


async def _socket(loop: asyncio.AbstractEventLoop) -> object:
    return await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))


async def _reader(loop: asyncio.AbstractEventLoop) -> None:
    with socket.socket() as made:
        loop.add_reader(made, print)


async def _stream(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def _child(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.create_subprocess_exec("true")


@pytest.mark.parametrize("use", [_socket, _reader, _stream, _child])
def test_nothing_real_is_possible(use: Any) -> None:
    async def main() -> None:
        await use(asyncio.get_running_loop())

    with SimNetwork() as network, pytest.raises(RuntimeError, match="in the event loop of a SimNetwork"):
        network.run(main())


def test_threads_take_no_time() -> None:
    release = threading.Event()

    def work() -> str:
        assert release.wait(60)
        return "done"

    async def main() -> tuple[str, float]:
        asyncio.get_running_loop().call_later(0.5, release.set)  # never: the clock stands still, until it gives up
        timer = asyncio.create_task(asyncio.to_thread(lambda: "quick"))
        start = now()
        quick = await timer
        assert now() == start
        return f"{quick}, {await asyncio.to_thread(work)}", now() - start

    with SimNetwork() as network:
        told, took = network.run(main())
        assert told == "quick, done"
        assert took == pytest.approx(0.5)


def test_a_closed_network(place: Place) -> None:
    network = SimNetwork()

    async def main() -> naquid.Connection:
        await place.serve()
        conn = await place.connect()
        network.close()
        assert conn.is_closed
        with pytest.raises(naquid.Error, match="the SimNetwork is closed"):
            await place.connect()
        return conn

    conn = network.run(main())
    assert isinstance(conn.error, naquid.ConnectionLost)
    network.close()
    with contextlib.closing(network), pytest.raises(RuntimeError, match="the SimNetwork is closed"):
        network.run(main())


def test_a_loop_that_was_forgotten_goes_with_its_network() -> None:
    sim = _naquid.Sim(1)
    loop = _naquid.Loop(sim=_naquid.SimHost(sim, ["10.0.0.1"]))
    assert sim.loops == [loop]
    gone = weakref.ref(loop)
    del sim, loop
    gc.collect()
    assert gone() is None


def test_clients_of_the_c_api(place: Place) -> None:
    """They are polled, and live where they were made; servers have threads, and are refused."""

    async def main() -> list[object]:
        seen: list[object] = []
        with network.host("10.0.0.2"):
            client = capi.nq_client_create(1, 1)
            with pytest.raises(RuntimeError, match=r"use naquid\.serve"):
                capi.nq_server_create(1)
        assert client is not None
        conf = capi.nq_clconf_t(on_open=lambda conn, pctx: seen.append("open"), idle_timeout=capi.nq_time_sec(5))
        conf.on_close = lambda conn, error, detail, remote: seen.append(detail.code)
        async with place.serve(idle_timeout=60.0) as server:
            assert capi.nq_client_connect(client, capi.nq_addr_t(SERVER, ca=place.ca, port=4433), conf)
            start = now()
            while len(seen) < 2:
                capi.nq_client_poll(client)
                await asyncio.sleep(0.001)
                if seen and len(seen) == 1 and server.connections:
                    (conn,) = server.connections
                    assert conn.remote_address is None or conn.remote_address[0] == "10.0.0.2"
            assert now() - start == pytest.approx(5, abs=0.1)
        capi.nq_client_destroy(client)
        return seen

    with SimNetwork() as network:
        assert network.run(main()) == ["open", 25]
