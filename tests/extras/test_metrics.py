"""naquid.metrics with the real prometheus-client: what a scrape reports, from the event loop and from a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from harness import Bench, Variant, until

import naquid

prometheus_client = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from naquid.metrics import Collector  # noqa: E402


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
