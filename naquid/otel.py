"""naquid.otel: traces and metrics of RPC by OpenTelemetry (`pip install "naquid[otel]"`).

    telemetry = naquid.otel.Telemetry()
    server = await naquid.serve(telemetry.handlers(app), ...)
    rpc = telemetry.rpc(await conn.open_rpc("echo"))

Names follow the semantic conventions for RPC. What is not wrapped costs nothing.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import _naquid
from .errors import Error, RpcError
from .handlers import Handlers, Payload, _nobody
from .rpc import Rpc

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError('naquid.otel needs opentelemetry-api: pip install "naquid[otel]"') from error

__all__ = ["Telemetry", "TracedRpc"]

OTHER = "_OTHER"

# Of the semantic conventions, in seconds.
_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class Telemetry:
    """Wraps handlers and RPC streams.

    methods: names of request types, by stream name: `{"game": {1: "login"}}` makes a request of type 1 on "game" the
    method "game/login", and of any other type "game/_OTHER". A stream name that is not in there is the method itself:
    types are the peer's to choose, and metrics must not grow with them. tracer_provider, meter_provider: None is the
    global one.

    Every call and every request is a span (client, server) with `rpc.system.name`, `rpc.method`, `naquid.rpc.type` and
    on failure `error.type` and `rpc.response.status_code`, and counts in the histograms `rpc.client.call.duration` and
    `rpc.server.call.duration`, in seconds. A client's has `server.address` and `server.port` too.
    """

    def __init__(
        self,
        *,
        methods: Mapping[str, Mapping[int, str]] | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._methods = methods or {}
        self._tracer = trace.get_tracer("naquid", tracer_provider=tracer_provider)
        meter = metrics.get_meter("naquid", meter_provider=meter_provider)
        self._durations = {
            kind: meter.create_histogram(
                f"rpc.{side}.call.duration",
                unit="s",
                description=text,
                explicit_bucket_boundaries_advisory=_BOUNDARIES,
            )
            for kind, side, text in (
                (trace.SpanKind.CLIENT, "client", "Duration of outgoing calls."),
                (trace.SpanKind.SERVER, "server", "Duration of request handlers."),
            )
        }

    def handlers(self, app: Handlers) -> Handlers:
        """A copy of the handlers in which those of requests and notifications are traced. Batch handlers, native ones
        and those of streams and datagrams are as they were. A request that is answered later (`Rpc.defer`) ends, for
        the trace, when its handler returns."""
        traced = copy.copy(app)
        traced._requests = {
            name: handler if isinstance(handler, _naquid.BatchHandler) else self._handler(name, handler)
            for name, handler in app._requests.items()
        }
        traced._notifies = {name: self._handler(name, handler) for name, handler in app._notifies.items()}
        return traced

    def rpc(self, rpc: Rpc) -> TracedRpc:
        """The stream with `call` and `notify` traced."""
        return TracedRpc(rpc, self)

    def _handler(self, name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def traced(rpc: Rpc, type: int, payload: bytes) -> Any:
            run = _Run(self, trace.SpanKind.SERVER, name, type, {})
            with run:
                result = handler(rpc, type, payload)
                if inspect.isawaitable(result):
                    run.goes_on = True
                    return _finish(run, result)
                return result

        return handler if handler is _nobody else traced

    def _method(self, name: str, type: int) -> str:
        known = self._methods.get(name)
        return name if known is None else f"{name}/{known.get(type, OTHER)}"


class TracedRpc:
    """An RPC stream whose calls are traced; everything else is the stream's own. `Telemetry.rpc` makes one."""

    def __init__(self, rpc: Rpc, telemetry: Telemetry) -> None:
        self._rpc = rpc
        self._telemetry = telemetry

    async def call(self, type: int, payload: Payload = b"", timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """As `Rpc.call`."""
        with self._run(type):
            return await self._rpc.call(type, payload, timeout)

    def notify(self, type: int, payload: Payload = b"") -> None:
        """As `Rpc.notify`. The span ends when it is queued."""
        with self._run(type):
            self._rpc.notify(type, payload)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rpc, name)

    def _run(self, type: int) -> _Run:
        address = self._rpc.connection.remote_address
        where: dict[str, str | int] = {}
        if address is not None:
            where = {"server.address": address[0], "server.port": address[1]}
        return _Run(self._telemetry, trace.SpanKind.CLIENT, self._rpc.name or "", type, where)


class _Run:
    """One call or request: the current span inside its block, and its duration after it."""

    def __init__(
        self, telemetry: Telemetry, kind: trace.SpanKind, name: str, type: int, where: dict[str, str | int]
    ) -> None:
        self._duration = telemetry._durations[kind]
        self._attributes: dict[str, str | int] = {
            "rpc.system.name": "naquid",
            "rpc.method": telemetry._method(name, type),
            **where,
        }
        more = {**self._attributes, "naquid.rpc.type": type}
        self._span = telemetry._tracer.start_span(str(self._attributes["rpc.method"]), kind=kind, attributes=more)
        self._begin = time.perf_counter()
        self.goes_on = False

    def __enter__(self) -> _Run:
        self._current = trace.use_span(
            self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        )
        self._current.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        self._current.__exit__(None, None, None)
        if self.goes_on and error is None:
            self.goes_on = False
            return
        if error is not None:
            self._failed(error)
        self._duration.record(time.perf_counter() - self._begin, self._attributes)
        self._span.end()

    def _failed(self, error: BaseException) -> None:
        failure = {"error.type": type(error).__qualname__}
        if isinstance(error, RpcError):
            failure = {"error.type": str(error.code), "rpc.response.status_code": str(error.code)}
        self._attributes.update(failure)
        self._span.set_attributes({**failure})
        self._span.set_status(trace.StatusCode.ERROR, str(error))
        if not isinstance(error, (Error, asyncio.CancelledError)):
            self._span.record_exception(error)


async def _finish(run: _Run, handler: Awaitable[Any]) -> Any:
    with run:
        return await handler
