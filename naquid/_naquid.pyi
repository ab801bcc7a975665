"""The binding, as Python sees it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from contextvars import Context, ContextVar
from os import PathLike
from typing import Any, Literal, Protocol, TypeVar, TypeVarTuple, final, overload

from _typeshed import WriteableBuffer
from typing_extensions import disjoint_base

from .capi.types import (
    nq_on_alarm_t,
    nq_on_conn_modify_hdmap_t,
    nq_on_conn_validate_t,
    nq_on_rpc_replies_t,
    nq_on_rpc_reply_t,
    nq_on_rpc_task_t,
    nq_on_rpc_validate_t,
    nq_on_stream_task_t,
    nq_on_stream_validate_t,
    nq_rpc_batch_handler_t,
    nq_rpc_handler_t,
    nq_rpc_opt_t,
    nq_stream_factory_t,
    nq_stream_handler_t,
    nq_stream_opt_t,
)
from .connection import Connection
from .errors import CallTimeout, ConnectionError, RpcError
from .event_loop import LoopStats
from .raw_stream import RawStream
from .rpc import Rpc
from .stream import Stream

CODE_UNKNOWN_PROTOCOL: int
"""The code of a stream whose name the peer has no handler for."""
CODE_FRAME_ERROR: int
"""The code of a stream that is ended because bytes came that are no frame."""
CODE_TOO_BIG: int
"""The code of a stream that is ended because a message above `Limits.max_message_size` came."""
CODE_OVERLOAD: int
"""The code of a stream that is ended because a bound of this side is reached."""
CODE_INTERNAL: int
"""The code of a connection or stream that is ended because of a fault of this side."""
CODE_SHUTDOWN: int
"""The code of connections whose server shuts down."""
WHY_APP: int
"""Why a connection ended: CONNECTION_CLOSE 0x1d, the code is the application's."""
WHY_TRANSPORT: int
"""Why a connection ended: CONNECTION_CLOSE 0x1c, the code is QUIC's (RFC 9000 20.1)."""
WHY_TLS: int
"""Why a connection ended: a TLS alert; the code is 0x100 and the alert's number."""
WHY_IDLE: int
"""Why a connection ended: the idle timeout (RFC 9000 10.1)."""
WHY_HANDSHAKE_TIMEOUT: int
"""Why a connection ended: no completed handshake in time."""
WHY_RESET: int
"""Why a connection ended: a stateless reset (RFC 9000 10.3)."""
WHY_VERSION: int
"""Why a connection ended: no common QUIC version."""
WHY_SYSTEM: int
"""Why a connection ended: a socket's error, or no memory."""

OK: int
"""The result of a call that was answered: 0."""
ETIMEOUT: int
"""The result of a call that was not answered in time."""
ENOTSUPPORT: int
"""The result of what this system cannot do."""
EALLOC: int
"""The result of a call for which there was no memory, here for the reply or at the peer for the request."""
EGOAWAY: int
"""The result of a call whose stream or connection has ended."""
EUSER: int
"""The code of an error reply that chose none."""
HANDLER_FAILED: bytes
"""What the caller of a request is told when its handler raised."""
ETOOBIG: int
"""The code of an error reply: the request or its reply is above the peer's `Limits.max_message_size`."""

_Buffer = bytes | bytearray | memoryview
_Blob = str | PathLike[str] | bytes | bytearray | memoryview
_Password = str | bytes | bytearray | memoryview | Callable[[], str | bytes]
_S = TypeVar("_S", Rpc, Stream, RawStream)
_Ts = TypeVarTuple("_Ts")

def limits_table() -> list[tuple[str, int, int, int, str, str]]:
    """The engine's limits: a list of (name, default, smallest, largest, unit, text)."""

def attach_native(app: AppCore, name: str | None, capsule: object) -> None:
    """Gives the streams of a name (None: datagrams) to the functions of a capsule."""

def native_api() -> object:
    """A PyCapsule named NAQUID_API_CAPSULE: what native code may call on a stream besides what its events offer, in the
    thread that runs the stream's loop. See `Rpc.native_address`."""

def versions() -> dict[str, Any]:
    """What is linked in and how it was built: the version of each library by its name, "compiler", "flags",
    "variant": str, and "pins": dict."""

def tls_alert_name(alert: int) -> str:
    """The name of a TLS alert (RFC 8446 6): "unknown_ca" for 48."""

def parse_address(host: str, port: int) -> tuple[str, int] | None:
    """Whether host is a numeric IP address, as the canonical (host, port); None when it is none."""

@disjoint_base
class Loop:
    """An engine loop: sockets, timers and connections, run by one thread at a time.

    Drive it by `poll()`, by `run()` in a thread of its own, or by `attach()` to an asyncio event loop.
    portable: plain system calls only. busy_poll: see set_busy_poll. socket_buffer: bytes, 0 is 16 MiB. sim: the host
    of a simulated network whose sockets and clock it has; then it never sleeps, and whoever moves the clock runs it."""

    def __init__(
        self,
        *,
        portable: bool = False,
        gso: bool = True,
        gro: bool = True,
        timer_floor: float = 0.0,
        busy_poll: float = 0.0,
        socket_buffer: int = 0,
        sim: SimHost | None = None,
    ) -> None: ...
    @property
    def sim(self) -> SimHost | None:
        """The simulated host whose sockets and clock it has; None: the system's."""
    def _on_ready(self) -> None: ...
    def poll(self, max_wait: float = 0.0) -> int:
        """Runs one tick, waiting at most max_wait seconds (less than 0: until something happens). Returns the number
        of events that were dispatched. The interpreter lock is free while it waits and works."""
    def run(self) -> None:
        """Runs ticks in the calling thread until stop(). The interpreter lock is taken once per tick that has events,
        and not at all for one without."""
    def stop(self) -> None:
        """Ends run(), from any thread."""
    def post(self, fn: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Calls fn(*args) in the thread that runs the loop, at the start of its next tick. Any thread."""
    def attach(self, aloop: asyncio.AbstractEventLoop) -> None:
        """Lets an asyncio (or uvloop) event loop run this one, through add_reader and call_soon."""
    def detach(self) -> None:
        """Undoes attach()."""
    def forked(self) -> None:
        """In a forked child: whatever is done with what it inherited raises, in the middle of a tick, too."""
    def close(self) -> None:
        """Closes every connection (one CONNECTION_CLOSE each) and frees everything. Inside a handler: at the end of
        the tick. What still waits fails; closing twice does nothing."""
    @property
    def closed(self) -> bool:
        """True once close() is done."""
    def fileno(self) -> int:
        """The descriptor that is readable when poll(0) has something to do."""
    def set_busy_poll(self, seconds: float) -> None:
        """How long it looks at its sockets again and again, after something came or went, before it sleeps: a core for
        shorter round trips. 0: not at all. In the loop's thread, or before it runs."""
    def now(self) -> float:
        """The loop's monotonic clock in seconds, read once a tick."""
    def stats(self) -> dict[str, int]:
        """Counters of the loop since its start, as a dict (see nq_loop_stats in engine.h). In the loop's thread; from
        another one while the loop works, they are of no one moment, and no endpoint may be opened or closed."""

sim_host: ContextVar[SimHost | None]
"""The simulated host whose sockets and clock new loops take; None: the system's."""

@disjoint_base
class Sim:
    """A simulated network with a clock of its own, in ns. What uses it is run by one thread."""

    loops: list[Loop]
    """The loops that are open on it."""
    def __init__(self, seed: int) -> None: ...
    @property
    def now(self) -> int:
        """ns; the clock of its loops."""
    @property
    def counters(self) -> tuple[int, int, int]:
        """Packets: (sent, lost, duplicated)."""
    def next(self) -> int | None:
        """When something is to be done next: a packet arrives, or an attached loop has a deadline. None: never."""
    def advance(self, to: int) -> None:
        """Moves the clock on, never back."""
    def due(self) -> list[Loop]:
        """The attached loops that have something to do now. Those that are polled look for themselves."""
    def link(
        self,
        delay: int,
        jitter: int,
        loss: float,
        duplicate: float,
        corrupt: float,
        mtu: int,
        rate: int,
        cut: bool,
        cut_to: str | None,
    ) -> None:
        """How packets fare that are sent from now on. delay, jitter: ns. mtu, rate: 0 is no bound. cut_to: None, or the
        one address that nothing reaches."""
    def rebind(self, host: str) -> int:
        """The NAT before the host gives each of its open sockets a new port. How many it has."""

@disjoint_base
class SimHost:
    """A host of the network with these numeric addresses, at most one of each family. any: its sockets may be bound to
    every other address, too."""

    sim: Sim
    """The network that it is a host of."""
    def __init__(self, sim: Sim, addresses: Iterable[str], any: bool = False) -> None: ...

@disjoint_base
class Tls:
    """A TLS 1.3 context. cert, key, ca: path, PEM bytes, DER bytes or PKCS#12; ca may be a directory, too. password: of
    an encrypted key or PKCS#12, a str, bytes, or a callable that returns one of these and is called once. alpn: names
    in order of preference.

    Files are read here, and again before a handshake when they have changed; see `trouble`. Without `ca` a client
    trusts the system's roots. insecure: a client accepts any certificate. Raises
    errors.ConfigError with what is wrong and with which file; MemoryError, or OSError when no descriptor is left."""

    def __init__(
        self,
        *,
        server: bool,
        cert: _Blob | None = None,
        key: _Blob | None = None,
        ca: _Blob | None = None,
        insecure: bool = False,
        verify_client: bool = False,
        alpn: Iterable[str | bytes] = ...,
        groups: str | None = None,
        ciphersuites: str | None = None,
        keylog: str | PathLike[str] | None = None,
        password: _Password | None = None,
    ) -> None: ...
    @property
    def server(self) -> bool:
        """True for a server's context."""
    @property
    def insecure(self) -> bool:
        """True for a client that accepts any certificate."""
    @property
    def trouble(self) -> str:
        """Why files that have changed could not be used when a handshake began last, a sentence; "" when they are."""

def certificate_names(der: bytes) -> list[tuple[str, bytes]]:
    """The names that a certificate (DER) is for, as pairs: the kind ("common", "dns", "ip", "email", "uri") and the
    bytes of the name, of an address 4 or 16. Common names first. Raises ValueError when it is none."""

@disjoint_base
class EngineLimits:
    """The engine's limits. Fields are given by name, in the engine's units: ns, bytes or counts; see limits_table()."""

    def __init__(self, **fields: int) -> None: ...

@disjoint_base
class HandlerEntry:
    """What is called for the streams of one name, and the class of their objects."""

    def __init__(
        self, cls: type, name: str | None, handler: object, notify: object = None, cancel: bool = True
    ) -> None: ...

@disjoint_base
class HandlerTask:
    """Called when its task has ended."""

    def __call__(self, task: asyncio.Task[Any]) -> None: ...
    def cut(self) -> None:
        """The end of its stream or connection was told, to whoever waited for it: a task that was not told ends now."""

@disjoint_base
class RunningTasks:
    """The tasks of coroutine handlers that run, of one connection or of a server."""

@disjoint_base
class AppCore:
    """Handlers in the form the engine reads. Filled once, before it is used.

    task_limit: coroutine handlers of one connection that may run at once; above it nothing new of it is begun.
    call_timeout: seconds, the default of RPC streams. server_limit: coroutine handlers of all its connections; 0: any
    number."""

    named: bool
    """There is a handler with a name."""
    task_limit: int
    """Coroutine handlers of one RPC stream that may run at once."""
    call_timeout: float
    """The timeout of calls in seconds, where none is given."""
    rpcs: dict[str, HandlerEntry]
    """The handlers of RPC streams, by name."""
    def __init__(self, task_limit: int = 1024, call_timeout: float = 30.0, server_limit: int = 0) -> None: ...
    def add_rpc(self, cls: type[Rpc], name: str, handler: object, notify: object, cancel: bool) -> None:
        """An RPC stream name; handler or notify may be None. cancel: a request's coroutine is cancelled when nobody
        waits for its reply any more."""
    def add_stream(self, cls: type[Stream] | type[RawStream], name: str, handler: object, raw: bool) -> None:
        """A record stream name, or with raw a raw stream that has a name."""
    def set_raw(self, cls: type[RawStream], handler: object) -> None:
        """Every bidirectional stream goes to handler; streams have no names."""
    def set_uni(self, cls: type[RawStream], handler: object) -> None:
        """Incoming unidirectional streams."""
    def speak_raw(self) -> None:
        """Its connections have streams of bare bytes only, as a protocol that is none of naquid's expects."""
    def add_alpn(self, alpn: str, other: AppCore) -> None:
        """A server's connections that agree on this ALPN name have these handlers instead."""
    def set_events(self, datagram: object, connect: object, disconnect: object) -> None:
        """Handlers of the connection itself; each may be None."""
    def set_reports(self, error: object, handshake_failed: object) -> None:
        """Handlers of what goes wrong; each may be None."""

@disjoint_base
class Core:
    """An object that the engine points at, until the event that ends it."""

@disjoint_base
class ConnCore(Core):
    """A connection, as events find it."""

@disjoint_base
class EndpointCore(Core):
    """A UDP address and its socket, as events find it."""

    @property
    def id(self) -> int:
        """The number that the engine has given it, in its loop."""

@disjoint_base
class StreamCore(Core):
    """A stream, as events find it."""

@disjoint_base
class RpcCore(StreamCore):
    """A stream that can carry requests and calls, as events find it."""

@disjoint_base
class AioStream(RpcCore):
    """What streams of all kinds have in common; `naquid.Rpc`, `naquid.Stream` and `naquid.RawStream` add the rest."""

    def use_native(self, capsule: object | None) -> None:
        """Gives the events of this stream to the C functions of a PyCapsule (see naquid_native.h), or with None back to
        Python. Replies to calls that Python made still come to Python. Raises TypeError, ConfigError, StreamClosed."""
    def native_address(self) -> tuple[int, int]:
        """(loop, stream): what the functions of naquid_native.h take, as integers. Good while the stream is, and only
        in the thread that runs its loop."""
    @property
    def data(self) -> Any:
        """The program's own: any object, None until it is set. It is freed with this object."""
    @data.setter
    def data(self, value: Any) -> None:
        """The program's own: any object, None until it is set. It is freed with this object."""
    @property
    def name(self) -> str | None:
        """The name that the stream was opened with; None when it has none."""
    @property
    def connection(self) -> Connection:
        """The connection of the stream."""
    @property
    def is_closed(self) -> bool:
        """True when both directions have ended."""
    @property
    def is_outgoing(self) -> bool:
        """True when this side opened the stream."""
    @property
    def stream_id(self) -> int:
        """The QUIC stream ID (RFC 9000 2.1), for the whole life of the object; -1 while the stream waits for the peer's
        limit."""
    @property
    def queued(self) -> int:
        """Bytes given to this stream that the peer has not acknowledged yet."""
    @property
    def is_writable(self) -> bool:
        """False while nothing more should be sent: the send queue was above `Limits.send_high` and is not down to
        `send_low` yet, or that of the connection above half of `max_send_queue` and not down to a quarter; or sending
        is over. `drain()` waits for True."""
    def close(self) -> None:
        """Closes both directions: what was sent is delivered, then FIN; what still comes is refused (STOP_SENDING).

        Returns at once; `wait_closed()` waits. Closing twice does nothing."""
    def reset(self, code: int = 0) -> None:
        """Ends the sending side at once (RESET_STREAM, RFC 9000 3.1) with an application error code of 62 bits.

        What was not delivered yet may be lost. Does nothing on a closed stream."""
    def stop_sending(self, code: int = 0) -> None:
        """Asks the peer to send no more (STOP_SENDING, RFC 9000 3.5); what still comes is dropped."""
    def _failed(self, exc: BaseException, where: object, type: int | None = None) -> None: ...
    def _open_wait(self) -> Awaitable[None] | None: ...
    def _drain_wait(self) -> Awaitable[None] | None: ...
    def _read_wait(self) -> Awaitable[None] | None: ...
    def _close_wait(self) -> Awaitable[None] | None: ...
    def _finish(self) -> None: ...

@disjoint_base
class BaseStream(AioStream):
    """A record stream's queue; naquid.Stream adds the coroutines."""

    def send_nowait(self, data: _Buffer) -> None:
        """Queues one record (any contiguous bytes-like object), without waiting. See `send`.

        A record of 64 KiB or more is not copied when it is bytes, or a memoryview of bytes: it is kept until all of it
        is acknowledged, or the stream has ended."""
    def _take(self) -> bytes | None: ...

@disjoint_base
class BaseRawStream(AioStream):
    """A raw stream's receive buffer; naquid.RawStream adds the coroutines."""

    def at_eof(self) -> bool:
        """True when the peer has finished, or has closed the connection in order, and everything was read."""
    @property
    def is_unidirectional(self) -> bool:
        """True when only the side that opened the stream sends."""
    @property
    def _buffered(self) -> int: ...
    def write(self, data: _Buffer) -> None:
        """Queues bytes (any contiguous bytes-like object). Never waits: follow it by `await drain()`.

        What can change, such as a bytearray, is copied, and so is what has less than 64 KiB. bytes, and memoryviews of
        bytes or from `read_view`, are kept instead until all of it is acknowledged, or the stream has ended.
        Raises StreamReset when the peer asked to stop, StreamClosed after write_eof(), ConnectionLost, and QueueFull
        above Limits.max_send_queue."""
    def _take(self, n: int) -> bytes: ...
    def _room_in(self, buffer: WriteableBuffer) -> int: ...
    def _take_into(self, buffer: WriteableBuffer) -> int: ...
    def _take_view(self, n: int) -> memoryview: ...
    def _find(self, separator: bytes, start: int) -> int: ...
    def _need(self, n: int) -> None: ...

@disjoint_base
class BaseRpc(AioStream):
    """An RPC stream; naquid.Rpc adds the coroutines."""

    request_handler: Callable[..., Any] | None
    """What takes requests: (rpc, type, payload) -> bytes, None or a coroutine. None: nothing does."""
    notify_handler: Callable[..., Any] | None
    """What takes notifications: (rpc, type, payload) -> None or a coroutine. None: nothing does."""
    @property
    def current_msgid(self) -> int:
        """Message ID of the request that is being handled, inside its handler; 0 elsewhere. Who reads it says that the
        reply comes by `reply()`: None as the handler's result is no reply then."""
    def defer(self) -> Deferred:
        """Inside a request handler that will return None: an object to reply with later, from anywhere in the
        event loop. When that object is forgotten, the caller gets an error reply (code -7), and the logger "naquid" a
        warning. Raises RuntimeError elsewhere."""
    def reply(self, msgid: int, payload: _Buffer = b"") -> None:
        """Replies to a request whose handler returned None; msgid is what `current_msgid` was then. Dropped when the
        stream is gone. Raises MessageTooBig or QueueFull through the error reply the caller gets; TypeError and
        ValueError for what is no message ID, or no buffer."""
    def reply_error(self, msgid: int, payload: _Buffer = b"", code: int = -7) -> None:
        """Replies with an error (code is -32768 to -1): the caller's `call()` raises RpcError(payload, code)."""
    def call_soon(
        self, type: int, payload: _Buffer, on_reply: Callable[[int, bytes], object], timeout: float | None = None
    ) -> int:
        """Sends a request and returns at once; on_reply(result: int, payload: bytes) is called exactly once.

        type: 1 to 32767. timeout: seconds; None is the stream's. result is 0, the negative code of an error reply,
        naquid.ETIMEOUT, naquid.ETOOBIG when request or reply is above a max_message_size, naquid.EALLOC when there was
        no memory for the reply, or naquid.EGOAWAY when the stream or connection ended.
        Returns the message ID for `cancel`.
        Raises ConnectionLost, MessageTooBig, QueueFull, ValueError."""
    @overload
    def call_many(
        self,
        type: int,
        payloads: Iterable[_Buffer],
        timeout: float | None = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> Coroutine[Any, Any, list[bytes]]:
        """Sends a request for each payload; the result is awaited for the list of their replies, in order.

        It costs one await for all of them. timeout: seconds, of each. return_exceptions: an error reply or timeout
        stands in the list; otherwise the first one is raised and the replies still to come are forgotten. Raises as
        `call` does; QueueFull when some, but not all, could be sent (those are forgotten)."""
    @overload
    def call_many(
        self, type: int, payloads: Iterable[_Buffer], timeout: float | None = None, *, return_exceptions: bool
    ) -> Coroutine[Any, Any, list[bytes | RpcError | CallTimeout]]:
        """Sends a request for each payload; the result is awaited for the list of their replies, in order.

        It costs one await for all of them. timeout: seconds, of each. return_exceptions: an error reply or timeout
        stands in the list; otherwise the first one is raised and the replies still to come are forgotten. Raises as
        `call` does; QueueFull when some, but not all, could be sent (those are forgotten)."""
    def cancel(self, msgid: int) -> bool:
        """Forgets a call of `call_soon`: its on_reply is never called. Returns whether it was still waiting; False for
        every number that is no message ID of such a call. To give up what is awaited, cancel the task."""
    def notify(self, type: int, payload: _Buffer = b"") -> None:
        """Sends a message that has no reply. type: 1 to 32767. Raises ConnectionLost, MessageTooBig, QueueFull."""
    def call(self, type: int, payload: _Buffer = b"", timeout: float | None = None) -> Coroutine[Any, Any, bytes]:
        """Sends a request; the result is awaited for the reply's payload: `reply = await rpc.call(1, b"hi")`.

        type: 1 to 32767. payload: any contiguous bytes-like object; it is copied, and sent at the end of this turn of
        the event loop, whether the result is awaited yet or not. timeout: seconds; None is the stream's own. When the
        waiting task is cancelled the reply is forgotten. While a connection that was lost is being brought back the
        call waits for that, for at most its timeout, and is sent then.

        Raises ConnectionLost when the stream or connection is gone, MessageTooBig, QueueFull, ValueError for a type
        out of range. Awaiting raises RpcError for an error reply, with the code naquid.ETOOBIG when the peer's
        max_message_size is below the payload; CallTimeout, ConnectionLost, MessageTooBig for a reply above this
        side's."""
    def _gone(self) -> BaseException: ...
    def _deferred(self, msgid: int) -> bool: ...
    def _end_request(self, msgid: int, result: int, payload: _Buffer) -> None: ...
    def _answer(self, msgid: int, result: int, payload: _Buffer) -> None: ...

@final
class Call(Coroutine[Any, Any, bytes]):
    """A request that was sent. Await it for the reply's payload, or give it to whatever takes a coroutine:
    `asyncio.create_task`, `gather`, `wait_for`, a task group. It may be awaited more than once."""

    def __await__(self) -> Generator[Any, Any, bytes]: ...
    def __iter__(self) -> Generator[Any, Any, bytes]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any:
        """As a coroutine's."""
    def throw(self, type: Any, value: Any = None, traceback: Any = None) -> Any:
        """As a coroutine's: the exception comes out of the await; a reply that is still to come is forgotten."""
    def close(self) -> None:
        """As a coroutine's: a reply that is still to come is forgotten."""

@final
class RpcBatch:
    """The requests of one tick for one batch handler, in the order in which they came: parallel lists `rpcs`, `types`
    and `payloads`. len() is their number; iterating gives (rpc, type, payload)."""

    @property
    def rpcs(self) -> list[Rpc]:
        """The RPC stream of each request."""
    @property
    def types(self) -> list[int]:
        """The type of each request, 1 to 32767."""
    @property
    def payloads(self) -> list[bytes]:
        """The payload of each request, in the order of the requests."""
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[Rpc, int, bytes]]: ...
    def defer(self, i: int) -> Deferred:
        """An object to reply with later to request i; the handler returns None for it."""

@final
class BatchHandler:
    """Wraps a function that takes an RpcBatch and returns one reply for each request."""

    @property
    def fn(self) -> Callable[[RpcBatch], Any]:
        """The function."""
    def __init__(self, fn: Callable[[RpcBatch], Any]) -> None: ...

@final
class Deferred:
    """A request that waits for its reply: `reply(payload)` or `error(payload, code)`, once."""

    def reply(self, payload: _Buffer = b"") -> None:
        """Sends the reply. Dropped when the stream is gone. After an exception it is still to be sent."""
    def error(self, payload: _Buffer = b"", code: int = -7) -> None:
        """Sends an error reply; code is -32768 to -1."""

@disjoint_base
class BaseConnection(ConnCore):
    """A connection's state; naquid.Connection adds the coroutines."""

    @property
    def used_names(self) -> bool:
        """Whether this side has opened a stream with a name."""
    @property
    def data(self) -> Any:
        """The program's own: any object, None until it is set. It stays with the connection, also over its loss and
        return (`ClientConfig.reconnect`), and is freed with this object."""
    @data.setter
    def data(self, value: Any) -> None:
        """The program's own: any object, None until it is set. It stays with the connection, also over its loss and
        return (`ClientConfig.reconnect`), and is freed with this object."""
    @property
    def peer_certificates(self) -> list[bytes]:
        """The peer's certificate chain as DER bytes, leaf first; empty when it showed none."""
    @property
    def _peer_verified(self) -> bool: ...
    @property
    def max_datagram_size(self) -> int:
        """Bytes that one datagram may carry now; 0 when the peer takes none."""
    @property
    def is_client(self) -> bool:
        """True on the side that connected."""
    @property
    def is_open(self) -> bool:
        """True from the completed handshake to the end, or to its loss when the connection is one that comes back."""
    @property
    def is_closed(self) -> bool:
        """True once the connection has ended."""
    @property
    def error(self) -> Exception | None:
        """Why the connection ended, or was lost last while it is not back: an exception. None while it is open and
        after a close in order (application code 0, or NO_ERROR of the peer's transport)."""
    def send_datagram(self, data: _Buffer) -> None:
        """Sends an unreliable datagram (RFC 9221), any contiguous bytes-like object; never waits.

        When Limits.datagram_queue are waiting, the oldest is dropped. Raises MessageTooBig above
        `max_datagram_size`, ConnectionLost."""
    def flush(self) -> None:
        """Writes what is queued into packets now, not at the end of the event loop's turn."""
    def loop_stats(self) -> LoopStats:
        """Counters of the event loop's engine, as a dict: packets, system calls, what is alive (Loop.stats)."""
    @property
    def _named(self) -> bool: ...
    @property
    def _call_timeout(self) -> float: ...
    def _connect(
        self,
        loop: Loop,
        host: str,
        port: int,
        server_name: str | None,
        tls: Tls,
        app: AppCore,
        limits: EngineLimits,
        quiet: bool,
        version: int,
        server: BaseServer | None,
        context: Context,
    ) -> None: ...
    def _announce(self) -> None: ...
    def _lost(self) -> BaseException: ...
    def _survive(self) -> None: ...
    def _watch(self) -> None: ...
    def _reconnect(self, host: str, port: int) -> asyncio.Future[ConnectionError | None]: ...
    def _end(self, error: ConnectionError) -> None: ...
    def _stop_attempt(self) -> None: ...
    def _changed(self) -> None: ...
    def _interrupted(self) -> None: ...
    @property
    def _state(self) -> str: ...
    @property
    def _reconnects(self) -> bool: ...
    @property
    def _closing(self) -> bool: ...
    @property
    def _delivered(self) -> bool: ...
    def _open_wait(self) -> Awaitable[None] | None: ...
    def _refusal(self) -> ConnectionError | None: ...
    def _close_wait(self) -> Awaitable[None] | None: ...
    def _ping(self) -> Awaitable[float | None]: ...
    def _migrate(self) -> bool: ...
    def _open_stream(self, cls: type[_S], kind: int, name: str | None, uni: bool, call_timeout: float) -> _S: ...
    def _close(self, code: int, reason: str, now: bool) -> None: ...
    def _released(self) -> None: ...
    def _refuse_peer(self) -> None: ...
    def _failed(self, exc: BaseException, where: object) -> None: ...
    def _info(self) -> dict[str, Any] | None: ...

@disjoint_base
class BaseServer(EndpointCore):
    """A listening UDP address; naquid.Server adds the coroutines."""

    @property
    def live(self) -> set[Connection]:
        """The connections that it has accepted and that have not ended."""
    @property
    def closed(self) -> bool:
        """True once its socket is closed."""
    @property
    def address(self) -> tuple[str, int] | None:
        """(host, port) it is bound to."""
    @property
    def _tasks(self) -> set[asyncio.Task[Any]]: ...
    @property
    def _requests(self) -> set[asyncio.Task[Any]]: ...
    def _begin_nothing(self) -> None: ...
    def _listen(
        self,
        loop: Loop,
        host: str,
        port: int,
        tls: Tls | None,
        app: AppCore,
        limits: EngineLimits,
        conn_class: type[Connection],
        always_retry: bool,
        secret: bytes | None,
        context: Context,
        socket: int = -1,
    ) -> None: ...
    def _refuse(self) -> None: ...
    def _broken(self) -> int: ...
    def _end(self) -> None: ...
    def _idle_wait(self) -> Awaitable[None] | None: ...

# ---- naquid.capi ----

@disjoint_base
class CapiHandle:
    """What names an object of naquid.capi: a number that is good in every thread, also when the object is gone."""

    @property
    def s(self) -> int:
        """The serial (nq_serial_t): a number that no other object of this process has or had; 0 when empty."""

@final
class nq_conn_t(CapiHandle):
    """A connection's handle: immutable, hashable, usable from any thread, safe when stale. nq_conn_t() is empty."""

@final
class nq_stream_t(CapiHandle):
    """A stream's handle: immutable, hashable, usable from any thread, safe when stale. nq_stream_t() is empty."""

@final
class nq_rpc_t(CapiHandle):
    """An RPC stream's handle: immutable, hashable, usable from any thread, safe when stale. nq_rpc_t() is empty."""

@final
class nq_alarm_t(CapiHandle):
    """An alarm's handle: immutable, hashable, usable from any thread, safe when stale. nq_alarm_t() is empty."""

@final
class nq_hdmap_t:
    """A handler map: stream names and what serves them. A client has one, a server one for each port, and a connection
    its own after nq_conn_modify_hdmap. Fill it before its server starts, a client's in the client's thread."""

    @property
    def address(self) -> tuple[str, int] | None:
        """(host, port) that a server's map is served on; None for other maps. Not in the original: with port 0 the
        system chooses one."""
    def _own(self, loop: CapiLoop) -> None: ...
    def _own_address(self, where: tuple[str, int]) -> None: ...
    def _freeze(self) -> None: ...

@disjoint_base
class CapiLoop(Loop):
    """The loop of a client or of a server's worker."""

    def _init(self, worker: bool, index: int) -> None: ...
    def _call_soon(self, fn: Callable[[], object]) -> bool: ...
    def _call_at(self, delay: int, fn: nq_on_alarm_t) -> nq_alarm_t: ...
    def _forget(self, a: nq_alarm_t) -> None: ...
    def _drain(self) -> None: ...
    def _destroy_conns(self) -> None: ...
    @property
    def _live_conns(self) -> int: ...
    @property
    def _ticking(self) -> bool: ...
    @property
    def _mine(self) -> bool: ...
    def _adopt(self) -> None: ...

class _Race(Protocol):
    def won(self, conn: CapiConn) -> None: ...
    def lost(self, conn: CapiConn) -> bool: ...

@disjoint_base
class CapiConn(ConnCore):
    """A connection of naquid.capi."""

    def _start(
        self,
        loop: CapiLoop,
        host: str,
        port: int,
        server_name: str | None,
        tls: Tls,
        streams: nq_hdmap_t,
        limits: EngineLimits,
        on_open: Callable[..., Any] | None,
        on_close: Callable[..., Any] | None,
        on_finalize: Callable[..., Any] | None,
        race: _Race | None,
    ) -> None: ...
    def _drop(self) -> None: ...

@disjoint_base
class CapiEndpoint(EndpointCore):
    """A listening address of a worker of naquid.capi."""

    def _end(self) -> None: ...
    @property
    def address(self) -> tuple[str, int]:
        """(host, port) it is bound to."""
    def _listen(
        self,
        loop: CapiLoop,
        host: str,
        port: int,
        tls: Tls,
        streams: nq_hdmap_t,
        limits: EngineLimits,
        secret: bytes | None,
        reuseport: bool,
        on_open: Callable[..., Any] | None,
        on_close: Callable[..., Any] | None,
    ) -> None: ...

@disjoint_base
class CapiGroup:
    """Loops that serve the same addresses."""

    def __init__(self, loops: list[CapiLoop]) -> None: ...
    def _refuse(self) -> None: ...

@final
class CapiResolver:
    """Lookups by the servers of nq_dns_conf_t."""

    def __init__(self, servers: list[tuple[str, int]], timeout: int, rotate: bool) -> None: ...
    def ask(self, name: bytes, ident: int) -> bool:
        """Any thread: looks a name up. True: a thread must now call wait() until that returns None. BlockingIOError:
        too many wait already."""
    def wait(self) -> tuple[int, int, list[str]] | None:
        """The next answer as (ident, c-ares status, addresses); None when no lookup is left or it is closed."""
    def close(self) -> None:
        """Any thread: no more answers."""

def capi_hooks(log: Callable[[int, str, dict[str, object]], None], detail: type) -> None:
    """Where log records go, and the class of error details. For naquid.capi."""

def capi_pause(ns: int) -> int:
    """Sleeps at most ns; a signal ends it early. The ns that were left."""

def need_callable(value: object, name: str) -> None:
    """Raises TypeError unless value can be called, or is None."""

def need_flag(value: object, name: str) -> None:
    """Raises TypeError unless value is a bool, or the 0 or 1 that C has for it."""

def nq_alarm_set(a: nq_alarm_t, first: int, cb: nq_on_alarm_t) -> None:
    """Calls cb(pnext) at `first`, in the thread of the alarm's loop; replaces time and callback set before.

    first: ns since 1970, as nq_time_now(); a time that has passed means the next tick. pnext is a box of one item,
    preset with the time it was set for. On return a later pnext[0] arms it again, STOP_INVOKE_NQ_TIME stops it
    (nq_alarm_set may set it again), anything else frees the alarm. Raises TypeError, ValueError for a wrong
    argument; a stale alarm is dropped. Any thread: queued to the alarm's loop.
    Original: nq_alarm_set."""

def nq_alarm_destroy(a: nq_alarm_t) -> None:
    """Frees the alarm; its callback is not called any more. Any thread: queued to its loop. Also inside its own
    callback. Original: nq_alarm_destroy."""

def nq_alarm_is_valid(a: nq_alarm_t) -> bool:
    """Whether the alarm exists. Any thread. Original: nq_alarm_is_valid."""

def nq_hdmap_stream_handler(h: nq_hdmap_t, name: str | bytes, handler: nq_stream_handler_t) -> bool:
    """Streams called `name` (str or bytes, 1 to 255 bytes, no NUL) are served by an nq_stream_handler_t; the last
    one given counts. True; False (and a log record) when the map is in use by other threads. Raises TypeError,
    ValueError. Before the server starts; a client's map in the client's thread. Original: nq_hdmap_stream_handler."""

def nq_hdmap_rpc_handler(h: nq_hdmap_t, name: str | bytes, handler: nq_rpc_handler_t) -> bool:
    """RPC streams called `name` are served by an nq_rpc_handler_t; its timeout is in ns, 0 is 30 s. Result, errors
    and thread rule as nq_hdmap_stream_handler. Original: nq_hdmap_rpc_handler."""

def nq_hdmap_rpc_batch_handler(h: nq_hdmap_t, name: str | bytes, handler: nq_rpc_batch_handler_t) -> bool:
    """RPC streams called `name` are served by an nq_rpc_batch_handler_t: its on_rpc_batch gets all requests that
    one tick of a worker brought, of any number of connections. Result, errors and thread rule as
    nq_hdmap_stream_handler. Not in the original."""

def nq_hdmap_stream_factory(h: nq_hdmap_t, name: str | bytes, factory: nq_stream_factory_t) -> bool:
    """factory(conn) -> nq_stream_handler_t makes the handler of every stream called `name`. Result, errors and
    thread rule as nq_hdmap_stream_handler. Original: nq_hdmap_stream_factory."""

def nq_hdmap_raw_handler(h: nq_hdmap_t, handler: nq_stream_handler_t) -> None:
    """Raw mode: streams have no names on the wire and all go to this nq_stream_handler_t; both ends must be in raw
    mode. Errors and thread rule as nq_hdmap_stream_handler. Original: nq_hdmap_raw_handler."""

def nq_conn_close(conn: nq_conn_t) -> None:
    """Closes the connection for good: code 16 "Client disconnecting", on a server 70 "server side close"; what its
    streams have queued is sent first, within the shutdown timeout. on_close follows, on a client then on_finalize;
    while it waits to reconnect only on_finalize. Repeated or stale: nothing. Any thread: queued.
    Original: nq_conn_close."""

def nq_conn_reset(conn: nq_conn_t) -> None:
    """Client: closes the QUIC connection and connects again after what on_close returns (0: at once); connects now
    when it is disconnected; does nothing while a reconnect is scheduled. Server: nothing. Any thread: queued.
    Original: nq_conn_reset."""

def nq_conn_flush(conn: nq_conn_t) -> None:
    """Sends what is buffered now, not at the end of the tick. Any thread: queued when it is not the loop's own.
    Original: nq_conn_flush."""

def nq_conn_modify_hdmap(conn: nq_conn_t, modifier: nq_on_conn_modify_hdmap_t) -> None:
    """Gives the connection a new, empty handler map of its own and calls modifier(map) to fill it; the inherited
    map is not looked at any more. Streams that are open keep their handlers. At once in the loop's thread,
    queued from others. Raises TypeError. Original: nq_conn_modify_hdmap."""

def nq_conn_is_client(conn: nq_conn_t) -> bool:
    """Whether the handle is a client connection's, also when it is stale. Any thread.
    Original: nq_conn_is_client."""

def nq_conn_is_valid(conn: nq_conn_t, cb: nq_on_conn_validate_t | None = None) -> bool:
    """Whether the connection object exists. cb(conn, None), or cb(conn, reason) when it does not, is called before
    this returns, in the calling thread. Any thread. Original: nq_conn_is_valid."""

def nq_conn_reconnect_wait(conn: nq_conn_t) -> int:
    """ns until the scheduled reconnect; 0 when none is. Any thread. Original: nq_conn_reconnect_wait."""

def nq_conn_ctx(conn: nq_conn_t) -> Any:
    """What on_open put into pctx[0]; None otherwise. Any thread. Original: nq_conn_ctx."""

def nq_conn_equal(c1: nq_conn_t, c2: nq_conn_t) -> bool:
    """Whether both name the same connection, or both are empty. Any thread. Original: nq_conn_equal."""

def nq_conn_reachability_change(conn: nq_conn_t, new_status: int) -> None:
    """Client: the network changed. NQ_REACHABLE_WIFI and _WWAN move the connection to a new socket, its streams go
    on (RFC 9000 9); where that is not possible it is reset. NQ_NOT_REACHABLE does nothing. Raises ValueError for
    another status. Any thread: queued. Original: nq_conn_reachability_change."""

def nq_conn_fd(conn: nq_conn_t) -> int:
    """The descriptor of a client connection's socket, which connections may share; -1 when there is none. Any
    thread. Original: nq_conn_fd."""

def nq_conn_stream(conn: nq_conn_t, name: str | bytes, ctx: Any = None) -> None:
    """Opens the stream `name` (str or bytes) of the connection's handler map; ctx is pctx[0] in on_stream_open,
    which tells of its success. Not connected: opened after the next on_open. A stale handle or a name without a
    handler: dropped, the latter with a log record. Raises TypeError. Any thread: queued from others than the
    loop's. Original: nq_conn_stream."""

def nq_conn_rpc(conn: nq_conn_t, name: str | bytes, ctx: Any = None) -> None:
    """Opens the RPC stream `name`; on_rpc_open tells of its success. Otherwise as nq_conn_stream.
    Original: nq_conn_rpc."""

def nq_stream_conn(s: nq_stream_t) -> nq_conn_t:
    """The handle of its connection; of a stale stream an empty one, whose reason is "conn not found". Any thread.
    Original: nq_stream_conn."""

def nq_stream_alarm(s: nq_stream_t) -> nq_alarm_t:
    """A new alarm on the stream's loop, which outlives the stream; an empty one when the stream is stale. Any
    thread. Original: nq_stream_alarm."""

def nq_stream_is_valid(s: nq_stream_t, cb: nq_on_stream_validate_t | None = None) -> bool:
    """Whether the stream exists; cb as for nq_conn_is_valid. Any thread. Original: nq_stream_is_valid."""

def nq_stream_outgoing(s: nq_stream_t) -> tuple[bool, bool]:
    """(outgoing, valid): whether this side opened it, and whether the handle is valid. Any thread.
    Original: nq_stream_outgoing, whose out parameter is the second result."""

def nq_stream_close(s: nq_stream_t) -> None:
    """Ends the stream: FIN after what is queued, and nothing more is read; on_stream_close follows. Any thread:
    queued. Original: nq_stream_close."""

def nq_stream_send(s: nq_stream_t, data: Any) -> None:
    """Sends one record (any contiguous bytes-like object; with a stream_writer whatever that takes). At once in the
    loop's thread, queued with a copy from others (bytes need none). bytes of 64 KiB or more, and memoryviews of
    them, are not copied but kept until all is acknowledged or the stream has ended. Stale: dropped. Raises
    TypeError, MessageTooBig (ValueError), QueueFull (BufferError); from another thread those are only logged.
    Original: nq_stream_send."""

def nq_stream_send_ex(s: nq_stream_t, data: Any, opt: nq_stream_opt_t) -> None:
    """nq_stream_send that tells what became of it: opt is an nq_stream_opt_t. on_ack(nbytes, delay_ns) is called as
    its bytes (framing included, the name not) are acknowledged, delay_ns after they were sent;
    on_retransmit(nbytes) when some were lost and are sent again (an estimate). Errors and thread rule as
    nq_stream_send. Original: nq_stream_send_ex."""

def nq_stream_task(s: nq_stream_t, cb: nq_on_stream_task_t) -> None:
    """Calls cb(s) in the thread of the stream's loop, if the stream still exists then. Raises TypeError.
    Any thread: queued. Original: nq_stream_task."""

def nq_stream_equal(c1: nq_stream_t, c2: nq_stream_t) -> bool:
    """Whether both name the same stream, or both are empty. Any thread. Original: nq_stream_equal."""

def nq_stream_sid(s: nq_stream_t) -> int:
    """The QUIC stream ID (RFC 9000 2.1: a client's first is 0); 0 too when the handle is not valid. Any thread.
    Original: nq_stream_sid, whose IDs are of an older QUIC."""

def nq_stream_ctx(s: nq_stream_t) -> Any:
    """What on_stream_open put into pctx[0], or the ctx it was opened with. Any thread. Original: nq_stream_ctx."""

def nq_rpc_conn(rpc: nq_rpc_t) -> nq_conn_t:
    """The handle of its connection, as nq_stream_conn. Any thread. Original: nq_rpc_conn."""

def nq_rpc_alarm(rpc: nq_rpc_t) -> nq_alarm_t:
    """A new alarm on its loop, as nq_stream_alarm. Any thread. Original: nq_rpc_alarm."""

def nq_rpc_is_valid(rpc: nq_rpc_t, cb: nq_on_rpc_validate_t | None = None) -> bool:
    """Whether the RPC stream exists; cb as for nq_conn_is_valid. Any thread. Original: nq_rpc_is_valid."""

def nq_rpc_outgoing(s: nq_rpc_t) -> tuple[bool, bool]:
    """(outgoing, valid) as nq_stream_outgoing. Any thread. Original: nq_rpc_outgoing."""

def nq_rpc_close(rpc: nq_rpc_t) -> None:
    """Ends the RPC stream: on_rpc_close, then NQ_EGOAWAY to every call that waits. Any thread: queued.
    Original: nq_rpc_close."""

def nq_rpc_call(rpc: nq_rpc_t, type: int, data: _Buffer, on_reply: nq_on_rpc_reply_t) -> None:
    """Sends a request; on_reply(rpc, result, data) is called exactly once: NQ_OK, NQ_EUSER with the payload of an
    error reply, NQ_ETIMEOUT after the handler's timeout, NQ_EGOAWAY when the stream is gone or was already,
    NQ_EALLOC when a call that was queued by another thread found the stream's queue full.

    type: 1 to 32767. data: any contiguous bytes-like object. At once in the loop's thread, queued with a copy from
    others. Raises TypeError, ValueError, MessageTooBig, QueueFull. Original: nq_rpc_call."""

def nq_rpc_call_ex(rpc: nq_rpc_t, type: int, data: _Buffer, opts: nq_rpc_opt_t) -> None:
    """nq_rpc_call with an nq_rpc_opt_t: opts.callback and opts.timeout in ns, 0 is the handler's. Errors and thread
    rule as nq_rpc_call. Original: nq_rpc_call_ex."""

def nq_rpc_call_many(
    rpc: nq_rpc_t, type: int, payloads: Iterable[_Buffer], on_replies: nq_on_rpc_replies_t, timeout: int = 0
) -> None:
    """Sends a request for each of the payloads; on_replies(rpc, results, datas) is called exactly once, when the
    last of them has ended: results[i] and datas[i] are what nq_rpc_call's on_reply would have been given.

    type: 1 to 32767, of all. payloads: an iterable of bytes-like objects; without any, on_replies is called in the
    next tick. timeout: ns, of each; 0 is the handler's. At once in the loop's thread, queued with a copy from
    others. Stale: NQ_EGOAWAY for all. Raises TypeError, ValueError, MessageTooBig, QueueFull; those that were sent
    before the one that raised are not undone, but on_replies is not called. Not in the original."""

def nq_rpc_notify(rpc: nq_rpc_t, type: int, data: _Buffer) -> None:
    """Sends a message that has no reply. type: 1 to 32767. Thread rule and errors as nq_rpc_call; stale: dropped.
    Original: nq_rpc_notify."""

def nq_rpc_reply(rpc: nq_rpc_t, msgid: int, data: _Buffer) -> None:
    """Answers the request msgid with NQ_OK and data, any contiguous bytes-like object. At any time after the
    request; a second answer is ignored by the caller. At once in the loop's thread, queued with a copy from others.
    Stale: dropped. Raises TypeError, ValueError for a msgid that is not 1 to 2**32-1, and MessageTooBig, after which
    the caller has an error reply (naquid.ETOOBIG). Original: nq_rpc_reply."""

def nq_rpc_error(rpc: nq_rpc_t, msgid: int, data: _Buffer) -> None:
    """Answers the request msgid with NQ_EUSER and data; otherwise as nq_rpc_reply. Original: nq_rpc_error."""

def nq_rpc_task(rpc: nq_rpc_t, cb: nq_on_rpc_task_t) -> None:
    """Calls cb(rpc) in the loop's thread, as nq_stream_task. Raises TypeError. Any thread: queued.
    Original: nq_rpc_task."""

def nq_rpc_equal(c1: nq_rpc_t, c2: nq_rpc_t) -> bool:
    """Whether both name the same RPC stream, or both are empty. Any thread. Original: nq_rpc_equal."""

def nq_rpc_sid(rpc: nq_rpc_t) -> int:
    """The QUIC stream ID, as nq_stream_sid. Any thread. Original: nq_rpc_sid."""

def nq_rpc_ctx(s: nq_rpc_t) -> Any:
    """What on_rpc_open put into pctx[0], or the ctx it was opened with. Any thread. Original: nq_rpc_ctx."""
