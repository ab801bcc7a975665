"""Configuration: frozen dataclasses, every field with its unit and default, checked when they are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from types import MappingProxyType, NoneType

from . import _naquid
from ._net.resolve import host_name
from .errors import ConfigError, ResolveError
from .reconnect import Backoff

__all__ = ["Blob", "ClientConfig", "Limits", "Password", "ServerConfig", "TlsConfig"]

Blob = str | os.PathLike[str] | bytes
"""A certificate or key: a path, PEM bytes, DER bytes, PKCS#12 bytes, or PEM text."""

Password = str | bytes | Callable[[], str | bytes]
"""What an encrypted key is opened with, or a function that returns it."""

ALPN = ("nq/1",)
MAX_BUSY_POLL = 10_000  # µs: the rest of the event loop waits meanwhile

_ENGINE: Mapping[str, str] = MappingProxyType({row[0]: row[4] for row in _naquid.limits_table()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Every bound of a connection and of a server. Times are float seconds, sizes are bytes, the rest are counts.

    Raises ConfigError when a value is out of range; the message names the field and its range.
    """

    # ---- written by scripts/gen_limits.py ----
    handshake_timeout: float = 10.0
    """From the first packet to a completed handshake. Seconds, 0.001 to 3600."""
    idle_timeout: float = 30.0
    """Silence after which a connection is dropped (RFC 9000 10.1; the smaller of both sides); 0 never. Seconds, 0 to
    604800."""
    keep_alive: float = 0.0
    """Send a PING after this much silence; 0 never. Seconds, 0 to 86400."""
    max_message_size: int = 16 << 20
    """One record or RPC payload; a larger record closes its stream, a larger message of RPC is dropped. Bytes, 1 to
    4294967295."""
    max_assembly: int = 64 << 20
    """Incomplete messages of a connection; above it streams wait for each other, at twice as much one is closed. Bytes,
    64 KiB to 64 GiB."""
    stream_window: int = 16 << 20
    """What the receive window of one stream may grow to. Bytes, 1 KiB to 1 GiB. See RFC 9000 4.1; it begins with 512
    KiB, or with this."""
    connection_window: int = 24 << 20
    """Receive window of one connection. Bytes, 1 KiB to 4 GiB. See RFC 9000 4.1; larger than `stream_window`, so that a
    stream that is not read leaves something to the others."""
    max_streams_bidi: int = 1024
    """Bidirectional streams the peer may have open. Streams, 0 to 1048576. See RFC 9000 4.6."""
    max_streams_uni: int = 128
    """Unidirectional streams the peer may have open. Streams, 0 to 1048576. See RFC 9000 4.6."""
    max_pending_opens: int = 65536
    """Local streams waiting for the peer's stream limit. Streams, 0 to 16777216."""
    send_high: int = 1 << 20
    """Queued bytes of a stream above which it is not writable. Bytes, 1 to 4 GiB. Above it `send()` and `drain()`
    wait."""
    send_low: int = 256 << 10
    """Queued bytes at which it is writable again. Bytes, 0 to 4 GiB. There `send()` and `drain()` go on."""
    max_send_queue: int = 128 << 20
    """Unacknowledged bytes queued on a connection. Bytes, 64 KiB to 64 GiB. Above it sending raises QueueFull."""
    max_pending_calls: int = 1 << 20
    """Unanswered RPC calls of one stream. Calls, 1 to 67108864. Above it calling raises QueueFull."""
    max_datagram_size: int = 65527
    """Largest DATAGRAM frame accepted (RFC 9221); 0 refuses them. Bytes, 0 to 65527."""
    datagram_queue: int = 256
    """Datagrams waiting to be sent; the oldest is dropped. Datagrams, 1 to 1048576."""
    max_udp_payload: int = 16240
    """Largest UDP payload sent, where the path carries it, and wanted from the peer. Bytes, 1200 to 65527. See RFC 9000
    14.3, and 18.2 for what the peer is told (`max_udp_payload_size`). At most 1452 until there is bulk to send."""
    shutdown_timeout: float = 5.0
    """Time a closing connection has to flush what was queued. Seconds, 0 to 3600."""
    max_connections: int = 1 << 20
    """Accepted connections of one endpoint. Connections, 1 to 16777216."""
    max_half_open: int = 4096
    """Handshakes under way above which clients must pass Retry. Connections, 0 to 16777216. See RFC 9000 8.1.2."""
    accept_per_tick: int = 1024
    """New connections taken in one tick. Connections, 1 to 1048576."""
    # ---- end of what is written ----
    max_handler_tasks: int = 1024
    """Coroutine handlers of one connection that run at once. Above it what would begin another waits with the peer,
    until half as many run; datagrams whose handler is a coroutine are dropped. Replies to the connection's own calls
    never wait."""

    def __post_init__(self) -> None:
        if not isinstance(self.max_handler_tasks, int) or not 1 <= self.max_handler_tasks <= 1 << 20:
            raise ConfigError(f"max_handler_tasks is {self.max_handler_tasks}: it must be from 1 to {1 << 20}")
        self._make()
        if 0 < self.idle_timeout <= self.keep_alive:
            raise ConfigError(
                f"keep_alive is {self.keep_alive} seconds: it must be below idle_timeout ({self.idle_timeout}), as the "
                "PING would come too late; a third of it is usual"
            )

    def _engine(self) -> _naquid.EngineLimits:
        """The same in the engine's form: times in ns."""
        return _engine_limits(self)

    def _make(self) -> _naquid.EngineLimits:
        values: dict[str, int] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in _ENGINE:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigError(f"{item.name} is {value!r}: it must be a number")
            if _ENGINE[item.name] == "ns":
                if not 0 <= value < 1e9:
                    raise ConfigError(f"{item.name} is {value} seconds: it must be from 0 to 1e9")
                values[item.name] = round(value * 1e9)
            elif isinstance(value, int):
                values[item.name] = value
            else:
                raise ConfigError(f"{item.name} is {value}: it must be an integer")
        return _naquid.EngineLimits(**values)


@lru_cache(maxsize=128)
def _engine_limits(limits: Limits) -> _naquid.EngineLimits:
    return limits._make()


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsConfig:
    """TLS 1.3 settings that a server and a client share. Certificates and keys are `Blob`s.

    A file is read when it is used: a server or a client that runs for long takes the renewed certificate, key or `ca`
    for the connections that begin after it was replaced. What cannot be used then (a certificate whose key is not there
    yet) is not, until the files change again: the last good ones are.
    """

    cert: Blob | None = None
    """This side's certificate, leaf first and then its chain. A server needs one; a client for mutual TLS."""
    key: Blob | None = None
    """The private key of `cert`; None when the PEM or PKCS#12 file of `cert` holds it."""
    password: Password | None = field(default=None, repr=False)
    """Opens an encrypted `key`, or PKCS#12: a str, bytes, or a callable without arguments that returns one of these; it
    is called once for each context that is made."""
    ca: Blob | None = None
    """Trust anchors, one or more: a file, or a directory every file of which counts. None: a client trusts the system's
    roots, and what SSL_CERT_FILE and SSL_CERT_DIR name, as Python's `ssl` does."""
    alpn: tuple[str, ...] = ALPN
    """Application protocols in order of preference (RFC 7301)."""
    groups: str | None = None
    """Key exchange groups, such as "X25519:P-256"; None: the engine's choice."""
    ciphersuites: str | None = None
    """Cipher suites in order of preference, such as "TLS_CHACHA20_POLY1305_SHA256"; None: AES-128-GCM first."""
    keylog: str | os.PathLike[str] | None = None
    """File to which secrets are appended for Wireshark; None: the environment's SSLKEYLOGFILE."""
    verify_client: bool = False
    """Server: require a client certificate that `ca` has signed."""

    def __post_init__(self) -> None:
        if isinstance(self.alpn, str):
            raise ConfigError(f'alpn is a tuple of names: write alpn=("{self.alpn}",)')
        check_type("alpn", self.alpn, (tuple, list), "a tuple of names")
        if not self.alpn or not all(isinstance(name, str) and 1 <= len(name.encode()) <= 255 for name in self.alpn):
            raise ConfigError("alpn must hold at least one name, each 1 to 255 bytes long")
        object.__setattr__(self, "alpn", tuple(self.alpn))
        for name in ("cert", "key", "ca"):
            check_blob(name, getattr(self, name))
        check_password(self.password)
        for name in ("groups", "ciphersuites"):
            check_type(name, getattr(self, name), (str, NoneType), "a string or None")
        check_type("keylog", self.keylog, (str, os.PathLike, NoneType), "a path or None")
        check_type("verify_client", self.verify_client, bool, "True or False")
        if self.verify_client and self.ca is None:
            raise ConfigError("verify_client needs ca: the certificates that client certificates must be signed by")
        if self.groups is not None or self.ciphersuites is not None:
            _naquid.Tls(server=False, insecure=True, groups=self.groups, ciphersuites=self.ciphersuites)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """How a server behaves. Raises ConfigError when a value is out of range."""

    limits: Limits = field(default_factory=Limits)
    """Bounds of the server and of each of its connections; those of `Limits()` by default."""
    tls: TlsConfig = field(default_factory=TlsConfig)
    """TLS settings; `cert=` and `key=` of `serve()` go before those in here."""
    call_timeout: float = 30.0
    """Seconds after which a call without a timeout of its own ends, on streams that the client opened."""
    always_retry: bool = False
    """Every client must prove its address first, at the price of one round trip (RFC 9000 8.1.2)."""
    secret: bytes | None = None
    """Key of address tokens and stateless resets (RFC 9000 8.1.3, 10.3), 16 bytes or more, by which they outlive a
    restart. None: derived from the private key."""
    busy_poll: int = 0
    """Microseconds, 0 to 10,000, for which the event loop's engine looks at its sockets again and again after packets
    came or went, instead of letting the event loop sleep. Shorter round trips for a core that is always busy; other
    callbacks of the event loop wait for at most as long. The longest one asked for in an event loop holds for it."""
    max_handler_tasks: int | None = None
    """Coroutine handlers of all connections that run at once, 1 to 16777216; None: 16 times that of a connection
    (`Limits.max_handler_tasks`). While there are more, connections of which eight or more run begin no other."""
    workers: int = 1
    """Threads that serve. Only 1: the handlers of an asyncio server run in its event loop."""

    def __post_init__(self) -> None:
        if self.workers != 1:
            raise ConfigError(
                "workers must be 1: an asyncio server runs in its event loop. Run one process per core instead, "
                "or use the worker threads of naquid.capi"
            )
        _check_common(self)
        check_type("always_retry", self.always_retry, bool, "True or False")
        most = self.max_handler_tasks
        check_type("max_handler_tasks", most, (int, NoneType), "a number of tasks or None")
        if most is not None and not 1 <= most <= 1 << 24:
            raise ConfigError(f"max_handler_tasks is {most}: it must be from 1 to {1 << 24}")
        check_type("secret", self.secret, (bytes, NoneType), "bytes or None")
        if self.secret is not None and len(self.secret) < 16:
            raise ConfigError("secret must be at least 16 bytes long")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientConfig:
    """How a client behaves. Raises ConfigError when a value is out of range."""

    limits: Limits = field(default_factory=Limits)
    """Bounds of the connection; those of `Limits()` by default."""
    tls: TlsConfig = field(default_factory=TlsConfig)
    """TLS settings; `ca=` of `connect()` goes before the one in here."""
    call_timeout: float = 30.0
    """Seconds after which a call without a timeout of its own ends."""
    server_name: str | None = None
    """The name to send (SNI) and to verify; None: the host given to `connect()`."""
    attempt_delay: float = 0.25
    """Seconds before the next address is tried beside one that does not answer (RFC 8305 5)."""
    version: int = 0
    """QUIC version to start with: 1, 0x6b3343cf (version 2), or 0 for the engine's choice."""
    busy_poll: int = 0
    """Microseconds, 0 to 10,000, for which the event loop's engine looks at its sockets again and again after packets
    came or went, instead of letting the event loop sleep. Shorter round trips for a core that is always busy; other
    callbacks of the event loop wait for at most as long. The longest one asked for in an event loop holds for it."""
    track_network: bool = False
    """Follow the changes of this machine's network: whenever an address or a route comes or goes, the connection moves
    to a new local address (`Connection.migrate`). Linux only; elsewhere a warning is logged."""
    reconnect: Backoff | None = None
    """How the connection comes back after it was lost; None: its loss is its end."""

    def __post_init__(self) -> None:
        _check_common(self)
        check_type("server_name", self.server_name, (str, NoneType), "a host name or None")
        if self.server_name == "":
            raise ConfigError("server_name is empty: it must be a host name, or None for the one given to connect()")
        if self.server_name is not None:
            try:
                host_name(self.server_name)
            except ResolveError as error:
                raise ConfigError(f"server_name: {error}") from None
        check_type("attempt_delay", self.attempt_delay, (int, float), "a number of seconds")
        check_type("version", self.version, int, "0, 1 or 0x6b3343cf")
        check_type("track_network", self.track_network, bool, "True or False")
        if not 0.01 <= self.attempt_delay <= 60:
            raise ConfigError(f"attempt_delay is {self.attempt_delay} seconds: it must be from 0.01 to 60")
        if self.version not in (0, 1, 0x6B3343CF):
            raise ConfigError(f"version {self.version:#x}: use 0, 1 or 0x6b3343cf")
        if self.reconnect is not None and not isinstance(self.reconnect, Backoff):
            raise ConfigError(f"reconnect is a naquid.Backoff or None, not {type(self.reconnect).__name__}")


def check_blob(name: str, value: object) -> None:
    """Raises ConfigError unless value can be a certificate or key, or None."""
    check_type(name, value, (str, os.PathLike, bytes, bytearray, memoryview, NoneType), "a path, PEM or DER bytes")


def check_password(password: object) -> None:
    """Raises ConfigError unless it can be the password of a key, or None."""
    if not (callable(password) or isinstance(password, (str, bytes, bytearray, memoryview, NoneType))):
        raise ConfigError(
            "password must be a str, bytes, a callable that returns one of these, or None, "
            f"not {type(password).__name__}"
        )


def check_host(host: object) -> None:
    """Raises ConfigError unless host can be the name of one."""
    if not isinstance(host, str) or not host:
        raise ConfigError(f"host is {host!r}: it must be a name or a numeric address")


def check_type(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Raises ConfigError unless value is one of these. A bool is no number."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise ConfigError(f"{name} is {value!r}: it must be {wanted}, not {type(value).__name__}")


def _check_common(config: ServerConfig | ClientConfig) -> None:
    check_type("limits", config.limits, Limits, "a naquid.Limits")
    check_type("tls", config.tls, TlsConfig, "a naquid.TlsConfig")
    check_type("call_timeout", config.call_timeout, (int, float), "a number of seconds")
    if not 0 < config.call_timeout <= 1e9:
        raise ConfigError(f"call_timeout is {config.call_timeout} seconds: it must be above 0")
    busy = config.busy_poll
    if isinstance(busy, bool) or not isinstance(busy, int) or not 0 <= busy <= MAX_BUSY_POLL:
        raise ConfigError(f"busy_poll is {busy!r}: it must be an integer from 0 to {MAX_BUSY_POLL}, microseconds")
