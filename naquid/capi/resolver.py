"""Host names to addresses: by the system's resolver, or through c-ares by the DNS servers of nq_dns_conf_t."""

from __future__ import annotations

import functools
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

from .._naquid import CapiLoop, CapiResolver, nq_alarm_t, parse_address
from .._net.lookup import Lookup, ask
from .._net.resolve import host_name, hosts_of, interleave
from ..errors import ResolveError
from .check import need
from .constants import nq_error_t
from .errors import nq_error_detail_code2str
from .types import nq_addr_t, nq_dns_conf_t, nq_error_detail_t

Done = Callable[[int, nq_error_detail_t | None, list[str]], None]

_DEFAULT_TIMEOUT = 5_000_000_000
_LONGEST = 86_400_000_000_000

# The numbers of c-ares, which the original reports.
NOT_FOUND = 4
BAD_NAME = 8
TIMEOUT = 12
NO_MEMORY = 15
CANCELLED = 24
_SYSTEM = {socket.EAI_NONAME: NOT_FOUND, socket.EAI_AGAIN: 11, socket.EAI_FAIL: 3}


class Resolver:
    """Lookups of one client. Answers come in the loop's thread."""

    def __init__(self, loop: CapiLoop, conf: nq_dns_conf_t | None) -> None:
        conf = conf or nq_dns_conf_t()
        self._loop = loop
        need(conf.query_timeout, int, "query_timeout")
        if conf.query_timeout < 0:
            raise ValueError("query_timeout must be 0 or more ns")
        self._timeout = conf.query_timeout or _DEFAULT_TIMEOUT
        if isinstance(conf.dns_hosts, (str, nq_addr_t)):
            raise TypeError("dns_hosts is a sequence of servers: write [...] around the one")
        servers = [_server(entry) for entry in conf.dns_hosts]
        self._chosen: CapiResolver | None = None
        if servers:
            self._chosen = CapiResolver(servers, min(self._timeout, _LONGEST), bool(conf.use_round_robin))
        self._thread: threading.Thread | None = None
        self._asked: dict[int, str] = {}
        self._waiting: dict[str, list[Done]] = {}
        self._alarms: dict[str, nq_alarm_t] = {}
        self._serial: dict[str, int] = {}
        self._count = 0

    def close(self) -> None:
        """Forgets every lookup."""
        self._waiting.clear()
        if self._chosen is not None:
            self._chosen.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def lookup(self, host: str, family: int, done: Done) -> None:
        """done(error, detail, addresses) in a later tick; addresses alternate between IPv6 and IPv4 (RFC 8305 4)."""
        if host in self._waiting:
            self._waiting[host].append(done)
            return
        self._waiting[host] = [done]
        self._count += 1
        serial = self._serial[host] = self._count
        if parse_address(host, 1) is not None:
            self._loop._call_soon(lambda: self._finish(host, serial, 0, [host]))
            return
        try:
            name = host_name(host)
        except ResolveError:
            self._loop._call_soon(lambda: self._finish(host, serial, BAD_NAME, []))
            return
        if self._chosen is not None:
            self._ask(self._chosen, host, name, serial)
            return
        self._alarms[host] = self._loop._call_at(self._timeout, lambda _: self._finish(host, serial, TIMEOUT, []))
        try:
            ask(Lookup(name, None, 0, functools.partial(self._system, host, serial)))
        except OSError:  # the system gives no thread
            self._loop._call_soon(lambda: self._finish(host, serial, CANCELLED, []))

    def _system(self, host: str, serial: int, answers: list[Any], error: BaseException | None) -> None:
        code = 0
        if isinstance(error, socket.gaierror):
            code = _SYSTEM.get(error.errno or 0, NOT_FOUND)
        elif error is not None:
            code = NOT_FOUND
        self._loop._call_soon(lambda: self._finish(host, serial, code, hosts_of(answers)))

    def _ask(self, chosen: CapiResolver, host: str, name: str, serial: int) -> None:
        self._asked[serial] = host
        try:
            idle = chosen.ask(name.encode(), serial)  # the thread of the lookups before has ended with the last of them
            if idle or self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._answers, args=(chosen,), name="naquid-dns", daemon=True)
                self._thread.start()
        except (BlockingIOError, MemoryError, RuntimeError) as error:  # RuntimeError: the system gives no thread
            code = NO_MEMORY if isinstance(error, MemoryError) else CANCELLED
            self._loop._call_soon(lambda: self._answered(serial, code, []))

    def _answers(self, chosen: CapiResolver) -> None:
        while (answer := chosen.wait()) is not None:
            self._loop._call_soon(functools.partial(self._answered, *answer))

    def _answered(self, serial: int, code: int, found: list[str]) -> None:
        host = self._asked.pop(serial, None)
        if host is not None:
            self._finish(host, serial, code, found)

    def _finish(self, host: str, serial: int, code: int, found: list[str]) -> None:
        if self._serial.get(host) != serial or host not in self._waiting:
            return
        del self._serial[host]
        alarm = self._alarms.pop(host, None)
        if alarm is not None:
            self._loop._forget(alarm)
        if not code and not found:
            code = NOT_FOUND
        for done in self._waiting.pop(host):  # each by itself: one that raises does not stop the others
            if code:
                detail = nq_error_detail_t(code, nq_error_detail_code2str(nq_error_t.NQ_ERESOLVE, code))
                self._loop._call_soon(functools.partial(done, nq_error_t.NQ_ERESOLVE, detail, []))
            else:
                self._loop._call_soon(functools.partial(done, nq_error_t.NQ_OK, None, interleave(found)))


def _server(entry: nq_addr_t | tuple[str, int] | str) -> tuple[str, int]:
    """(host, port) of what dns_hosts names: "8.8.8.8", "8.8.8.8:53", "::1", "[::1]:53", a pair, an nq_addr_t."""
    if isinstance(entry, nq_addr_t):
        host, port = entry.host, entry.port
    elif isinstance(entry, str):
        found = re.fullmatch(r"\[(.*)\](?::(\d+))?|([^:]*):(\d+)", entry)
        host = entry if found is None else found[1] or found[3]
        port = 0 if found is None else int(found[2] or found[4] or 0)
    else:
        try:
            host, port = entry
        except (TypeError, ValueError):
            raise TypeError(f"dns_hosts: a server is a str, a pair or an nq_addr_t, not {entry!r:.80}") from None
    if parse_address(host, port or 53) is None:
        raise ValueError(f"dns_hosts: {host!r} is no numeric IP address")
    return host, port or 53
