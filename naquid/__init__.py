"""naquid: QUIC for Python. RPC, record streams, raw streams and datagrams over a native engine.

The asyncio interface is in here: `connect`, `serve`, `Handlers`. `naquid.capi` is the C API, name for name.
"""

from __future__ import annotations

from ._naquid import EGOAWAY, ENOTSUPPORT, ETIMEOUT, EUSER, OK, Deferred, RpcBatch, limits_table, versions
from ._version import __version__
from .bridge import StreamReader, StreamWriter, open_connection, start_server
from .client import connect
from .config import ClientConfig, Limits, ServerConfig, TlsConfig
from .connection import Connection, ConnectionState, ConnectionStats
from .endpoint import Endpoint
from .errors import (
    CallTimeout,
    ConfigError,
    ConnectionError,
    ConnectionLost,
    ConnectionReset,
    Error,
    HandshakeFailed,
    IdleTimeout,
    MessageTooBig,
    QueueFull,
    ResolveError,
    RpcError,
    StreamClosed,
    StreamError,
    StreamReset,
)
from .event_loop import LoopStats, loop_stats
from .handlers import Handlers
from .native import get_include, native_api
from .raw_stream import RawStream
from .reconnect import Backoff
from .rpc import Rpc
from .server import Server, serve
from .stream import Stream

__all__ = [
    "EGOAWAY",
    "ENOTSUPPORT",
    "ETIMEOUT",
    "EUSER",
    "OK",
    "Backoff",
    "CallTimeout",
    "ClientConfig",
    "ConfigError",
    "Connection",
    "ConnectionError",
    "ConnectionLost",
    "ConnectionReset",
    "ConnectionState",
    "ConnectionStats",
    "Deferred",
    "Endpoint",
    "Error",
    "Handlers",
    "HandshakeFailed",
    "IdleTimeout",
    "Limits",
    "LoopStats",
    "MessageTooBig",
    "QueueFull",
    "RawStream",
    "ResolveError",
    "Rpc",
    "RpcBatch",
    "RpcError",
    "Server",
    "ServerConfig",
    "Stream",
    "StreamClosed",
    "StreamError",
    "StreamReader",
    "StreamReset",
    "StreamWriter",
    "TlsConfig",
    "__version__",
    "connect",
    "get_include",
    "limits_table",
    "loop_stats",
    "native_api",
    "open_connection",
    "serve",
    "start_server",
    "versions",
]
