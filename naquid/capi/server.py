"""The server: worker threads, each with its own loop and its own socket for every port."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass

from .._naquid import CapiEndpoint, CapiGroup, CapiLoop, Tls, limits_table, nq_hdmap_t
from ..errors import ConfigError
from . import log
from .check import need, need_callable, need_flag
from .client import check_busy_poll, make_limits
from .constants import NQ_LOGLV_ERROR, NQ_LOGLV_INFO
from .types import nq_addr_t, nq_logparam_t, nq_svconf_t

__all__ = ["nq_server_create", "nq_server_join", "nq_server_listen", "nq_server_start", "nq_server_t"]

# Defaults of the original, which are not the engine's. The rest is: a default and the largest value of each limit.
_HANDSHAKE_TIMEOUT = 1_000_000_000
_IDLE_TIMEOUT = 5_000_000_000
_DEFAULT = {name: default for name, default, *_ in limits_table()}
_LARGEST = {name: largest for name, _, _, largest, *_ in limits_table()}
_NUMBERS = (
    "quic_cert_cache_size",
    "accept_per_loop",
    "max_session_hint",
    "max_stream_hint",
    "handshake_timeout",
    "idle_timeout",
    "shutdown_timeout",
    "max_message_size",
)


@dataclass
class _Port:
    hdmap: nq_hdmap_t
    port: int
    shutdown_timeout: int


class nq_server_t:
    """A server: its ports and workers. Made by nq_server_create."""

    __slots__ = ("_busy_poll", "_done", "_group", "_lock", "_loops", "_ports", "_started", "_stopping", "_threads")

    def __init__(self, n_worker: int) -> None:
        self._loops = [CapiLoop() for _ in range(n_worker)]
        for index, loop in enumerate(self._loops):
            loop._init(True, index)
        self._group = CapiGroup(self._loops)
        self._ports: list[_Port] = []
        self._busy_poll = 0
        self._threads: list[threading.Thread] = []
        self._started = False
        self._stopping = False
        self._done = threading.Event()
        self._lock = threading.Lock()


def nq_server_create(n_worker: int) -> nq_server_t | None:
    """A server with n_worker worker threads (1 to 128), which nq_server_start starts. None, and a log record, when the
    system gives it no descriptors. Raises TypeError, ValueError. Bootstrap: the thread that also listens and starts.
    Original: nq_server_create."""
    need(n_worker, int, "n_worker")
    if not 1 <= n_worker <= 128:
        raise ValueError(f"a server has 1 to 128 workers, not {n_worker}")
    try:
        return nq_server_t(n_worker)
    except (OSError, MemoryError) as error:
        _log_error("the server could not be made", error=str(error))
        return None


def nq_server_listen(sv: nq_server_t, addr: nq_addr_t, config: nq_svconf_t | None = None) -> nq_hdmap_t | None:
    """Binds addr on every worker and returns the port's handler map, to be filled before nq_server_start. addr.host is
    a numeric address ("0.0.0.0", "::" for all); port 0: the system chooses, see the map's `address`. None, and a log
    record that says why: no certificate or key, the port is in use, the server runs already. Raises TypeError,
    ValueError for wrong settings. Bootstrap: before nq_server_start, in the thread of nq_server_create.
    Original: nq_server_listen."""
    need(sv, nq_server_t, "the server")
    need(addr, nq_addr_t, "addr")
    need(config, (nq_svconf_t, type(None)), "config")
    conf = config or nq_svconf_t()
    need(addr.host, str, "addr.host")
    need(addr.port, int, "addr.port")
    if not 0 <= addr.port < 65536:
        raise ValueError(f"addr.port is {addr.port}: use 0 to 65535")
    for name in ("cert", "key"):
        need(getattr(addr, name), (str, bytes, os.PathLike, type(None)), f"addr.{name}")
    need(conf.quic_secret, (str, bytes, type(None)), "quic_secret")
    for name in _NUMBERS:
        need(getattr(conf, name), int, name)
    check_busy_poll(conf.busy_poll)
    need_flag(conf.use_max_session_hint_as_limit, "use_max_session_hint_as_limit")
    for name in ("on_open", "on_close"):
        need_callable(getattr(conf, name), name)
    secret = conf.quic_secret.encode() if isinstance(conf.quic_secret, str) else conf.quic_secret
    shutdown = conf.shutdown_timeout if conf.shutdown_timeout > 0 else _DEFAULT["shutdown_timeout"]
    accept = conf.accept_per_loop if conf.accept_per_loop > 0 else _DEFAULT["accept_per_tick"]
    more = {"accept_per_tick": min(accept, _LARGEST["accept_per_tick"])}
    if conf.use_max_session_hint_as_limit:
        most = _LARGEST["max_connections"]
        if not 1 <= conf.max_session_hint <= most:
            raise ValueError(f"max_session_hint is {conf.max_session_hint}: as a limit it must be from 1 to {most}")
        more["max_connections"] = conf.max_session_hint
    limits = make_limits(
        conf.handshake_timeout or _HANDSHAKE_TIMEOUT, conf.idle_timeout or _IDLE_TIMEOUT,
        conf.max_message_size, conf.limits, shutdown_timeout=shutdown, **more,
    )  # fmt: skip
    if sv._started:
        _log_error("nq_server_listen after nq_server_start", port=addr.port)
        return None
    if addr.port and any(port.port == addr.port for port in sv._ports):
        _log_error("the port is used by this server already", port=addr.port)
        return None
    if addr.cert is None:
        _log_error("a server needs addr.cert and addr.key", port=addr.port)
        return None
    try:
        tls = Tls(server=True, cert=addr.cert, key=addr.key, password=addr.password)
    except ConfigError as error:
        _log_error("the server's certificate or key cannot be used", error=str(error), port=addr.port)
        return None
    hdmap = nq_hdmap_t()
    port = addr.port
    where = (addr.host, port)
    opened: list[CapiEndpoint] = []
    try:
        for loop in sv._loops:
            endpoint = CapiEndpoint()
            endpoint._listen(
                loop, addr.host, port, tls, hdmap, limits, secret, len(sv._loops) > 1, conf.on_open, conf.on_close
            )
            opened.append(endpoint)
            where = endpoint.address
            port = where[1]
    except OSError as error:
        for endpoint in opened:
            endpoint._end()
        _log_error("fail to listen", error=str(error), host=addr.host, port=addr.port)
        return None
    hdmap._own_address(where)
    sv._ports.append(_Port(hdmap, port, shutdown))
    if conf.busy_poll > sv._busy_poll:
        sv._busy_poll = conf.busy_poll
        for loop in sv._loops:
            loop.set_busy_poll(conf.busy_poll / 1e9)
    return hdmap


def nq_server_start(sv: nq_server_t, block: bool) -> None:
    """Starts the workers. block: returns only when nq_server_join was called by another thread and is done. Handler
    maps are fixed from now on. A second time: nothing but the waiting. Bootstrap: the thread of nq_server_create.
    Raises TypeError. Original: nq_server_start."""
    need(sv, nq_server_t, "the server")
    need_flag(block, "block")
    with sv._lock:
        if not sv._started and not sv._stopping:
            sv._started = True
            for port in sv._ports:
                port.hdmap._freeze()
            for index, loop in enumerate(sv._loops):
                thread = threading.Thread(target=_run, args=(loop,), name=f"naquid-worker-{index}", daemon=True)
                thread.start()
                sv._threads.append(thread)
    if block:
        sv._done.wait()


def _run(loop: CapiLoop) -> None:
    try:
        loop.run()
    finally:
        loop.close()


def nq_server_join(sv: nq_server_t) -> None:
    """Shuts down in order: new clients are refused, every connection is closed with code 70 "server side close" after
    what it has queued, the workers end when the last one is gone or after shutdown_timeout. Frees the server; twice
    does nothing. Raises RuntimeError in a server's callback. Any other thread. Original: nq_server_join."""
    need(sv, nq_server_t, "the server")
    if any(thread is threading.current_thread() for thread in sv._threads):
        raise RuntimeError("nq_server_join would wait for the worker that calls it: call it from another thread")
    with sv._lock:
        if sv._stopping:
            return
        sv._stopping = True
    sv._group._refuse()
    timeout = max((port.shutdown_timeout for port in sv._ports), default=0) / 1e9
    until = time.monotonic() + timeout
    for index, (_, loop) in enumerate(zip(sv._threads, sv._loops, strict=False)):
        for port in sv._ports:
            _log_info("shutdown start", worker_index=index, port=port.port, session_remain=loop._live_conns)
        loop._call_soon(loop._drain)
    for index, (thread, loop) in enumerate(zip(sv._threads, sv._loops, strict=False)):
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            _log_error("shutdown finished", worker_index=index, reason="timeout", session_remain=loop._live_conns)
            loop.stop()
            thread.join()
        else:
            _log_info("shutdown finished", worker_index=index, reason="all session closed")
    for loop in sv._loops:
        loop.close()
    sv._done.set()


def _params(values: dict[str, int | str]) -> list[nq_logparam_t]:
    return [nq_logparam_t(key, value=value) for key, value in values.items()]


def _log_error(msg: str, **values: int | str) -> None:
    log.nq_log(NQ_LOGLV_ERROR, msg, _params(values))


def _log_info(msg: str, **values: int | str) -> None:
    log.nq_log(NQ_LOGLV_INFO, msg, _params(values))
