"""naquid: QUIC for Python. RPC, record streams, raw streams and datagrams over a native engine.

The asyncio interface is in here: `connect`, `serve`, `Handlers`. `naquid.capi` is the C API, name for name.
"""

from __future__ import annotations

try:
    from ._naquid import (
        EALLOC,
        EGOAWAY,
        ENOTSUPPORT,
        ETIMEOUT,
        ETOOBIG,
        EUSER,
        OK,
        Deferred,
        RpcBatch,
        limits_table,
        versions,
    )
except ImportError as error:
    if error.name not in (f"{__name__}._naquid", "_naquid"):  # something that the extension itself imports
        raise
    from ._unbuilt import why

    raise ImportError(why(error), name=error.name, path=error.path) from None
from ._version import __version__
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
    StreamRefused,
    StreamReset,
)
from .native import get_include, native_api

# The rest, which is the asyncio interface, is loaded when one of its names is first asked for (PEP 562): asyncio takes
# most of the time of an import, and a program of naquid.capi needs none of it.
TYPE_CHECKING = False  # as checkers know it from typing, which would have to be loaded
if TYPE_CHECKING:
    from .bridge import StreamReader, StreamWriter, open_connection, start_server
    from .client import connect
    from .codes import Code
    from .config import ClientConfig, Limits, ServerConfig, TlsConfig
    from .connection import Connection, ConnectionState, ConnectionStats, PeerName
    from .endpoint import Endpoint
    from .event_loop import LoopStats, loop_stats
    from .handlers import Handlers
    from .logs import ErrorInfo
    from .raw_stream import RawStream
    from .reconnect import Backoff
    from .rpc import Rpc
    from .runner import run
    from .server import Server, serve
    from .stream import Stream
else:
    _PARTS = ("bridge", "client", "codes", "config", "connection", "endpoint", "event_loop", "handlers", "logs")
    _PARTS += ("raw_stream", "reconnect", "rpc", "runner", "server", "stream")

    def __getattr__(name: str) -> object:
        if name not in _PARTS and name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name in _PARTS:
            return import_module(f"{__name__}.{name}")
        for module in [import_module(f"{__name__}.{part}") for part in _PARTS]:
            globals().update({public: getattr(module, public) for public in module.__all__ if public in __all__})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "EALLOC",
    "EGOAWAY",
    "ENOTSUPPORT",
    "ETIMEOUT",
    "ETOOBIG",
    "EUSER",
    "OK",
    "Backoff",
    "CallTimeout",
    "ClientConfig",
    "Code",
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
    "ErrorInfo",
    "Handlers",
    "HandshakeFailed",
    "IdleTimeout",
    "Limits",
    "LoopStats",
    "MessageTooBig",
    "PeerName",
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
    "StreamRefused",
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
    "run",
    "serve",
    "start_server",
    "versions",
]
