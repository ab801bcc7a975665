"""A network in memory with a clock of its own: what takes minutes there takes milliseconds here."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import selectors
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from .. import _naquid
from ..errors import Error

__all__ = ["SimConditions", "SimCounters", "SimDeadlock", "SimNetwork"]

T = TypeVar("T")

DEFAULT_HOST = ("10.0.0.250", "fd00::250")
"""The addresses of who is in no `SimNetwork.host`."""
THREAD_PATIENCE = 1.0
"""Seconds of real time for which the clock waits for threads of `run_in_executor`. A longer one may be waiting itself
for what only comes when the clock moves."""
NS = 1_000_000_000
MAX_PAYLOAD = 65535


class SimDeadlock(RuntimeError):
    """Nothing is left that a program in a `SimNetwork` could wait for: it would wait for ever."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SimConditions:
    """How a `SimNetwork` treats packets, in every direction. Raises ValueError when a value is out of range."""

    delay: float = 0.005
    """Seconds from one host to the other."""
    jitter: float = 0.0
    """Up to this many seconds more, differently for each packet; reorders."""
    loss: float = 0.0
    """Part of the packets that vanish, 0 to 1, in steps of a millionth."""
    duplicate: float = 0.0
    """Part of the packets that arrive twice, 0 to 1."""
    corrupt: float = 0.0
    """Part of the packets of which one bit is changed on the way, 0 to 1."""
    rate: float = 0.0
    """Bytes per second towards each socket, headers included, with a queue of an eighth of a second; 0: no bound."""
    mtu: int = MAX_PAYLOAD
    """Bytes of the largest UDP payload that passes; larger ones vanish."""
    cut: bool | str = False
    """True: nothing passes. An address: nothing reaches that host."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be from 0 to 1")
        for name in ("delay", "jitter", "rate"):
            if not 0 <= getattr(self, name) <= 1e9:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be from 0 to 1e9")
        if not 1 <= self.mtu <= MAX_PAYLOAD:
            raise ValueError(f"mtu is {self.mtu!r}: it must be from 1 to {MAX_PAYLOAD}")
        if isinstance(self.cut, str):
            ipaddress.ip_address(self.cut)


@dataclasses.dataclass(frozen=True, slots=True)
class SimCounters:
    """What happened to the packets of a `SimNetwork` so far."""

    sent: int
    """All that were sent."""
    lost: int
    """Vanished: by chance, cut off, too large, through a full queue, to a port that a NAT has given up, or to an
    address where nothing listened."""
    duplicated: int
    """Arrived twice, by chance."""


class SimNetwork:
    """A network in memory with a clock of its own, for what depends on time and on a bad network:

        with naquid.testing.SimNetwork(seed=1, delay=0.02, loss=0.05) as network:
            network.run(main())

    In `main()` `naquid.serve`, `naquid.connect` and `naquid.Endpoint` use this network in place of the system's, and
    asyncio's time is that of its clock: `asyncio.sleep(600)` takes none, `asyncio.timeout`, idle timeouts and probe
    timers are exact. The clock stands still while code runs, and jumps to the next timer or packet when all wait.

    seed: of the loss, the jitter, and what else is random in QUIC but its keys. names: what names resolve to, one
    numeric address or several. The rest are fields of `SimConditions`. Raises ValueError.

    **What is the same in every run** with one seed: which packets are lost, when what arrives, in which order things
    happen. What is not: keys, and the bytes and lengths of signatures (of ECDSA by one or two), which TLS takes from
    real randomness. A program that is to run the same way twice must not depend on anything else that varies, such as
    the `random` module without a seed or the order of a set.

    The validity of certificates is that of the real clock. Other sockets and child processes have no place here: asking
    the event loop for one raises RuntimeError. Threads of `asyncio.to_thread` work; the clock waits for them, for a
    second of real time. Everything of a SimNetwork belongs to one thread.
    """

    def __init__(
        self, *, seed: int = 0, names: Mapping[str, str | Iterable[str]] | None = None, **conditions: Any
    ) -> None:
        self._sim = _naquid.Sim(seed & 0xFFFFFFFFFFFFFFFF)
        self._names: dict[str, list[str]] = {}
        for name, addresses in (names or {}).items():
            self.name(name, *([addresses] if isinstance(addresses, str) else addresses))
        self._conditions = SimConditions(**conditions)
        self._apply()
        self._hosts: dict[str, _naquid.SimHost] = {}
        self._default = _naquid.SimHost(self._sim, DEFAULT_HOST, any=True)
        self._closed = False

    # ---- running ----

    def run(self, main: Coroutine[Any, Any, T], *, limit: float = 86400.0) -> T:
        """Runs the coroutine in a new asyncio event loop on this network and returns its result, as `asyncio.run` does.
        The clock goes on where the last run ended.

        limit: seconds of the network's clock; TimeoutError when they are over. Raises SimDeadlock when nothing is left
        to wait for, RuntimeError when the network is closed, and what the coroutine raises.
        """
        if self._closed:
            main.close()
        with asyncio.Runner(loop_factory=lambda: self.new_event_loop(limit)) as runner:
            return runner.run(main)

    def new_event_loop(self, limit: float = 86400.0) -> asyncio.AbstractEventLoop:
        """An event loop on this network for whoever runs it by other means than `run`, such as an `asyncio.Runner`. One
        runs at a time. Raises RuntimeError when the network is closed."""
        if self._closed:
            raise RuntimeError("the SimNetwork is closed")
        return _EventLoop(self, self._sim.now + round(limit * NS), limit)

    @property
    def time(self) -> float:
        """Seconds on the network's clock; in `run` that of `asyncio.get_running_loop().time()`."""
        return self._sim.now / NS

    # ---- the network ----

    @property
    def conditions(self) -> SimConditions:
        """How packets fare that are sent from now on."""
        return self._conditions

    def link(self, **changes: Any) -> None:
        """Changes fields of the conditions, for what is sent from now on; the others stay:
        `network.link(loss=0.3, delay=0.1)`, `network.link(cut=True)`. Raises ValueError, TypeError."""
        self._conditions = dataclasses.replace(self._conditions, **changes)
        self._apply()

    @contextlib.contextmanager
    def host(self, *addresses: str) -> Iterator[None]:
        """Inside, sockets are those of the host with these numeric addresses, one of IPv4, of IPv6, or both. So are
        those of tasks that are begun inside:

            with network.host("10.0.0.2"):
                conn = await naquid.connect("10.0.0.1", 4433, ca="ca.pem")

        Outside, servers may be bound to any address, and clients come from 10.0.0.250 or fd00::250. A host has an
        engine of its own, so that it shares nothing with others but the network. A client of `naquid.capi` that is
        made inside is the host's, too: poll it, and `await asyncio.sleep(0.001)` between. Raises ValueError.
        """
        token = _naquid.sim_host.set(self._host(addresses))
        try:
            yield
        finally:
            _naquid.sim_host.reset(token)

    def rebind(self, host: str = DEFAULT_HOST[0]) -> None:
        """The NAT before this host forgets: each of its open sockets is seen under a new port, and what is sent to the
        one before is lost. Raises ValueError when the host has no socket."""
        if self._sim.rebind(host) == 0:
            raise ValueError(f"nothing is open at {host}")

    def name(self, name: str, *addresses: str) -> None:
        """From now on the name resolves to these numeric addresses; without any it does not resolve."""
        for address in addresses:
            ipaddress.ip_address(address)
        self._names[name] = list(addresses)

    @property
    def counters(self) -> SimCounters:
        """What happened to its packets so far."""
        return SimCounters(*self._sim.counters)

    # ---- the end ----

    def close(self) -> None:
        """Closes what is still open in the network. Closing twice does nothing."""
        self._closed = True
        for engine in list(self._sim.loops):
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<naquid.testing.SimNetwork at {self.time:.6f} s, {self.conditions}>"

    def _host(self, addresses: tuple[str, ...]) -> _naquid.SimHost:
        versions = [ipaddress.ip_address(address).version for address in addresses]
        if not versions or len(set(versions)) != len(versions):
            raise ValueError(f"a host has one IPv4 address, one IPv6 address, or one of both; not {addresses}")
        known = {self._hosts.get(address) for address in addresses}
        if known == {None}:
            made = _naquid.SimHost(self._sim, addresses)
            for address in addresses:
                self._hosts[address] = made
            return made
        found = known.pop()
        if known or found is None:
            raise ValueError(f"of {addresses} some belong to another host")
        return found

    def _apply(self) -> None:
        now = self._conditions
        self._sim.link(
            round(now.delay * NS),
            round(now.jitter * NS),
            now.loss,
            now.duplicate,
            now.corrupt,
            0 if now.mtu == MAX_PAYLOAD else now.mtu,
            round(now.rate),
            now.cut is True,
            now.cut if isinstance(now.cut, str) else None,
        )


class _Selector(selectors.BaseSelector):
    """Where asyncio would sleep, the clock is moved on. What really has a descriptor is only looked at: the event
    loop's own wake-up, through which threads report, and that of each engine."""

    def __init__(self, network: SimNetwork, end: int, limit: float) -> None:
        self._sim = network._sim
        self._end = end
        self._limit = limit
        self._real = selectors.DefaultSelector()
        self._own: int | None = None
        self.call_soon: Callable[..., object]
        self.threads = 0
        """Threads whose results somebody may be waiting for."""
        self._waited = False

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if self._own is None:  # asyncio's wake-up is the first
            self._own = fd
        elif fd not in [engine.fileno() for engine in self._sim.loops]:
            _refuse("a descriptor cannot be watched")
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready and (timeout is None or timeout > 0) and not self._sim.due():
            ready = self._sleep(timeout)
        for engine in self._sim.due():
            self.call_soon(engine._on_ready)
        return ready

    def _sleep(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Lets what is next happen; timeout: seconds until asyncio's next timer."""
        if self.threads and not self._waited:
            ready = self._real.select(THREAD_PATIENCE)
            if ready:
                return ready
            self._waited = True
        at = self._sim.next()
        if timeout is not None:
            timer = self._sim.now + -int(-timeout * NS // 1)  # rounded up: a timer that is early would be set again
            at = timer if at is None else min(at, timer)
        if at is None:
            if self.threads:
                return self._real.select(None)
            raise SimDeadlock(
                "the program waits for something that cannot happen any more: no timer is set, no packet is on its way "
                "and no thread of asyncio.to_thread is at work"
            )
        if at > self._end:
            self._end = at + 3600 * NS  # for what is done at the end of a cancelled program
            raise TimeoutError(
                f"the program has not ended in {self._limit:g} s on the clock of its SimNetwork; see run(limit=...)"
            )
        self._sim.advance(at)
        return []

    @contextlib.contextmanager
    def thread(self) -> Iterator[None]:
        """Inside, a thread is at work."""
        self.thread_begins()
        try:
            yield
        finally:
            self.thread_ended()

    def thread_begins(self) -> None:
        self.threads += 1
        self._waited = False

    def thread_ended(self, future: object = None) -> None:
        self.threads -= 1


def _refuse(what: str) -> NoReturn:
    raise RuntimeError(f"{what} in the event loop of a SimNetwork: it has no sockets, pipes or processes of the system")


class _EventLoop(asyncio.SelectorEventLoop):
    """asyncio on the clock of a SimNetwork."""

    def __init__(self, network: SimNetwork, end: int, limit: float) -> None:
        self._network = network
        self._sleeper = _Selector(network, end, limit)
        super().__init__(self._sleeper)
        self._sleeper.call_soon = self.call_soon

    def time(self) -> float:
        return self._network.time

    def _naquid_host(self) -> _naquid.SimHost:
        """For naquid.event_loop: whose sockets are used in this context."""
        if self._network._closed:
            raise Error("the SimNetwork is closed")
        here = _naquid.sim_host.get()
        return here if here is not None and here.sim is self._network._sim else self._network._default

    # ---- threads ----

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._sleeper.thread_begins()
        future.add_done_callback(self._sleeper.thread_ended)
        return future

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        with self._sleeper.thread():
            await super().shutdown_default_executor(*args, **options)

    # ---- names ----

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        try:
            found = [str(ipaddress.ip_address(name))]
        except ValueError:
            found = self._network._names.get(name, [])
        versions = {socket.AF_INET: [4], socket.AF_INET6: [6]}
        wanted = [4, 6] if family == socket.AF_UNSPEC else versions.get(socket.AddressFamily(family), [])
        number = int(port or 0)
        answer: list[Any] = [
            (socket.AF_INET, type or socket.SOCK_DGRAM, proto, "", (address, number))
            if ":" not in address
            else (socket.AF_INET6, type or socket.SOCK_DGRAM, proto, "", (address, number, 0, 0))
            for address in found
            if ipaddress.ip_address(address).version in wanted
        ]
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, f"the SimNetwork has no address for {name!r}: see its names=")
        return answer

    # ---- what there is not ----

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        _refuse("create_connection is not possible")

    async def create_server(self, *args: Any, **options: Any) -> Any:
        _refuse("create_server is not possible")

    async def create_datagram_endpoint(self, *args: Any, **options: Any) -> Any:
        _refuse("create_datagram_endpoint is not possible")

    async def create_unix_connection(self, *args: Any, **options: Any) -> Any:
        _refuse("create_unix_connection is not possible")

    async def create_unix_server(self, *args: Any, **options: Any) -> Any:
        _refuse("create_unix_server is not possible")

    async def connect_accepted_socket(self, *args: Any, **options: Any) -> Any:
        _refuse("connect_accepted_socket is not possible")

    async def connect_read_pipe(self, *args: Any, **options: Any) -> Any:
        _refuse("connect_read_pipe is not possible")

    async def connect_write_pipe(self, *args: Any, **options: Any) -> Any:
        _refuse("connect_write_pipe is not possible")

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        _refuse("a child process is not possible")

    async def subprocess_shell(self, *args: Any, **options: Any) -> Any:
        _refuse("a child process is not possible")
