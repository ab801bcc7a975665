"""What this machine can do for naquid: each check asks the system itself, and says what to do about what is missing."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import importlib.util
import os
import platform
import resource
import socket
import struct
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

OK, NOTE, WARN, BAD = "ok", "note", "warn", "bad"

LINUX = sys.platform == "linux"
SO_ATTACH_REUSEPORT_CBPF = 51
UDP_SEGMENT = 103
UDP_GRO = 104
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
BUFFER = 16 << 20  # what the engine asks for
LOOPBACK = ("127.0.0.1", 0)


@dataclass(frozen=True)
class Check:
    """What was looked at, what it is, and what to do ("" when nothing)."""

    name: str
    status: str
    value: str
    advice: str = ""


def checks() -> list[Check]:
    """All of them, in the order in which they are shown. A check that fails by itself says so and ends nothing."""
    found: list[Check] = []
    for probe in (engine, system, python, packages, segmentation, buffers, steering, ipv6, clock, crypto, descriptors):
        try:
            found += probe()
        except OSError as error:
            found.append(Check(probe.__name__, WARN, f"could not be looked at: {error.strerror or error}"))
    return found


# ---- the engine ----


def engine() -> Iterator[Check]:
    """A real exchange over loopback, and what the engine found out about the socket."""
    import naquid

    name = "naquid"
    about = f"{naquid.__version__}, ngtcp2 {naquid.versions()['ngtcp2']}, {naquid.versions()['tls']}"
    yield Check(name, OK, about)
    name = "loopback exchange"
    if importlib.util.find_spec("cryptography") is None:
        yield Check(name, NOTE, "left out: no certificate without the package cryptography", _install("cryptography"))
        return
    try:
        stats, calls, took = asyncio.run(_exchange())
    except Exception as error:  # whatever it is, it is the finding
        yield Check(name, BAD, f"failed: {error}", "UDP on 127.0.0.1 must be let through: look at the firewall")
        return
    yield Check(name, OK, f"{calls} calls answered over encrypted UDP, {took / calls * 1e6:.0f} µs each")
    if not LINUX:
        yield Check("batched I/O", NOTE, "plain system calls: batches are for Linux")
        return
    names = {"mmsg": "recvmmsg, sendmmsg", "gso": "engine uses GSO", "gro": "engine uses GRO", "ecn": "engine uses ECN"}
    for key, title in names.items():
        if stats.get(key):
            yield Check(title, OK, "yes")
        else:
            yield Check(title, WARN, "no", "a sandbox or an old kernel forbids it: each datagram costs more")


async def _exchange() -> tuple[dict[str, int], int, float]:
    import naquid
    from naquid.bench.process import loop_stats

    from .certificates import create

    app = naquid.Handlers()

    @app.rpc("doctor")
    def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload

    calls = 200
    with tempfile.TemporaryDirectory(prefix="naquid-") as folder:
        files = create(Path(folder))
        async with (
            naquid.serve(app, LOOPBACK[0], 0, cert=files.cert, key=files.key) as server,
            naquid.connect(LOOPBACK[0], server.port, ca=files.ca) as conn,
        ):
            rpc = await conn.open_rpc("doctor")
            begin = time.perf_counter()
            for number in range(calls):
                payload = number.to_bytes(8, "big")
                if await rpc.call(1, payload, timeout=5) != payload:
                    raise RuntimeError("a reply differs from its request")
            return loop_stats(), calls, time.perf_counter() - begin


# ---- machine and Python ----


def system() -> Iterator[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check("system", OK, f"{platform.system()} {platform.release()} on {platform.machine()}")
    advice = "" if usable > 1 else "client and server share one core: expect a third of what two would do"
    yield Check("processor cores", OK if usable > 1 else NOTE, f"{usable} usable of {os.cpu_count()}", advice)
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor == "powersave":
        yield Check("clock rate", WARN, governor, "for steady latency: cpupower frequency-set -g performance")
    elif governor:
        yield Check("clock rate", OK, governor)


def python() -> Iterator[Check]:
    about = f"{platform.python_implementation()} {platform.python_version()}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
        yield Check("Python", OK, f"{about}, free-threaded build, GIL {'on' if enabled else 'off'}")
    else:
        yield Check("Python", OK, f"{about}, with the GIL")


def packages() -> Iterator[Check]:
    uses = {
        "uvloop": (NOTE, "a faster event loop for asyncio programs"),
        "rich": (NOTE, "progress bars and tables"),
        "cryptography": (NOTE, "naquid cert, demo and bench make certificates with it"),
        "matplotlib": (NOTE, "naquid bench --plot"),
    }
    for name, (status, use) in uses.items():
        if importlib.util.find_spec(name) is not None:
            yield Check(name, OK, "installed")
        else:
            yield Check(name, status, "not installed", f"{use}: {_install(name)}")


def _install(name: str) -> str:
    return f"pip install {name}"


# ---- sockets ----


def segmentation() -> Iterator[Check]:
    if not LINUX:
        return
    with _udp() as receiver, _udp() as sender:
        receiver.bind(LOOPBACK)
        receiver.settimeout(2)
        try:
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
            sender.sendto(bytes(250), receiver.getsockname())
            sizes = [len(receiver.recv(1000)) for _ in range(3)]
            works = sizes == [100, 100, 50]
        except OSError:
            works = False
        if works:
            yield Check("GSO, UDP_SEGMENT", OK, "one send, many datagrams: works")
        else:
            advice = "needs Linux 4.18 or newer and no sandbox in between: sending costs several times as much"
            yield Check("GSO, UDP_SEGMENT", WARN, "does not work", advice)
    with _udp() as receiver:
        try:
            receiver.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
            yield Check("GRO, UDP_GRO", OK, "one receive, many datagrams: can be switched on")
        except OSError:
            advice = "needs Linux 5.0 or newer and no sandbox in between: receiving costs more"
            yield Check("GRO, UDP_GRO", WARN, "does not work", advice)


def buffers() -> Iterator[Check]:
    """A socket's buffers: asked for, granted."""
    kinds = [
        ("receive buffer", socket.SO_RCVBUF, SO_RCVBUFFORCE, "net.core.rmem_max"),
        ("send buffer", socket.SO_SNDBUF, SO_SNDBUFFORCE, "net.core.wmem_max"),
    ]
    for name, option, force, sysctl in kinds:
        with _udp() as probe:
            forced = False
            if LINUX:
                with suppress(OSError):
                    probe.setsockopt(socket.SOL_SOCKET, force, BUFFER)
                    forced = True
            size = BUFFER
            while not forced and size >= 65536:  # some systems refuse rather than grant less
                try:
                    probe.setsockopt(socket.SOL_SOCKET, option, size)
                    break
                except OSError:
                    size //= 2
            granted = probe.getsockopt(socket.SOL_SOCKET, option) // (2 if LINUX else 1)
        value = f"{granted >> 10:,} KiB of {BUFFER >> 10:,} KiB asked for"
        most = _read(f"/proc/sys/{sysctl.replace('.', '/')}") if LINUX else ""
        raise_it = f"sysctl -w {sysctl}={BUFFER}, and the same in /etc/sysctl.d to keep it"
        if granted >= BUFFER and forced and most.isdigit() and int(most) < BUFFER:
            value += f"; {int(most) >> 10:,} KiB without privileges"
            yield Check(name, NOTE, value, f"for programs of other users: {raise_it}")
        elif granted >= BUFFER:
            yield Check(name, OK, value)
        elif LINUX:
            yield Check(name, WARN if granted < 1 << 20 else NOTE, value, f"datagrams are lost in bursts: {raise_it}")
        else:
            yield Check(name, NOTE, value, f"datagrams are lost in bursts: sysctl -w kern.ipc.maxsockbuf={BUFFER}")


def steering() -> Iterator[Check]:
    """Two sockets share a port, and a program chooses by the datagram's first byte."""
    name = "SO_REUSEPORT, BPF steering"
    if not LINUX:
        yield Check(name, NOTE, "only on Linux", "worker threads forward to each other what reaches the wrong one")
        return
    # A = payload byte 0; return A. Of the group's sockets, number A gets the datagram.
    code = struct.pack("=HBBIHBBI", 0x30, 0, 0, 0, 0x16, 0, 0, 0)
    block = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HL" if struct.calcsize("P") == 4 else "HxxxxxxQ", 2, ctypes.addressof(block))
    advice = "worker threads forward to each other what reaches the wrong one, which costs"
    with _udp() as first, _udp() as second, _udp() as sender:
        try:
            for one in (first, second):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                one.bind(first.getsockname() if one is second else LOOPBACK)
                one.settimeout(1)
            first.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
            for number in (1, 0, 1, 1, 0):
                sender.sendto(bytes([number]), first.getsockname())
                if (first, second)[number].recv(10) != bytes([number]):
                    raise OSError(errno.EIO, "a datagram was steered wrongly")
        except OSError as error:
            yield Check(name, WARN, f"does not work: {error.strerror or error}", advice)
            return
    yield Check(name, OK, "datagrams reach the worker that is meant")


def ipv6() -> Iterator[Check]:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
        yield Check("IPv6", OK, "::1 can be bound")
    except OSError as error:
        yield Check("IPv6", NOTE, f"no: {error.strerror or error}", 'bind "0.0.0.0" rather than "::" here')


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


# ---- clock, processor, limits ----


def clock() -> Iterator[Check]:
    source = _read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    rounds = 20_000
    begin = time.perf_counter_ns()
    for _ in range(rounds):
        time.perf_counter_ns()
    each = (time.perf_counter_ns() - begin) / rounds
    value = f"{source}, " if source else ""
    value += f"{each:.0f} ns to read from Python"
    if source in ("hpet", "acpi_pm", "jiffies", "refined-jiffies") or each > 1000:
        advice = (
            "every packet reads the clock, and this one needs a system call: boot with clocksource=tsc where it is safe"
        )
        yield Check("clock source", WARN, value, advice)
    else:
        yield Check("clock source", OK, value)


def crypto() -> Iterator[Check]:
    name = "processor's cryptography"
    flags = _cpu_flags()
    if not flags:
        yield Check(name, NOTE, "unknown: the system does not tell")
        return
    known = {
        "aes": "AES",
        "vaes": "VAES",
        "pclmulqdq": "CLMUL",
        "vpclmulqdq": "VPCLMUL",
        "pmull": "PMULL",
        "avx2": "AVX2",
        "avx512f": "AVX-512",
        "sha_ni": "SHA",
        "sha2": "SHA-2",
    }
    has = [title for flag, title in known.items() if flag in flags]
    if "aes" in flags and flags & {"pclmulqdq", "pmull"}:
        extra = (
            "" if "vaes" in flags or "pmull" in flags else " (no VAES: bulk encryption at half the speed of newer ones)"
        )
        yield Check(name, OK, ", ".join(has) + extra)
    else:
        advice = "AES-GCM is slow here: let virtual machines see AES, or prefer the suite TLS_CHACHA20_POLY1305_SHA256"
        yield Check(name, WARN, ", ".join(has) or "none", advice)


def _cpu_flags() -> set[str]:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return {"aes", "pmull", "sha2"}
    return set()


def descriptors() -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def text(limit: int) -> str:
        return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}"

    value = f"{text(soft)}, may be raised to {text(hard)}"
    if soft != resource.RLIM_INFINITY and soft < 256:
        yield Check("open files", WARN, value, "a loop needs 3 and a client connection may need 1 more: ulimit -n 4096")
    else:
        yield Check("open files", OK, value)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
