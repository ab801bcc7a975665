"""naquid.otel with the real OpenTelemetry SDK: spans and histograms of calls and handlers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aio_apps import never
from harness import Bench, Unraisable, Variant, until

import naquid

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from naquid.otel import Telemetry

METHODS = {"game": {1: "login", 2: "fail", 3: "crash", 4: "later"}}


class Lab:
    """Telemetry, and what it has exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        spans = TracerProvider()
        spans.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telemetry = Telemetry(
            methods=METHODS, tracer_provider=spans, meter_provider=MeterProvider(metric_readers=[self.reader])
        )

    def spans(self, kind: trace.SpanKind) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.kind is kind]

    def counts(self, name: str) -> dict[tuple[Any, Any], int]:
        """How many, by method and error."""
        data = self.reader.get_metrics_data()
        assert data is not None
        (scope,) = data.resource_metrics[0].scope_metrics
        (metric,) = [each for each in scope.metrics if each.name == name]
        assert metric.unit == "s"
        points: Any = metric.data.data_points
        assert all(point.sum > 0 for point in points)
        return {(at.attributes["rpc.method"], at.attributes.get("error.type")): at.count for at in points}


def app_of(current: list[Any]) -> naquid.Handlers:
    app = naquid.Handlers()

    @app.rpc("game")
    async def game(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        current.append(trace.get_current_span())
        await asyncio.sleep(0)
        assert trace.get_current_span() is current[-1], "it is current after a wait, too"
        if type == 2:
            raise naquid.RpcError(b"no", code=-42)
        if type == 3:
            raise ZeroDivisionError("crash")
        return payload

    @app.rpc("plain")
    def plain(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        current.append(trace.get_current_span())
        return payload

    @app.rpc_notify("plain")
    def noted(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
        current.append(trace.get_current_span())

    return app


def test_calls_and_handlers(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    lab = Lab()
    current: list[Any] = []

    async def main() -> tuple[str, int]:
        async with bench.pair(lab.telemetry.handlers(app_of(current))) as (_, conn):
            game = lab.telemetry.rpc(await conn.open_rpc("game"))
            assert await game.call(1, b"hi") == b"hi"
            with pytest.raises(naquid.RpcError, match="-42"):
                await game.call(2)
            with pytest.raises(naquid.RpcError):
                await game.call(3)
            assert await game.call(99, b"?") == b"?"
            plain = lab.telemetry.rpc(await conn.open_rpc("plain"))
            plain.notify(7, b"x")
            assert await plain.call(5, b"y") == b"y"
            assert plain.name == "plain", "the rest is the stream's own"
            assert conn.remote_address is not None
            return conn.remote_address

    host, port = run(main)
    assert [type(error) for error in unraisable.take()] == [ZeroDivisionError]

    client, server = lab.spans(trace.SpanKind.CLIENT), lab.spans(trace.SpanKind.SERVER)
    methods = ["game/login", "game/fail", "game/crash", "game/_OTHER", "plain", "plain"]
    assert [span.name for span in client] == methods
    assert [span.name for span in server] == methods
    assert [span.get_span_context() for span in current] == [span.context for span in server]
    assert client[0].attributes == {
        "rpc.system.name": "naquid",
        "rpc.method": "game/login",
        "naquid.rpc.type": 1,
        "server.address": host,
        "server.port": port,
    }
    assert client[0].status.status_code is trace.StatusCode.UNSET
    for side in (client, server):
        assert side[1].status.status_code is trace.StatusCode.ERROR
        assert side[1].attributes["rpc.response.status_code"] == "-42"  # type: ignore[index]
        assert side[1].attributes["error.type"] == "-42"  # type: ignore[index]
    assert server[2].attributes["error.type"] == "ZeroDivisionError"  # type: ignore[index]
    assert [event.name for event in server[2].events] == ["exception"]
    assert client[2].attributes["error.type"] == "-7"  # type: ignore[index]

    expected = {("game/login", None): 1, ("game/fail", "-42"): 1, ("game/_OTHER", None): 1, ("plain", None): 2}
    assert lab.counts("rpc.client.call.duration") == expected | {("game/crash", "-7"): 1}
    assert lab.counts("rpc.server.call.duration") == expected | {("game/crash", "ZeroDivisionError"): 1}


def test_a_call_is_the_child_of_the_span_it_is_made_in(run_once: Variant, bench: Bench) -> None:
    lab = Lab()

    async def main() -> None:
        async with bench.pair(app_of([])) as (_, conn):
            rpc = lab.telemetry.rpc(await conn.open_rpc("plain"))
            with lab.telemetry._tracer.start_as_current_span("outer"):
                await asyncio.gather(*(rpc.call(1) for _ in range(10)))

    run_once(main)
    (outer,) = lab.spans(trace.SpanKind.INTERNAL)
    assert outer.context is not None
    assert {span.parent.span_id for span in lab.spans(trace.SpanKind.CLIENT) if span.parent} == {outer.context.span_id}
    assert len(lab.spans(trace.SpanKind.CLIENT)) == 10


def test_timeouts_and_lost_connections_are_failures(run_once: Variant, bench: Bench) -> None:
    lab = Lab()

    async def main() -> None:
        app = naquid.Handlers()
        app.rpc("silent")(never)
        async with bench.pair(app) as (_, conn):
            rpc = lab.telemetry.rpc(await conn.open_rpc("silent"))
            with pytest.raises(naquid.CallTimeout):
                await rpc.call(1, timeout=0.01)
            waiting = asyncio.ensure_future(rpc.call(1))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            conn.abort()
            with pytest.raises(naquid.ConnectionLost):
                await rpc.call(1)

    run_once(main)
    failures = [span.attributes["error.type"] for span in lab.spans(trace.SpanKind.CLIENT) if span.attributes]
    assert failures == ["CallTimeout", "CancelledError", "ConnectionLost"]


def test_batches_are_left_alone(run_once: Variant, bench: Bench) -> None:
    lab = Lab()

    async def main() -> None:
        app = naquid.Handlers()
        app.rpc_batch("many")(lambda batch: list(batch.payloads))
        async with bench.pair(lab.telemetry.handlers(app)) as (_, conn):
            assert await (await conn.open_rpc("many")).call(1, b"z") == b"z"

    run_once(main)
    assert lab.exporter.get_finished_spans() == ()


def test_handlers_that_return_a_future(run: Variant, bench: Bench) -> None:
    """The span ends when that does."""
    lab = Lab()
    app = naquid.Handlers()
    reply: list[asyncio.Future[bytes]] = []

    @app.rpc("plain")
    def later(rpc: naquid.Rpc, type: int, payload: bytes) -> Any:
        reply.append(asyncio.get_running_loop().create_future())
        return reply[0]

    async def main() -> None:
        async with bench.pair(lab.telemetry.handlers(app)) as (_, conn):
            call = asyncio.ensure_future((await conn.open_rpc("plain")).call(1))
            await until(lambda: reply)
            assert not lab.spans(trace.SpanKind.SERVER)
            reply[0].set_result(b"at last")
            assert await call == b"at last"
            assert len(lab.spans(trace.SpanKind.SERVER)) == 1

    run(main)
