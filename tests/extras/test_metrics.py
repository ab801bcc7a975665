"""naquid.metrics with the real prometheus-client: what a scrape reports, from the event loop and from a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from harness import Bench, Unraisable, Variant, until

import naquid

prometheus_client = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from prometheus_client.openmetrics import exposition as openmetrics  # noqa: E402
from prometheus_client.openmetrics import parser  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from naquid.metrics import Collector, Collectors, Requests  # noqa: E402


def echo() -> naquid.Handlers:
    app = naquid.Handlers()
    app.rpc("echo")(lambda rpc, type, payload: payload)
    return app


def samples(text: str) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = next(iter(sample.labels.values()), "")
            yield f"{sample.name}{'/' if label else ''}{label}", sample.value


def scrape(collector: Collector) -> dict[str, float]:
    """By way of the text format, as a server of Prometheus reads it."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(collector)
    return dict(samples(prometheus_client.generate_latest(registry).decode()))


def test_what_is_counted(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.pair(echo()) as (server, conn):
            await until(lambda: server.connections)
            collector = Collector(server)
            before = scrape(collector)
            assert before["naquid_connections/server"] == 1
            assert before["naquid_connections/client"] == 0
            collector.add(conn)
            rpc = await conn.open_rpc("echo")
            assert await rpc.call(1, b"x" * 100_000) == b"x" * 100_000
            after = scrape(collector)
            assert after["naquid_connections/client"] == 1
            assert after["naquid_streams"] == 2
            assert after["naquid_handshakes_total"] == 2
            assert after["naquid_connections_accepted_total"] == 1
            assert after["naquid_bytes_received_total"] - before["naquid_bytes_received_total"] > 200_000
            assert after["naquid_bytes_sent_total"] >= after["naquid_bytes_received_total"]
            assert 0 < after["naquid_rtt_seconds/mean"] <= after["naquid_rtt_seconds/max"] < 60
            pending = asyncio.ensure_future(rpc.call(1, b"y"))
            await asyncio.sleep(0)
            assert scrape(collector)["naquid_pending_calls"] == 1
            await pending

    run(main)


def test_names_and_labels_do_not_grow_with_peers(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(echo()) as server:
            collector = Collector(server)
            conns = [await bench.connect(server.port) for _ in range(20)]
            await until(lambda: len(server.connections) == 20)
            many = scrape(collector)
            assert many["naquid_connections/server"] == 20
            for conn in conns[1:]:
                await conn.close()
            await until(lambda: len(server.connections) == 1)
            assert scrape(collector).keys() == many.keys()
            assert all(name.startswith("naquid_") for name in many)

    run_once(main)


def test_counters_go_on_when_connections_end(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(echo()) as server:
            collector = Collector(server)
            conn = await bench.connect(server.port)
            collector.add(conn)
            await (await conn.open_rpc("echo")).call(1, b"x" * 1000)
            before = scrape(collector)
            await conn.close()
            await until(lambda: not server.connections)
            after = scrape(collector)
            assert after["naquid_connections/client"] == 0
            assert {name for name in before if name.endswith("_total") and after[name] < before[name]} == set()

    run_once(main)


def test_scraped_over_http_from_another_thread(run: Variant, bench: Bench) -> None:
    """prometheus-client's web server collects in its own thread; the engine is read in the event loop's."""

    async def main() -> None:
        async with bench.pair(echo()) as (server, _):
            await until(lambda: server.connections)
            registry = prometheus_client.CollectorRegistry()
            registry.register(Collector(server))
            web, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
            try:
                url = f"http://127.0.0.1:{web.server_port}/metrics"
                page = await asyncio.to_thread(lambda: urlopen(url, timeout=30).read().decode())
            finally:
                web.shutdown()
                web.server_close()
                thread.join()
            assert dict(samples(page))["naquid_connections/server"] == 1

    run(main)


def test_nothing_after_the_end(run_once: Variant, bench: Bench) -> None:
    async def main() -> Collector:
        async with bench.serve(echo()) as server:
            collector = Collector(server)
            assert scrape(collector)["naquid_connections/server"] == 0
        await asyncio.sleep(0)
        assert scrape(collector) == {
            "naquid_connections/client": 0,
            "naquid_connections/server": 0,
            "naquid_in_flight_bytes": 0,
            "naquid_queued_bytes": 0,
        }
        return collector

    assert scrape(run_once(main)) == {}, "the event loop is closed"


def test_a_busy_event_loop_is_waited_for_no_longer_than_asked(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(echo()) as server:
            collector = Collector(server, timeout=0.01)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                assert pool.submit(scrape, collector).result(60) == {}

    run_once(main)


# ---- several collectors ----


def page_of(registry: Any) -> str:
    """As OpenMetrics, which refuses what is there twice."""
    text = openmetrics.generate_latest(registry).decode()
    assert list(parser.text_string_to_metric_families(text))
    return prometheus_client.generate_latest(registry).decode()


def test_a_registry_refuses_a_second_collector(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(echo()) as one, bench.serve(echo()) as two:
            registry = prometheus_client.CollectorRegistry()
            first = Collector(one)
            registry.register(first)
            for second in (Collector(two), Collector(two, labels={"server": "two"}), Collectors(Collector(two))):
                with pytest.raises(ValueError, match="Duplicated timeseries"):
                    registry.register(second)
            assert 'naquid_connections{role="server"} 0.0' in page_of(registry)
            registry.unregister(first)
            registry.register(Collector(two, labels={"server": "two"}))
            assert 'naquid_connections{role="server",server="two"} 0.0' in page_of(registry)

    run_once(main)


def test_every_sample_is_described(run_once: Variant, bench: Bench) -> None:
    """Or a registry would let it in twice."""

    async def main() -> None:
        async with bench.pair(echo()) as (server, conn):
            collector = Collector(server, conn, requests=Requests())
            described = {(family.name, family.type) for family in collector.describe()}
            assert {(family.name, family.type) for family in collector.collect()} == described

    run_once(main)


def test_event_loops_of_several_threads(run: Variant, bench: Bench) -> None:
    """Each has an engine, and counters, of its own."""
    made: concurrent.futures.Future[tuple[Collector, asyncio.AbstractEventLoop, asyncio.Event]]
    made = concurrent.futures.Future()

    async def other() -> None:
        async with bench.serve(echo()) as server:
            end = asyncio.Event()
            made.set_result((Collector(server, labels={"loop": "2"}), asyncio.get_running_loop(), end))
            await end.wait()

    async def main() -> None:
        async with bench.pair(echo()) as (server, _):
            await until(lambda: server.connections)
            thread = asyncio.ensure_future(asyncio.to_thread(Variant(), other))
            second, loop, end = await asyncio.wrap_future(made)
            registry = prometheus_client.CollectorRegistry()
            registry.register(Collectors(Collector(server, labels={"loop": "1"}), second))
            page = await asyncio.to_thread(page_of, registry)
            assert 'naquid_connections{loop="1",role="server"} 1.0' in page
            assert 'naquid_connections{loop="2",role="server"} 0.0' in page
            assert 'naquid_handshakes_total{loop="1"} 2.0' in page
            assert 'naquid_handshakes_total{loop="2"} 0.0' in page
            loop.call_soon_threadsafe(end.set)
            await thread
            page = await asyncio.to_thread(page_of, registry)
            assert 'loop="1"' in page
            assert 'loop="2"' not in page

    run(main)


def test_labels_that_cannot_be(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        for name in ("role", "of", "stream", "a-b", "__name__", "", "1a", "ä"):
            with pytest.raises(ValueError, match="label"):
                Collector(labels={name: "x"})
        with pytest.raises(TypeError):
            Collector(labels={"worker": 1})  # type: ignore[dict-item]
        one, two, three = Collector(labels={"a": "1"}), Collector(labels={"a": "1"}), Collector(labels={"b": "1"})
        with pytest.raises(ValueError, match="same labels"):
            Collectors(one, two)
        with pytest.raises(ValueError, match="different names"):
            Collectors(one, three)
        with pytest.raises(ValueError, match="same labels"):
            Collectors(Collector(), Collector())

    run_once(main)


# ---- requests ----


def test_requests_errors_and_timeouts(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    app = naquid.Handlers()
    noted: list[bytes] = []
    kept: list[naquid.Deferred] = []

    @app.rpc("plain")
    def plain(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes | None:
        if type == 2:
            raise naquid.RpcError(b"no")
        if type == 3:
            kept.append(rpc.defer())
            return None
        return payload

    @app.rpc("slow")
    async def slow(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        if type == 2:
            raise naquid.RpcError(b"no")
        return payload

    @app.rpc_notify("plain")
    def note(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        noted.append(payload)

    @app.rpc_batch("batch")
    def batch(requests: naquid.RpcBatch) -> list[bytes]:
        return list(requests.payloads)

    async def main() -> None:
        counts = Requests()
        async with bench.pair(counts.handlers(app)) as (server, conn):
            collector = Collector(server, requests=counts)
            assert not any("stream" in name for name in scrape(collector) if "request" in name)
            for name in ("plain", "slow"):
                rpc = counts.rpc(await conn.open_rpc(name))
                assert rpc.name == name
                for _ in range(3):
                    assert await rpc.call(1, b"x") == b"x"
                with pytest.raises(naquid.RpcError):
                    await rpc.call(2)
                if name == "plain":
                    with pytest.raises(naquid.CallTimeout):
                        await rpc.call(3, timeout=0.01)
                    rpc.notify(1, b"note")
                    await until(lambda: noted)
            assert await (await conn.open_rpc("batch")).call(1, b"x") == b"x"
            found = {name: value for name, value in scrape(collector).items() if "request" in name or "call" in name}
            assert found == {
                "naquid_requests_total/plain": 6,
                "naquid_requests_total/slow": 4,
                "naquid_request_errors_total/plain": 1,
                "naquid_request_errors_total/slow": 1,
                "naquid_calls_total/plain": 6,
                "naquid_calls_total/slow": 4,
                "naquid_call_errors_total/plain": 1,
                "naquid_call_errors_total/slow": 1,
                "naquid_call_timeouts_total/plain": 1,
                "naquid_pending_calls": 0,
            }

    run(main)
