"""The client: a loop that the application polls."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import replace

from .._naquid import (
    CapiConn,
    CapiLoop,
    EngineLimits,
    Tls,
    nq_alarm_t,
    nq_conn_is_valid,
    nq_conn_reachability_change,
    nq_conn_t,
    nq_hdmap_t,
    parse_address,
)
from .._net import race
from .._net.tls_cache import client_context
from .._net.watch import Watcher, supported
from ..errors import Error
from . import log
from .check import need, need_callable, need_flag, need_range
from .constants import NQ_LOGLV_ERROR, NQ_LOGLV_WARN, NQ_REACHABLE_WIFI, nq_error_t
from .resolver import Resolver
from .types import (
    Blob,
    Box,
    nq_addr_t,
    nq_clconf_t,
    nq_dns_conf_t,
    nq_error_detail_t,
    nq_logparam_t,
    nq_on_client_conn_open_t,
    nq_on_resolve_host_t,
)

__all__ = [
    "nq_client_connect",
    "nq_client_create",
    "nq_client_destroy",
    "nq_client_hdmap",
    "nq_client_poll",
    "nq_client_resolve_host",
    "nq_client_set_thread",
    "nq_client_t",
]

_POLL_WAIT = 0.001
_HANDSHAKE_TIMEOUT = 1_000_000_000
_IDLE_TIMEOUT = 500_000_000
_MAX_BUSY_POLL = 10_000_000  # ns
_SETTLE = 50_000_000  # changes of the network within this time count as one
_ATTEMPT_DELAY = round(race.DELAY * 1e9)


def make_limits(
    handshake: int, idle: int, max_message_size: int, more: Mapping[str, int], **fields: int
) -> EngineLimits:
    """The engine's limits from a configuration's fields. Raises TypeError, ConfigError."""
    need(more, Mapping, "limits")
    for name, value in more.items():
        need(value, int, f"limits[{name!r}]")
    fields |= {"handshake_timeout": handshake, "idle_timeout": idle}
    if max_message_size:
        fields["max_message_size"] = max_message_size
    return EngineLimits(**(fields | dict(more)))


def check_busy_poll(ns: int) -> None:
    """Raises TypeError, ValueError."""
    need(ns, int, "busy_poll")
    need_range(ns, 0, _MAX_BUSY_POLL, "busy_poll")


class nq_client_t:
    """A client: its connections, their loop and handler map. Made by nq_client_create."""

    __slots__ = (
        "_attempts",
        "_busy_poll",
        "_destroy_wanted",
        "_hdmap",
        "_loop",
        "_move_due",
        "_resolver",
        "_tracked",
        "_warned",
        "_watcher",
    )

    def __init__(self, dns_conf: nq_dns_conf_t | None) -> None:
        self._loop = CapiLoop()
        self._loop._init(False, 0)
        self._hdmap = nq_hdmap_t()
        self._hdmap._own(self._loop)
        self._resolver = Resolver(self._loop, dns_conf)
        self._attempts: set[_Attempt] = set()
        self._busy_poll = 0
        self._destroy_wanted = False
        self._warned = False
        self._tracked: list[nq_conn_t] = []
        self._watcher: Watcher | None = None
        self._move_due = False

    def _track(self, conn: nq_conn_t) -> None:
        """From now on the connection follows the network's changes."""
        if self._watcher is None:
            if not supported():
                log.nq_log(NQ_LOGLV_ERROR, "track_reachability is not supported on this system")
                return
            try:
                self._watcher = Watcher(lambda: self._loop._call_soon(self._changed))
            except OSError as error:
                log.nq_log(NQ_LOGLV_ERROR, "track_reachability", [nq_logparam_t("error", value=str(error))])
                return
        self._tracked = [known for known in self._tracked if nq_conn_is_valid(known)]
        if conn not in self._tracked:
            self._tracked.append(conn)

    def _changed(self) -> None:
        if not self._move_due:
            self._move_due = True
            self._loop._call_at(_SETTLE, lambda _: self._move())

    def _move(self) -> None:
        self._move_due = False
        for conn in self._tracked:
            nq_conn_reachability_change(conn, NQ_REACHABLE_WIFI)

    def _context(self, insecure: bool, ca: Blob | None) -> Tls:
        if insecure and not self._warned:
            self._warned = True
            log.nq_log(NQ_LOGLV_WARN, "certificates of servers are not verified: insecure is set")
        return client_context(insecure=insecure, ca=ca)


class _Attempt:
    """One nq_client_connect: its addresses are tried one after the other, each 250 ms after the one before (RFC 8305);
    the first connection that opens is the one the application sees."""

    def __init__(self, client: nq_client_t, addr: nq_addr_t, conf: nq_clconf_t, tls: Tls, limits: EngineLimits) -> None:
        self.client = client
        self.host = addr.host
        self.port = addr.port
        self.conf = conf
        self.on_open: nq_on_client_conn_open_t | None = conf.on_open
        if conf.track_reachability:
            self.on_open = self._tracked_open
        self.tls = tls
        self.limits = limits
        self.race: race.Race[str, CapiConn] = race.Race((), self._start)
        self.alarm: nq_alarm_t | None = None

    def _tracked_open(self, conn: nq_conn_t, pctx: Box) -> None:
        self.client._track(conn)
        if self.conf.on_open is not None:
            self.conf.on_open(conn, pctx)

    def resolved(self, error: int, detail: nq_error_detail_t | None, hosts: list[str]) -> None:
        if error != nq_error_t.NQ_OK:
            self._failed(error, detail or nq_error_detail_t())
            return
        self.race = race.Race(hosts, self._start)
        if not self._go_on():
            self._not_started()

    def _go_on(self) -> bool:
        """Tries the next address; the one after it is due later. Whether any attempt runs."""
        self._cancel()
        if not self.race.start_next():
            return False
        if self.race.waiting:
            self.alarm = self.client._loop._call_at(_ATTEMPT_DELAY, lambda _: self._go_on())
        return True

    def _start(self, host: str, alone: bool) -> CapiConn:
        conn = CapiConn()
        conf = self.conf
        conn._start(
            self.client._loop, host, self.port, self.host, self.tls, self.client._hdmap, self.limits,
            self.on_open, conf.on_close, conf.on_finalize, None if alone else self,
        )  # fmt: skip
        if alone:  # the application hears of it, whatever becomes of it
            self.client._attempts.discard(self)
        return conn

    def won(self, conn: CapiConn) -> None:
        """One is open: the others are given up."""
        self._cancel()
        self.client._attempts.discard(self)
        for other in self.race.won(conn):
            other._drop()

    def lost(self, conn: CapiConn) -> bool:
        """One failed. Whether it was the last, so that the application hears of it."""
        self.race.lost(conn, None)
        if self._go_on():
            return False
        if race.lacks_resources(self.race.failure):
            self._not_started()
            return False
        self.client._attempts.discard(self)
        return True

    def _not_started(self) -> None:
        error = self.race.failure
        number = getattr(error, "errno", None) or 0
        self._failed(nq_error_t.NQ_ESYSCALL, nq_error_detail_t(number, str(error)))

    def _failed(self, error: int, detail: nq_error_detail_t) -> None:
        """There is no connection at all: on_close once, with an empty handle."""
        self.client._attempts.discard(self)
        if self.conf.on_close is not None:
            self.conf.on_close(nq_conn_t(), error, detail, False)

    def _cancel(self) -> None:
        if self.alarm is not None:
            self.client._loop._forget(self.alarm)
            self.alarm = None


def nq_client_create(max_nfd: int, max_stream_hint: int, dns_conf: nq_dns_conf_t | None = None) -> nq_client_t | None:
    """A client with its loop, which the calling thread owns (see nq_client_set_thread). None, and a log record, when
    the system gives it no descriptors. max_nfd and max_stream_hint are hints; any int does. Raises TypeError,
    ValueError. Bootstrap: the calling thread. Original: nq_client_create."""
    need(max_nfd, int, "max_nfd")
    need(max_stream_hint, int, "max_stream_hint")
    need(dns_conf, (nq_dns_conf_t, type(None)), "dns_conf")
    try:
        return nq_client_t(dns_conf)
    except (OSError, MemoryError) as error:
        log.nq_log(NQ_LOGLV_ERROR, "the client could not be made", [nq_logparam_t("error", value=str(error))])
        return None


def nq_client_poll(cl: nq_client_t) -> None:
    """Runs one tick: waits up to 1 ms for packets, timers and queued work, then calls the callbacks and sends. The
    interpreter lock is free while it waits and works. A destroyed client: nothing. Raises RuntimeError inside a
    callback. The client's thread. Original: nq_client_poll."""
    need(cl, nq_client_t, "the client")
    loop = cl._loop
    if loop.closed:
        return
    if loop._ticking:
        raise RuntimeError("nq_client_poll inside a callback, or while another thread polls")
    _tick(loop, _POLL_WAIT)
    if cl._destroy_wanted:
        nq_client_destroy(cl)


def _tick(loop: CapiLoop, max_wait: float) -> None:
    """Runs one tick. A handler of a signal or a finalizer may have destroyed the client in between: then nothing."""
    try:
        loop.poll(max_wait)
    except Error:
        if not loop.closed:
            raise


def nq_client_destroy(cl: nq_client_t) -> None:
    """Closes every connection (code 16 "Client being torn down"): their streams' closes, NQ_EGOAWAY for calls that
    wait, on_close, on_finalize; then frees all. In any state; in a callback when its tick is over; twice does
    nothing. Alarms end, lookups are forgotten. The client's thread.
    Original: nq_client_destroy, whose on_finalize came first."""
    need(cl, nq_client_t, "the client")
    loop = cl._loop
    if loop.closed:
        return
    if loop._ticking:
        cl._destroy_wanted = True
        return
    cl._resolver.close()
    if cl._watcher is not None:
        cl._watcher.close()
        cl._watcher = None
    for attempt in list(cl._attempts):
        attempt._cancel()
    _tick(loop, 0.0)  # what was queued before goes first
    loop._destroy_conns()
    for _ in range(100):
        _tick(loop, 0.0)
        if loop._live_conns == 0 or loop.closed:
            break
    loop.close()


def nq_client_connect(cl: nq_client_t, addr: nq_addr_t, conf: nq_clconf_t) -> bool:
    """Starts to connect; True. addr.host is a numeric address or a name, resolved as nq_client_create's dns_conf says;
    of several addresses the first that answers is used (RFC 8305). addr.ca are the authorities trusted instead of the
    system's. on_open tells of success; on_close with an empty handle and NQ_ERESOLVE that the name was not found.
    Raises TypeError, ValueError for wrong settings. The client's thread. Original: nq_client_connect."""
    need(cl, nq_client_t, "the client")
    need(addr, nq_addr_t, "addr")
    need(conf, nq_clconf_t, "conf")
    for name in ("on_open", "on_close", "on_finalize"):
        need_callable(getattr(conf, name), name)
    need(addr.host, str, "addr.host")
    need(addr.ca, (str, bytes, os.PathLike, type(None)), "addr.ca")
    if not addr.host:
        raise ValueError("addr.host must be a host name or a numeric address")
    need(addr.port, int, "addr.port")
    need(conf.handshake_timeout, int, "handshake_timeout")
    need(conf.idle_timeout, int, "idle_timeout")
    need(conf.max_message_size, int, "max_message_size")
    check_busy_poll(conf.busy_poll)
    need_flag(conf.insecure, "insecure")
    need_flag(conf.track_reachability, "track_reachability")
    if not 0 < addr.port < 65536:
        raise ValueError(f"addr.port is {addr.port}: use 1 to 65535")
    limits = make_limits(
        conf.handshake_timeout or _HANDSHAKE_TIMEOUT, conf.idle_timeout or _IDLE_TIMEOUT,
        conf.max_message_size, conf.limits,
    )  # fmt: skip
    if cl._loop.closed:
        return False
    conf = replace(conf)  # as C copies it: what becomes of the caller's changes nothing here
    attempt = _Attempt(cl, addr, conf, cl._context(conf.insecure, addr.ca), limits)
    if cl._loop.closed:  # also by the log's callback, just now
        return False
    if conf.busy_poll > cl._busy_poll:
        cl._busy_poll = conf.busy_poll
        cl._loop.set_busy_poll(conf.busy_poll / 1e9)
    cl._attempts.add(attempt)
    if parse_address(addr.host, addr.port) is not None:
        # As every lookup does, this one ends in a later poll: on_close never comes before this returns.
        cl._loop._call_soon(lambda: attempt.resolved(0, None, [attempt.host]))
    else:
        cl._resolver.lookup(addr.host, socket.AF_UNSPEC, attempt.resolved)
    return True


def nq_client_hdmap(cl: nq_client_t) -> nq_hdmap_t:
    """The handler map of all connections that have none of their own. The client's thread.
    Original: nq_client_hdmap."""
    need(cl, nq_client_t, "the client")
    return cl._hdmap


def nq_client_set_thread(cl: nq_client_t) -> None:
    """The calling thread owns the client from now on: it polls, and its calls take effect at once. Not while another
    thread polls. Original: nq_client_set_thread."""
    need(cl, nq_client_t, "the client")
    if not cl._loop.closed:
        cl._loop._adopt()


def nq_client_resolve_host(cl: nq_client_t, family_pref: int, hostname: str, cb: nq_on_resolve_host_t) -> bool:
    """Looks a host up; True. cb(NQ_OK, None, address of 4 or 16 bytes), or cb(NQ_ERESOLVE, detail, None), is called in
    a later poll. family_pref: AF_INET: IPv4, then IPv6; AF_INET6 or AF_UNSPEC: IPv6, then IPv4. Raises TypeError,
    ValueError. The client's thread. Original: nq_client_resolve_host."""
    need(cl, nq_client_t, "the client")
    need(family_pref, int, "family_pref")
    need(hostname, str, "hostname")
    if not callable(cb):
        raise TypeError("the callback must be callable")
    if family_pref not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNSPEC):
        raise ValueError(f"address family {family_pref}: use AF_INET, AF_INET6 or AF_UNSPEC")
    first = socket.AF_INET if family_pref == socket.AF_INET else socket.AF_INET6

    def done(error: int, detail: nq_error_detail_t | None, hosts: list[str]) -> None:
        if error != nq_error_t.NQ_OK:
            cb(error, detail, None)
            return
        packed = [_packed(host) for host in hosts]
        size = 4 if first == socket.AF_INET else 16
        packed.sort(key=lambda address: len(address) != size)
        cb(int(nq_error_t.NQ_OK), None, packed[0])

    if cl._loop.closed:
        return False
    cl._resolver.lookup(hostname, socket.AF_UNSPEC, done)
    return True


def _packed(host: str) -> bytes:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.inet_pton(family, host.partition("%")[0])
