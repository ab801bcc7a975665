"""naquid.metrics: what servers and connections count, for Prometheus (`pip install "naquid[metrics]"`).

    registry = prometheus_client.REGISTRY
    registry.register(naquid.metrics.Collector(server))

Everything is summed: no sample has a label that grows with the number of peers. Requests and calls are counted where
`Requests` wraps their handlers and streams.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import functools
import inspect
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from . import _naquid
from .connection import Connection, ConnectionStats
from .endpoint import Endpoint
from .errors import CallTimeout, Error
from .event_loop import LoopStats, loop_stats
from .handlers import Handlers, Payload, _nobody
from .rpc import Rpc
from .server import Server

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector as _Collector
except ImportError as error:
    raise ImportError('naquid.metrics needs prometheus-client: pip install "naquid[metrics]"') from error

__all__ = ["Collector", "Collectors", "CountedRpc", "Requests"]

Source = Server | Endpoint | Connection
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

# Of the engine, which all servers and connections of an event loop share: name, documentation, key.
_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("naquid_bytes_received", "Bytes of UDP payload received.", "rx_bytes"),
    ("naquid_bytes_sent", "Bytes of UDP payload sent.", "tx_bytes"),
    ("naquid_datagrams_received", "UDP datagrams received.", "rx_datagrams"),
    ("naquid_datagrams_sent", "UDP datagrams sent.", "tx_datagrams"),
    ("naquid_datagrams_dropped", "UDP datagrams received and thrown away.", "rx_dropped"),
    ("naquid_datagrams_dropped_by_kernel", "UDP datagrams that the kernel had no room for.", "rx_kernel_dropped"),
    ("naquid_send_errors", "UDP datagrams that the system did not take.", "tx_errors"),
    ("naquid_handshakes", "Handshakes completed, in both roles.", "handshakes"),
    ("naquid_connections_accepted", "Connections that clients began and this side took.", "accepted"),
    ("naquid_connections_refused", "Connections that clients began and this side refused.", "refused"),
    ("naquid_retries_sent", "Clients asked to prove their address (RFC 9000 8.1.2).", "retries_sent"),
    ("naquid_stateless_resets_sent", "Stateless resets sent (RFC 9000 10.3).", "resets_sent"),
    ("naquid_messages_too_big", "RPC messages that came and were above max_message_size.", "too_big"),
    ("naquid_reply_holds", "Times that requests had to wait as their peer does not take replies.", "reply_holds"),
    ("naquid_events", "Events given to Python code.", "events"),
)
# The same by reason: name, documentation, what the keys begin with, reasons.
_REASONS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        "naquid_handshakes_failed",
        "Handshakes that were begun and not completed, in both roles.",
        "handshakes_failed_",
        ("tls", "timeout", "protocol", "closed", "system"),
    ),
    (
        "naquid_datagram_frames_dropped",
        "DATAGRAM frames that were not delivered.",
        "datagrams_dropped_",
        ("memory", "unhandled", "tasks", "queue", "unsent"),
    ),
)
_GAUGES: tuple[tuple[str, str, str], ...] = (
    ("naquid_streams", "Streams that are open.", "streams"),
    ("naquid_pending_calls", "RPC calls without an answer yet.", "pending_calls"),
    ("naquid_held_connections", "Connections whose requests and new streams wait.", "held_connections"),
    ("naquid_send_buffer_bytes", "Memory of what waits to be sent or acknowledged.", "send_buffer_bytes"),
)


# Of Requests, by the name of the stream: name, documentation.
_REQUESTS: tuple[tuple[str, str], ...] = (
    ("naquid_requests", "Requests and notifications that were given to handlers."),
    ("naquid_request_errors", "Requests whose handler raised: they got an error reply."),
    ("naquid_calls", "Calls and notifications of this side."),
    ("naquid_call_errors", "Calls that failed, but for those that got no reply in time."),
    ("naquid_call_timeouts", "Calls that got no reply in time."),
)


class Requests:
    """Counts requests and calls by the name of their stream, for a Collector. What is not wrapped costs nothing.

    counts = naquid.metrics.Requests()
    server = await naquid.serve(counts.handlers(app), ...)
    rpc = counts.rpc(await conn.open_rpc("echo"))
    collector = naquid.metrics.Collector(server, requests=counts)

    Names are those of this side's handlers and streams, so they do not grow with the peers.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {name: Counter() for name, _ in _REQUESTS}

    def handlers(self, app: Handlers) -> Handlers:
        """A copy of the handlers in which those of requests and notifications are counted. Batch handlers, native ones
        and those of streams and datagrams are as they were."""
        counted = copy.copy(app)
        counted._requests = {
            name: handler if isinstance(handler, _naquid.BatchHandler) else self._handler(name, handler)
            for name, handler in app._requests.items()
        }
        counted._notifies = {name: self._handler(name, handler) for name, handler in app._notifies.items()}
        return counted

    def rpc(self, rpc: Rpc) -> CountedRpc:
        """The stream with `call` and `notify` counted."""
        return CountedRpc(rpc, self)

    def _count(self, what: str, name: str) -> None:
        self._counts[what][name] += 1

    def _handler(self, name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def counted(rpc: Rpc, type: int, payload: bytes) -> Any:
            self._count("naquid_requests", name)
            try:
                result = handler(rpc, type, payload)
            except Exception:
                self._count("naquid_request_errors", name)
                raise
            return self._finish(name, result) if inspect.isawaitable(result) else result

        return handler if handler is _nobody else counted

    async def _finish(self, name: str, handler: Awaitable[Any]) -> Any:
        try:
            return await handler
        except Exception:
            self._count("naquid_request_errors", name)
            raise


class CountedRpc:
    """An RPC stream whose calls are counted; everything else is the stream's own. `Requests.rpc` makes one."""

    def __init__(self, rpc: Rpc, requests: Requests) -> None:
        self._rpc = rpc
        self._requests = requests
        self._name = rpc.name or ""

    async def call(self, type: int, payload: Payload = b"", timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """As `Rpc.call`."""
        self._requests._count("naquid_calls", self._name)
        try:
            return await self._rpc.call(type, payload, timeout)
        except CallTimeout:
            self._requests._count("naquid_call_timeouts", self._name)
            raise
        except Exception:
            self._requests._count("naquid_call_errors", self._name)
            raise

    def notify(self, type: int, payload: Payload = b"") -> None:
        """As `Rpc.notify`."""
        self._rpc.notify(type, payload)
        self._requests._count("naquid_calls", self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rpc, name)


class Collector(_Collector):
    """A Prometheus collector of servers, endpoints and connections of one event loop, the one it is made in.

    sources: whose connections are counted one by one; the engine's counters are those of the whole event loop. More can
    be added; what is closed is forgotten. timeout: seconds that a scrape from another thread, as prometheus-client's
    own web server makes it, waits for the event loop; after them, and once the loop is closed, there are no samples.
    labels: of every sample, such as {"worker": "1"}. requests: where requests and calls are counted.

    A registry takes one: for a second it raises ValueError, as for any metrics of the same names. Those of several
    event loops go into one `Collectors`. Raises ValueError for labels that Prometheus does not allow, or that are used
    here.
    """

    def __init__(
        self,
        *sources: Source,
        timeout: float = 5.0,
        labels: Mapping[str, str] | None = None,
        requests: Requests | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sources: list[Source] = list(sources)
        self._timeout = timeout
        self._labels = dict(labels or {})
        self._requests = requests
        for name, value in self._labels.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError(f"labels are names and values of str, not {name!r}: {value!r}")
            if not _LABEL.fullmatch(name) or name.startswith("__") or name in ("role", "of", "stream", "reason"):
                raise ValueError(f"{name!r} cannot be the name of a label here: choose another")

    def add(self, source: Source) -> None:
        """Counts one more server, endpoint or connection. In the event loop's thread."""
        self._sources.append(source)

    def describe(self) -> Iterable[Metric]:
        """The names, with which a registry refuses what it has already: registering does not collect."""
        return list(_described())

    def collect(self) -> Iterable[Metric]:
        """The samples of now. From any thread: what is counted belongs to the event loop and is read there."""
        return _labelled(self._collected(), self._labels)

    def _collected(self) -> list[Metric]:
        with contextlib.suppress(RuntimeError):
            if asyncio.get_running_loop() is self._loop:
                return list(self._read())
        done: concurrent.futures.Future[list[Metric]] = concurrent.futures.Future()

        def read() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(list(self._read()))
                except Exception as error:
                    done.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(read)
            return done.result(self._timeout)
        except (RuntimeError, TimeoutError):  # the loop is closed, or busy
            done.cancel()
            return []

    def _read(self) -> Iterator[Metric]:
        self._sources = [source for source in self._sources if not _gone(source)]
        connections = _open(self._sources)
        stats = [connection.stats() for connection in connections]
        clients = sum(connection.is_client for connection in connections)
        alive = GaugeMetricFamily("naquid_connections", "Connections that are open.", labels=["role"])
        alive.add_metric(["client"], clients)
        alive.add_metric(["server"], len(connections) - clients)
        yield alive
        yield from _sums(stats)
        if self._requests is not None:
            for name, text in _REQUESTS:
                counter = CounterMetricFamily(name, text, labels=["stream"])
                for stream, count in self._requests._counts[name].items():
                    counter.add_metric([stream], count)
                yield counter
        try:
            engine: LoopStats = loop_stats()
        except Error:  # nothing lives in the loop: no counters, which Prometheus takes for a restart
            return
        lost = engine["lost_packets"] + sum(each.packets_lost for each in stats)
        yield CounterMetricFamily("naquid_packets_lost", "QUIC packets that were lost on the way.", value=lost)
        values: dict[str, int] = {**engine}  # type: ignore[dict-item]
        for name, text, key in _COUNTERS:
            yield CounterMetricFamily(name, text, value=values[key])
        for name, text, key, reasons in _REASONS:
            counter = CounterMetricFamily(name, text, labels=["reason"])
            for reason in reasons:
                counter.add_metric([reason], values[key + reason])
            yield counter
        for name, text, key in _GAUGES:
            yield GaugeMetricFamily(name, text, value=values[key])


class Collectors(_Collector):
    """Several collectors as one, for a registry: those of several event loops, in threads of their own.

    collectors: each with labels of the same names, and other values: ValueError when samples of two could not be told
    apart. One whose event loop is closed, or does not answer in time, gives no samples.
    """

    def __init__(self, *collectors: Collector) -> None:
        if len({frozenset(each._labels) for each in collectors}) > 1:
            raise ValueError("the collectors have labels of different names: give all of them the same names")
        if len({tuple(sorted(each._labels.items())) for each in collectors}) < len(collectors):
            raise ValueError(
                "two collectors have the same labels: give each other values, such as labels={'worker': '1'}"
            )
        self._collectors = collectors

    def describe(self) -> Iterable[Metric]:
        """As `Collector.describe`."""
        return list(_described())

    def collect(self) -> Iterable[Metric]:
        """The samples of all of them now. From any thread."""
        whole: dict[str, Metric] = {}
        for each in self._collectors:
            for family in each.collect():
                whole.setdefault(family.name, family)
                if whole[family.name] is not family:
                    whole[family.name].samples += family.samples
        return list(whole.values())


def _labelled(families: list[Metric], labels: dict[str, str]) -> list[Metric]:
    if labels:
        for family in families:
            family.samples = [sample._replace(labels={**labels, **sample.labels}) for sample in family.samples]
    return families


def _described() -> Iterator[Metric]:
    """Every family, without samples."""
    yield GaugeMetricFamily("naquid_connections", "", labels=["role"])
    yield from _sums([])
    counters = (*_REQUESTS, *(row[:2] for row in _COUNTERS), *(row[:2] for row in _REASONS))
    for name, text in (("naquid_packets_lost", ""), *counters):
        yield CounterMetricFamily(name, text, labels=[])
    for name, text, _ in _GAUGES:
        yield GaugeMetricFamily(name, text, labels=[])


def _sums(stats: list[ConnectionStats]) -> Iterator[Metric]:
    rtts = [each.smoothed_rtt for each in stats if each.smoothed_rtt > 0]
    rtt = GaugeMetricFamily("naquid_rtt_seconds", "Smoothed round trips of the open connections.", labels=["of"])
    if rtts:
        rtt.add_metric(["mean"], sum(rtts) / len(rtts))
        rtt.add_metric(["max"], max(rtts))
    yield rtt
    flying = sum(each.bytes_in_flight for each in stats)
    yield GaugeMetricFamily("naquid_in_flight_bytes", "Bytes sent and not acknowledged yet.", value=flying)
    queued = sum(each.queued for each in stats)
    yield GaugeMetricFamily("naquid_queued_bytes", "Bytes in the send queues of streams.", value=queued)


def _gone(source: Source) -> bool:
    if isinstance(source, Connection):
        return source.is_closed
    return source.address is None


def _open(sources: Iterable[Source]) -> set[Connection]:
    """The open connections, each once."""
    found: set[Connection] = set()
    for source in sources:
        found |= {source} if isinstance(source, Connection) else source.connections
    return {connection for connection in found if connection.is_open}
