"""Who takes part in the comparison, and how each is started for a workload."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import prepare
from .prepare import Missing

CONNECTIONS = 100
IDLE = 10_000  # connections that do nothing
FULL = 0.8  # the scale of a run that is not quick: seconds of work, about
LIMIT = 30  # seconds for one run of a peer
NAQUID = [sys.executable, "-m", "naquid", "bench"]
WINDOWS = {"rpc W=1": 1, "rpc W=16": 16, "rpc W=5000": 5000}


@dataclass(frozen=True)
class Workload:
    """metric: the key of a run's JSON that is compared. better: "more" or "less"."""

    name: str
    title: str
    metric: str
    unit: str
    better: str = "more"


WORKLOADS = [
    Workload("rpc W=1", "1 request outstanding on each of 100 connections", "requests_per_second", "requests/s"),
    Workload("rpc W=16", "16 requests outstanding on each of 100 connections", "requests_per_second", "requests/s"),
    Workload("rpc W=5000", "5,000 requests of each of 100 connections at once", "requests_per_second", "requests/s"),
    Workload("bulk", "one stream, one direction", "gbit_per_second", "Gbit/s"),
    Workload("handshake", "connections opened", "handshakes_per_second", "handshakes/s"),
    Workload("memory", "server memory per idle connection", "kb_per_connection", "KiB", "less"),
]

Command = Callable[[str, float], list[str] | None]
"""The command line for a workload, or None; the number scales the length of a run."""


@dataclass
class Contender:
    name: str
    command: Command
    ours: bool = False
    reasons: dict[str, str] = field(default_factory=dict)  # workload -> why it is not run any more


def load(workload: str, scale: float, per_second: Sequence[float], window_flag: str) -> list[str]:
    """-r and -w for a contender that answers about so many requests in a second at W = 1, 16, 5000: a second's worth,
    at most 5,000 of each connection."""
    window = WINDOWS[workload]
    rate = per_second[list(WINDOWS).index(workload)]
    requests = min(5000 if window > 1 else 2000, max(window, int(rate * scale / CONNECTIONS)))
    return [requests_flag(window_flag), str(requests), window_flag, str(window)]


def idle(scale: float) -> str:
    """How many connections that do nothing: all of them but in short runs."""
    return str(min(IDLE, round(IDLE * scale / FULL)))


def requests_flag(window_flag: str) -> str:
    return "-r" if window_flag == "-w" else "--requests"


def naquid(mode: str, *more: str) -> Command:
    def command(workload: str, scale: float) -> list[str] | None:
        if workload in WINDOWS:
            if mode == "asyncio" and workload == "rpc W=5000":
                return None  # half a million tasks measure asyncio, not us
            flags = load(workload, scale, (60e3, 600e3, 2e6), "--window")
            return [*NAQUID, "rpc", "--connections", str(CONNECTIONS), "--mode", mode, "--json", *flags, *more]
        if mode != "asyncio":
            return None
        if workload == "bulk":
            return [*NAQUID, "bulk", "--seconds", str(2 * scale), "--json"]
        if workload == "handshake":
            return [*NAQUID, "handshake", "--count", str(int(2000 * scale)), "--json"]
        return [*NAQUID, "idle", "--connections", idle(scale), "--json"]

    return command


def ceiling(program: Path, *flags: str) -> Command:
    def command(workload: str, scale: float) -> list[str] | None:
        start = [str(program), "rpc", "-n", str(CONNECTIONS), "-t", str(LIMIT), *flags]
        if workload in WINDOWS:
            return start + load(workload, scale, (150e3, 3e6, 10e6), "-w")
        if flags:
            return None
        if workload == "bulk":
            return [str(program), "bulk", "-s", str(2 * scale)]
        if workload == "handshake":
            return [str(program), "handshake", "-n", str(int(2000 * scale))]
        return [str(program), "conns", "-n", idle(scale)]

    return command


def verifying(program: Path) -> Command:
    """The ceiling, whose client otherwise verifies no certificate."""

    def command(workload: str, scale: float) -> list[str] | None:
        return [str(program), "handshake", "-V", "-n", str(int(2000 * scale))] if workload == "handshake" else None

    return command


def enet(program: Path) -> Command:
    def command(workload: str, scale: float) -> list[str] | None:
        if workload not in WINDOWS:
            return None
        limit = 3 if workload == "rpc W=5000" else LIMIT  # it collapses there: do not wait for it
        flags = load(workload, scale, (100e3, 1e6, 500e3), "-w")
        return [str(program), "-n", str(CONNECTIONS), "-t", str(limit), *flags]

    return command


def udp(program: Path) -> Command:
    def command(workload: str, scale: float) -> list[str] | None:
        if workload not in ("rpc W=1", "rpc W=16"):
            return None  # it has no flow control: half a million requests at once would be dropped by the kernel
        flags = load(workload, scale, (100e3, 1.5e6, 0), "-w")
        return [str(program), "-n", str(CONNECTIONS), "-t", str(LIMIT), *flags]

    return command


def aiopquic(python: Path) -> Command:
    rpc = peer(python, "aiopquic_rpc.py", (30e3, 300e3, 1e6))

    def command(workload: str, scale: float) -> list[str] | None:
        if workload == "bulk":
            return [str(python), str(prepare.PEERS / "aiopquic_bulk.py"), "--seconds", str(2 * scale)]
        return rpc(workload, scale)

    return command


def peer(python: Path, script: str, per_second: tuple[float, float, float], *flags: str) -> Command:
    def command(workload: str, scale: float) -> list[str] | None:
        if workload not in WINDOWS or not per_second[list(WINDOWS).index(workload)]:
            return None
        size = load(workload, scale, per_second, "--window")
        limits = ["--connections", str(CONNECTIONS), "--seconds", str(LIMIT)]
        return [str(python), str(prepare.PEERS / script), *limits, *flags, *size]

    return command


def contenders(say: Callable[[str], None], only: Collection[str] = ()) -> tuple[list[Contender], dict[str, str]]:
    """Those that could be had, and for the others why not. only: these; empty: all. Raises LookupError for a name that
    nobody has."""
    modes = {"naquid": "python", "naquid asyncio": "asyncio", "naquid batch": "batch", "naquid.capi": "capi"}
    found = [Contender(name, naquid(mode), True) for name, mode in modes.items()]
    known = set(modes)
    missing: dict[str, str] = {}

    def add(names: Sequence[str], make: Callable[[], Sequence[Command]]) -> None:
        known.update(names)
        if only and not set(only) & set(names):
            return
        say(f"preparing {', '.join(names)}")
        try:
            found.extend(
                Contender(name, command, name.startswith("naquid")) for name, command in zip(names, make(), strict=True)
            )
        except Missing as reason:
            missing.update((name, str(reason)) for name in names)

    def with_ceiling() -> list[Command]:
        program = prepare.ceiling()
        return [ceiling(program), ceiling(program, "-X"), verifying(program)]

    def with_python() -> list[Command]:
        python = prepare.peer_python()
        return [
            peer(python, "tls_rpc.py", (30e3, 600e3, 1e6), "--loop", "uvloop"),
            peer(python, "tls_rpc.py", (60e3, 600e3, 1e6)),
            peer(python, "aioquic_rpc.py", (5e3, 80e3, 5e5)),
            peer(python, "grpc_unary.py", (2e3, 4e3, 0)),
        ]

    def with_package(package: str, module: str, script: str, rate: tuple[float, float, float], *flags: str) -> Command:
        return peer(prepare.peer_python_with(package, module), script, rate, *flags)

    add(["naquid native"], lambda: [naquid("native", "--native", str(prepare.native()))])
    add(["ceiling", "ceiling (trains)", "ceiling (verifying)"], with_ceiling)
    add(["plain UDP"], lambda: [udp(prepare.udp())])
    add(["ENet"], lambda: [enet(prepare.enet())])
    add(["uvloop TLS", "asyncio TLS", "aioquic", "grpc.aio"], with_python)
    add(["aiopquic"], lambda: [aiopquic(prepare.aiopquic_python())])
    add(["pyenet"], lambda: [with_package("pyenet>=1.3.17", "enet", "pyenet_rpc.py", (40e3, 4e5, 0))])
    add(["pyzmq CURVE"], lambda: [with_package("pyzmq>=26", "zmq", "zmq_rpc.py", (25e3, 6e4, 1e5))])
    qh3 = ("qh3>=1", "qh3", "aioquic_rpc.py", (5e3, 5e4, 1e5), "--library", "qh3")
    add(["qh3"], lambda: [with_package(*qh3)])
    if unknown := set(only) - known:
        raise LookupError(f"no contender is called {', '.join(sorted(unknown))}")
    if only:
        found = [one for one in found if one.name in only]
        missing = {name: reason for name, reason in missing.items() if name in only}
    return found, missing
