"""naquid.metrics: what servers and connections count, for Prometheus (`pip install "naquid[metrics]"`).

    registry = prometheus_client.REGISTRY
    registry.register(naquid.metrics.Collector(server))

Everything is summed: no sample has a label that grows with the number of peers.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Iterable, Iterator

from .connection import Connection, ConnectionStats
from .endpoint import Endpoint
from .errors import Error
from .event_loop import LoopStats, loop_stats
from .server import Server

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector as _Collector
except ImportError as error:
    raise ImportError('naquid.metrics needs prometheus-client: pip install "naquid[metrics]"') from error

__all__ = ["Collector"]

Source = Server | Endpoint | Connection

# Of the engine, which all servers and connections of an event loop share: name, documentation, key.
_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("naquid_bytes_received", "Bytes of UDP payload received.", "rx_bytes"),
    ("naquid_bytes_sent", "Bytes of UDP payload sent.", "tx_bytes"),
    ("naquid_datagrams_received", "UDP datagrams received.", "rx_datagrams"),
    ("naquid_datagrams_sent", "UDP datagrams sent.", "tx_datagrams"),
    ("naquid_datagrams_dropped", "UDP datagrams received and thrown away.", "rx_dropped"),
    ("naquid_datagram_frames_dropped", "DATAGRAM frames that there was no memory to deliver.", "datagrams_dropped"),
    ("naquid_send_errors", "UDP datagrams that the system did not take.", "tx_errors"),
    ("naquid_handshakes", "Handshakes completed, in both roles.", "handshakes"),
    ("naquid_connections_accepted", "Connections that clients began and this side took.", "accepted"),
    ("naquid_connections_refused", "Connections that clients began and this side refused.", "refused"),
    ("naquid_retries_sent", "Clients asked to prove their address (RFC 9000 8.1.2).", "retries_sent"),
    ("naquid_stateless_resets_sent", "Stateless resets sent (RFC 9000 10.3).", "resets_sent"),
    ("naquid_events", "Events given to Python code.", "events"),
)
_GAUGES: tuple[tuple[str, str, str], ...] = (
    ("naquid_streams", "Streams that are open.", "streams"),
    ("naquid_pending_calls", "RPC calls without an answer yet.", "pending_calls"),
    ("naquid_send_buffer_bytes", "Memory of what waits to be sent or acknowledged.", "send_buffer_bytes"),
)


class Collector(_Collector):
    """A Prometheus collector of servers, endpoints and connections of one event loop, the one it is made in.

    sources: whose connections are counted one by one; the engine's counters are those of the whole event loop. More can
    be added; what is closed is forgotten. timeout: seconds that a scrape from another thread, as prometheus-client's
    own web server makes it, waits for the event loop; after them, and once the loop is closed, there are no samples.
    """

    def __init__(self, *sources: Source, timeout: float = 5.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._sources: list[Source] = list(sources)
        self._timeout = timeout

    def add(self, source: Source) -> None:
        """Counts one more server, endpoint or connection. In the event loop's thread."""
        self._sources.append(source)

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering does not collect."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The samples of now. From any thread: what is counted belongs to the event loop and is read there."""
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
        try:
            engine: LoopStats = loop_stats()
        except Error:  # nothing lives in the loop: no counters, which Prometheus takes for a restart
            return
        lost = engine["lost_packets"] + sum(each.packets_lost for each in stats)
        yield CounterMetricFamily("naquid_packets_lost", "QUIC packets that were lost on the way.", value=lost)
        values: dict[str, int] = {**engine}  # type: ignore[dict-item]
        for name, text, key in _COUNTERS:
            yield CounterMetricFamily(name, text, value=values[key])
        for name, text, key in _GAUGES:
            yield GaugeMetricFamily(name, text, value=values[key])


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
