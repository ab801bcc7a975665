"""Handlers: what a program does with what its peers send. A server's, or a client's for what the server opens."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

from . import _naquid
from .connection import Connection
from .errors import ConfigError, HandshakeFailed, RpcError
from .logs import ErrorInfo, name_of
from .raw_stream import RawStream
from .rpc import Rpc
from .stream import Stream

__all__ = ["Apps", "Handlers"]

Payload = bytes | bytearray | memoryview
RequestHandler = Callable[[Rpc, int, bytes], "Awaitable[Payload | None] | Payload | None"]
NotifyHandler = Callable[[Rpc, int, bytes], "Awaitable[None] | None"]
StreamHandler = Callable[[Stream], "Awaitable[None] | None"]
RawStreamHandler = Callable[[RawStream], "Awaitable[None] | None"]
DatagramHandler = Callable[[Connection, bytes], "Awaitable[None] | None"]
ConnectHandler = Callable[[Connection], "Awaitable[None] | None"]
DisconnectHandler = Callable[[Connection, "Exception | None"], "Awaitable[None] | None"]
ErrorHandler = Callable[[Exception, ErrorInfo], "Awaitable[None] | None"]
HandshakeHandler = Callable[[tuple[str, int], HandshakeFailed], "Awaitable[None] | None"]

_Request = TypeVar("_Request", bound=RequestHandler)
_Batch = TypeVar("_Batch", bound=Callable[[_naquid.RpcBatch], "Sequence[bytes | RpcError | None]"])
_Notify = TypeVar("_Notify", bound=NotifyHandler)
_Stream = TypeVar("_Stream", bound=StreamHandler)
_RawStream = TypeVar("_RawStream", bound=RawStreamHandler)
_Datagram = TypeVar("_Datagram", bound=DatagramHandler)
_Connect = TypeVar("_Connect", bound=ConnectHandler)
_Disconnect = TypeVar("_Disconnect", bound=DisconnectHandler)
_Error = TypeVar("_Error", bound=ErrorHandler)
_Handshake = TypeVar("_Handshake", bound=HandshakeHandler)

RAW_NAME = "raw"
"""The name that raw streams go by when other streams have names."""


class Handlers:
    """A collection of handlers, filled by decorators before it is used. Any of them may be a plain function or a
    coroutine function, or return a Future or Task; plain request, notify and datagram handlers take the fast path.

    All handlers of a connection run in its `contextvars` context (see `serve`), coroutines in a copy of it; batch
    handlers whose requests come from several connections in one of the server, made for the call.

    Coroutines run as tasks that naquid owns. At most `Limits.max_handler_tasks` of a connection run at once, and
    `ServerConfig.max_handler_tasks` of a server: then what would begin another waits with the peer, and datagrams
    whose handler is a coroutine are dropped. When a stream is reset or a connection has ended, its tasks are cancelled;
    after a close in order (code 0) those that are no requests have a second before. A stream's handler that learns of
    the end by an exception is not cancelled too. What is to live longer is a task of your own.

    Adding raises ConfigError for a name that has a handler of this kind already, and once `serve`, `connect` or an
    `Endpoint` has used the object: what comes later would not be served.

    A handler that raises does not end anything else. The exception goes to the logger `naquid`, with the peer, the
    stream, the type of the request and the traceback, and to `on_error`; the caller of a request gets an error reply
    (code -7) that says no more than that the handler failed. Of failures of one type at one place the first in a second
    is logged, and then how many followed.
    """

    def __init__(self) -> None:
        self._requests: dict[str, RequestHandler | _naquid.BatchHandler] = {}
        self._notifies: dict[str, NotifyHandler] = {}
        self._streams: dict[str, StreamHandler] = {}
        self._raw_named: dict[str, RawStreamHandler] = {}
        self._natives: dict[str | None, object] = {}
        self._kept_on: dict[str, bool] = {}  # names whose requests are not cancelled
        self._raw: RawStreamHandler | None = None
        self._uni: RawStreamHandler | None = None
        self._datagram: DatagramHandler | None = None
        self._connect: ConnectHandler | None = None
        self._disconnect: DisconnectHandler | None = None
        self._error: ErrorHandler | None = None
        self._handshake: HandshakeHandler | None = None
        self._used = ""  # who has it in another form, so that what is added does not count

    def __copy__(self) -> Handlers:
        """With the same handlers; what is added to one of both is not in the other."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        for slot in _TABLES:
            setattr(made, slot, dict(getattr(self, slot)))
        made._kept_on = dict(self._kept_on)
        made._used = ""
        return made

    def include(self, other: Handlers) -> None:
        """Adds the handlers of another object, such as one that a module of its own has made. Add to that before: what
        it gets afterwards would not be in here, and raises ConfigError.

        Raises ConfigError, and adds nothing, when both have a handler of one name or of one kind of which there is one
        (`datagram`, `on_connect`, ...), or when this object is in use already.
        """
        if not isinstance(other, Handlers):
            raise ConfigError(f"include() takes a naquid.Handlers, not {type(other).__name__}")
        if other is self:
            raise ConfigError("include() takes another Handlers object, not the same one")
        self._check_unused("include()")
        for slot in _TABLES:
            mine, theirs = getattr(self, slot), getattr(other, slot)
            for name in mine.keys() & theirs.keys():
                if _nobody not in (mine[name], theirs[name]):
                    raise _twice(slot, name, mine[name], theirs[name])
        for slot in _SLOTS:
            if getattr(self, slot) is not None and getattr(other, slot) is not None:
                raise _twice(slot, None, getattr(self, slot), getattr(other, slot))
        mine_by_name, theirs_by_name = self._by_name(), other._by_name()
        for name in mine_by_name.keys() & theirs_by_name.keys():
            mine, theirs = mine_by_name[name], theirs_by_name[name]
            if mine[0] != theirs[0]:
                raise _twice(mine[0], name, mine[1], theirs[1])
        for slot in _TABLES:
            table = getattr(self, slot)
            for name, handler in getattr(other, slot).items():
                if handler is not _nobody or name not in table:
                    table[name] = handler
        for slot in _SLOTS:
            if getattr(other, slot) is not None:
                setattr(self, slot, getattr(other, slot))
        self._kept_on.update(other._kept_on)
        other._used = "include()"

    def rpc(self, name: str, *, cancel: bool = True) -> Callable[[_Request], _Request]:
        """Requests on RPC streams of this name: `(rpc, type, payload) -> bytes | None`.

        The result is the reply, or an awaitable of it. None is an empty reply, unless the handler has called
        `Rpc.defer` or read `Rpc.current_msgid`: then the reply comes later. Raise `RpcError(payload)` for an error
        reply.

        cancel: the coroutine is cancelled when nobody waits for its reply any more: the caller has cancelled the call,
        or its time was over, the stream was reset, or the connection has ended. False lets it end.
        """
        add = self._named("_requests", name)

        def wrap(handler: _Request) -> _Request:
            add(handler)
            if cancel:
                self._kept_on.pop(name, None)
            else:
                self._kept_on[name] = True
            return handler

        return wrap

    def rpc_batch(self, name: str) -> Callable[[_Batch], _Batch]:
        """Requests on RPC streams of this name, all of a tick in one call: `(batch) -> list[bytes | None]`.

        batch is an `RpcBatch`: parallel lists `rpcs`, `types`, `payloads`. The result has one reply for each request,
        in order: bytes, None (the reply comes later, see `RpcBatch.defer`), or an `RpcError` for an error reply. When
        the function raises, or returns another number of replies, every request of the batch gets an error reply
        (code -7). It must be a plain function: ConfigError for a coroutine function.
        """
        add = self._named("_requests", name)

        def wrap(handler: _Batch) -> _Batch:
            if inspect.iscoroutinefunction(handler):
                raise ConfigError("a batch handler must be a plain function: start tasks from it for what takes time")
            add(_naquid.BatchHandler(_callable(handler)))
            return handler

        return wrap

    def rpc_notify(self, name: str) -> Callable[[_Notify], _Notify]:
        """Notifications on RPC streams of this name: `(rpc, type, payload) -> None`."""
        return self._named("_notifies", name)

    def rpc_native(self, name: str, capsule: object) -> None:
        """Requests and notifications on RPC streams of this name go to C functions, without the interpreter lock.

        capsule: a PyCapsule as `naquid_native.h` describes (`naquid.get_include()` is where it is). A function that the
        table leaves out leaves its events to the Python handlers of the name. `serve` and `connect` raise TypeError for
        anything else, and ConfigError for a table of another version of the header.
        """
        self._native("_requests", name, capsule)

    def stream_native(self, name: str, capsule: object) -> None:
        """Records of streams of this name go to a C function, without the interpreter lock; see `rpc_native`."""
        self._native("_streams", name, capsule)

    def datagram_native(self, capsule: object) -> None:
        """Datagrams go to a C function, without the interpreter lock; see `rpc_native`."""
        self._check_unused("a native handler of datagrams")
        if None in self._natives:
            raise _twice("_natives", None, self._natives[None], capsule)
        self._natives[None] = capsule

    def stream(self, name: str) -> Callable[[_Stream], _Stream]:
        """Record streams of this name: `async (stream) -> None`. The stream is closed when the coroutine ends, and
        reset when it raises; a plain function leaves it open."""
        return self._named("_streams", name)

    @overload
    def raw_stream(self, handler: _RawStream) -> _RawStream: ...
    @overload
    def raw_stream(self, handler: str = ...) -> Callable[[_RawStream], _RawStream]: ...
    def raw_stream(self, handler: Any = ...) -> Any:
        """Raw streams: `async (stream) -> None`; closed and reset as record streams are.

        Plain (`@app.raw_stream`): when this is the only kind of handler, every bidirectional stream is bare bytes from
        the first one on. When other handlers have names, the peer says which it wants, and this one has the reserved
        name "raw". Either way `Connection.open_raw_stream()` of a peer used alike finds it. Unidirectional streams come
        here too, unless `uni_stream` is set. With a name (`@app.raw_stream("upload")`): raw streams of that name.
        """
        if isinstance(handler, str):
            return self._named("_raw_named", handler)
        return self._only("_raw", handler)

    @overload
    def uni_stream(self, handler: _RawStream) -> _RawStream: ...
    @overload
    def uni_stream(self) -> Callable[[_RawStream], _RawStream]: ...
    def uni_stream(self, handler: Any = ...) -> Any:
        """Incoming unidirectional streams, which have no names: `async (stream) -> None`, for reading only."""
        return self._only("_uni", handler)

    @overload
    def datagram(self, handler: _Datagram) -> _Datagram: ...
    @overload
    def datagram(self) -> Callable[[_Datagram], _Datagram]: ...
    def datagram(self, handler: Any = ...) -> Any:
        """Datagrams (RFC 9221): `(connection, data) -> None`."""
        return self._only("_datagram", handler)

    @overload
    def on_connect(self, handler: _Connect) -> _Connect: ...
    @overload
    def on_connect(self) -> Callable[[_Connect], _Connect]: ...
    def on_connect(self, handler: Any = ...) -> Any:
        """`(connection) -> None`, when a handshake is completed and before anything else of the connection: requests,
        notifications, streams and datagrams (256 of them) of the peer wait until it has ended, also when it is a
        coroutine; replies to its own calls do not. When it raises on a server, the connection is refused: the client
        sees ConnectionLost with code 1 and a reason. To refuse it in other words, close it."""
        return self._only("_connect", handler)

    @overload
    def on_disconnect(self, handler: _Disconnect) -> _Disconnect: ...
    @overload
    def on_disconnect(self) -> Callable[[_Disconnect], _Disconnect]: ...
    def on_disconnect(self, handler: Any = ...) -> Any:
        """`(connection, error) -> None`, once, when a connection that was announced has ended. error is None after a
        close in order (application code 0). The connection's other handlers are cancelled before, but for those of
        streams whose end an exception has told."""
        return self._only("_disconnect", handler)

    @overload
    def on_error(self, handler: _Error) -> _Error: ...
    @overload
    def on_error(self) -> Callable[[_Error], _Error]: ...
    def on_error(self, handler: Any = ...) -> Any:
        """`(error, info) -> None`: each exception that another handler raised, after it was logged. info says for which
        connection, stream and request: `ErrorInfo`. What this one raises is logged, and goes nowhere else."""
        return self._only("_error", handler)

    @overload
    def on_handshake_failed(self, handler: _Handshake) -> _Handshake: ...
    @overload
    def on_handshake_failed(self) -> Callable[[_Handshake], _Handshake]: ...
    def on_handshake_failed(self, handler: Any = ...) -> Any:
        """`(address, error) -> None`: a client began to connect to this server, and no connection came about. address:
        the client's, (host, port), which need not be its own before the handshake has proved it. error: a
        HandshakeFailed. Clients that were refused before any handshake (a full server, no common version) are only
        counted (`LoopStats`). Of a server with several protocols the handlers of the first one are asked."""
        return self._only("_handshake", handler)

    def _only(self, slot: str, handler: Any) -> Any:
        """A handler that there is one of; `@app.datagram` and `@app.datagram()` are the same."""
        if handler is ...:
            return functools.partial(self._only, slot)
        handler = _callable(handler)
        self._check_unused(f"a handler of {_KINDS[slot]}")
        if getattr(self, slot) is not None:
            raise _twice(slot, None, getattr(self, slot), handler)
        setattr(self, slot, handler)
        return handler

    def _named(self, slot: str, name: str) -> Callable[[Any], Any]:
        self._check_name(name)
        handlers: dict[str, Any] = getattr(self, slot)

        def add(handler: Any) -> Any:
            if not isinstance(handler, _naquid.BatchHandler):
                handler = _callable(handler)
            self._check_unused(f"the handler of {_KINDS[slot]} {name!r}")
            if handlers.get(name, _nobody) is not _nobody:
                raise _twice(slot, name, handlers[name], handler)
            handlers[name] = handler
            return handler

        return add

    def _native(self, slot: str, name: str, capsule: object) -> None:
        self._check_name(name)
        self._check_unused(f"the native handler of {_KINDS[slot]} {name!r}")
        if name in self._natives:
            raise _twice("_natives", name, self._natives[name], capsule)
        getattr(self, slot).setdefault(name, _nobody)
        self._natives[name] = capsule

    def _by_name(self) -> dict[str, tuple[str, Any]]:
        """Each name, what its streams are, and a handler of it."""
        found: dict[str, tuple[str, Any]] = {}
        for slot, kind in (("_requests", "_requests"), ("_notifies", "_requests"), *((s, s) for s in _TABLES[2:4])):
            for name, handler in getattr(self, slot).items():
                found.setdefault(name, (kind, handler))
        return found

    def _check_unused(self, what: str) -> None:
        if self._used:
            raise ConfigError(
                f"{what} comes too late: {self._used} has used these handlers already, and would not see it; add all "
                f"handlers before {self._used}"
            )

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str):
            raise ConfigError(
                f'a stream name is a str, not {type(name).__name__}: write it in parentheses, as in @app.rpc("name")'
            )
        if not 1 <= len(name.encode()) <= 255 or "\0" in name:
            raise ConfigError(f"stream name {name!r:.80}: a name is 1 to 255 bytes long and has no NUL")

    def _compile(
        self, call_timeout: float, max_tasks: int, user: str = "serve()", server_tasks: int = 0
    ) -> _naquid.AppCore:
        """The handlers in the engine's form, for this function of naquid. From now on none can be added."""
        app = _naquid.AppCore(max_tasks, call_timeout, server_tasks)
        rpcs = self._requests.keys() | self._notifies.keys()
        kinds: list[tuple[str, set[str]]] = [
            ("rpc", set(rpcs)),
            ("stream", set(self._streams)),
            ("raw_stream", set(self._raw_named)),
        ]
        for at, (kind, names) in enumerate(kinds):
            for other, others in kinds[at + 1 :]:
                if both := names & others:
                    raise ConfigError(f"the name {min(both)!r} has a handler of {kind} and one of {other}: rename one")
        for name in rpcs:
            request = self._requests.get(name)
            handler = None if request is _nobody else request
            app.add_rpc(Rpc, name, handler, self._notifies.get(name), name not in self._kept_on)
        for name, stream in self._streams.items():
            app.add_stream(Stream, name, stream, False)
        for name, raw in self._raw_named.items():
            app.add_stream(RawStream, name, raw, True)
        if self._raw is not None:
            if not app.named:
                app.set_raw(RawStream, self._raw)
            elif any(RAW_NAME in names for _, names in kinds):
                raise ConfigError('the name "raw" belongs to the plain raw_stream handler: rename the other handler')
            else:
                app.add_stream(RawStream, RAW_NAME, self._raw, True)
        if uni := self._uni or self._raw:
            app.set_uni(RawStream, uni)
        for native, capsule in self._natives.items():
            _naquid.attach_native(app, native, capsule)
        app.set_events(self._datagram, self._connect, self._disconnect)
        app.set_reports(self._error, self._handshake)
        self._used = self._used or user
        return app


# The tables of handlers by name, and the handlers of which there is one.
_TABLES = ("_requests", "_notifies", "_streams", "_raw_named", "_natives")
_SLOTS = ("_raw", "_uni", "_datagram", "_connect", "_disconnect", "_error", "_handshake")
_KINDS = {
    "_requests": "rpc",
    "_notifies": "rpc_notify",
    "_streams": "stream",
    "_raw_named": "raw_stream",
    "_natives": "native handler",
    "_raw": "raw_stream",
    "_uni": "uni_stream",
    "_datagram": "datagram",
    "_connect": "on_connect",
    "_disconnect": "on_disconnect",
    "_error": "on_error",
    "_handshake": "on_handshake_failed",
}


def _twice(slot: str, name: str | None, first: object, second: object) -> ConfigError:
    what = _KINDS[slot] if name is None else f"the name {name!r}"
    return ConfigError(
        f"{what} has two handlers, {_name(first)} and {_name(second)}: "
        + ("leave one out" if name is None else "rename or leave out one")
    )


def _name(handler: object) -> str:
    return name_of(handler.fn if isinstance(handler, _naquid.BatchHandler) else handler)


Apps = Handlers | Mapping[str, Handlers]
"""Handlers of a server: one for all connections, or by ALPN name (RFC 7301), in order of preference."""


def check_apps(apps: object) -> None:
    """Raises ConfigError unless these are `Apps`."""
    if isinstance(apps, Handlers):
        return
    if not isinstance(apps, Mapping):
        raise ConfigError(
            f"the first argument of serve() is a Handlers object, or a dict of them by ALPN name, not "
            f"{type(apps).__name__}"
        )
    if not apps:
        raise ConfigError('the dict of handlers is empty: give at least one, as in {"nq/1": app}')
    for alpn, app in apps.items():
        if not isinstance(alpn, str) or not 1 <= len(alpn.encode()) <= 255:
            raise ConfigError(f"{alpn!r:.80} is no ALPN name: it must be a str of 1 to 255 bytes")
        if not isinstance(app, Handlers):
            raise ConfigError(f"the handlers of {alpn!r} are a Handlers object, not {type(app).__name__}")


def compile_apps(apps: Apps, call_timeout: float, max_tasks: int, server_tasks: int) -> _naquid.AppCore:
    """The handlers in the engine's form, all protocols in one."""
    if isinstance(apps, Handlers):
        return apps._compile(call_timeout, max_tasks, server_tasks=server_tasks)
    made = [compile_for(alpn, app, call_timeout, max_tasks, server_tasks=server_tasks) for alpn, app in apps.items()]
    for alpn, app in list(zip(apps, made, strict=True))[1:]:
        made[0].add_alpn(alpn, app)
    return made[0]


def compile_for(
    alpn: str | None,
    app: Handlers,
    call_timeout: float,
    max_tasks: int,
    user: str = "serve()",
    server_tasks: int = 0,
) -> _naquid.AppCore:
    """The handlers of connections with this ALPN name. Where it is none of naquid's, and none of them has a name, there
    is nothing but bare bytes on the wire."""
    core = app._compile(call_timeout, max_tasks, user, server_tasks)
    if alpn is not None and not alpn.startswith("nq/") and not core.named:
        core.speak_raw()
    return core


def _nobody(*args: object) -> None:
    """Stands for the Python handler of a name that has a native one only."""


def _callable(handler: Any) -> Any:
    if not callable(handler):
        raise ConfigError(f"a handler must be callable, not {type(handler).__name__}")
    if inspect.isasyncgenfunction(handler):
        raise ConfigError("a handler must be a function or a coroutine function, not a generator: it has a `yield`")
    return handler


async def awaited(work: Awaitable[Any]) -> Any:
    """What a handler returned that is no coroutine, as one."""
    return await work
