"""What the peers written in Python share: framing, the load of one client, and the two processes of a run.

A peer program calls `main(name, serve, drive)`:

    peer.py --connections N --requests M --window W      the client; starts its own server process; prints one JSON line
    peer.py --server                                     the server; prints its port; ends when its stdin is closed

Frames are length (4) . type (2) . message ID (4) . payload: requests have a type > 0, replies the result <= 0, as in
naquid's own frames. The parser is written the way one writes it when it has to be fast in pure Python: whole chunks,
one precompiled struct, the replies of a chunk joined into one write.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import resource
import runpy
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from pathlib import Path
from typing import Any

HEAD = struct.Struct("!IhI")
AT_END: list[Callable[[], Awaitable[object]]] = []  # what a peer has to close once the run is over
KEPT: list[asyncio.Future[None]] = []  # tasks that run until the end
POINTS = Path(__file__).parents[2] / "naquid" / "bench" / "points.py"  # read, as naquid need not be importable here
PERCENTILES: tuple[float, ...] = runpy.run_path(str(POINTS))["PERCENTILES"]
STEP = 61  # how far apart the payloads of two connections start

Write = Callable[[bytes], object]


def echo(request_type: int, payload: bytes) -> bytes:
    """The server's handler: called once for every single request."""
    return payload


class Service:
    """The server's side of one connection. Feed it bytes; it answers through `write`."""

    def __init__(self, write: Write, handler: Callable[[int, bytes], bytes] = echo) -> None:
        self._write = write
        self._handler = handler
        self._rest = b""

    def feed(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        unpack, pack, handler, out = HEAD.unpack_from, HEAD.pack, self._handler, []
        here, end = 0, len(data)
        while end - here >= 10:
            size, kind, number = unpack(data, here)
            stop = here + 10 + size
            if stop > end:
                break
            reply = handler(kind, data[here + 10 : stop])
            out.append(pack(len(reply), 0, number) + reply)
            here = stop
        self._rest = data[here:]
        if out:
            self._write(b"".join(out))


class Load:
    """The client's side of all connections of a run, and what came out of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.connections: int = options.connections
        self.requests: int = options.requests
        self.window: int = min(options.window, options.requests)
        self.limit: float = options.seconds
        self.sample = 1 if self.window == 1 else 16
        self.latencies: list[int] = []
        self.errors = 0
        self.answered = 0
        self.handshake_seconds = 0.0
        self.done = asyncio.get_running_loop().create_future()
        self._finished = 0
        # Distinct within a connection, different on any two connections at the same place.
        self._payloads = [k.to_bytes(8, "big") for k in range(self.requests + STEP * self.connections)]

    def payloads(self, number: int) -> list[bytes]:
        return list(islice(self._payloads, number * STEP, number * STEP + self.requests))

    def finish(self) -> None:
        self._finished += 1
        if self._finished == self.connections and not self.done.done():
            self.done.set_result(None)

    def result(self, name: str, seconds: float) -> dict[str, object]:
        wanted = self.connections * self.requests
        ordered = sorted(self.latencies)
        return {
            "peer": name,
            "requests": self.answered,
            "seconds": round(seconds, 6),
            "requests_per_second": round(self.answered / seconds, 1),
            "p50_us": percentile(ordered, 50),
            "p99_us": percentile(ordered, 99),
            "percentiles_us": [percentile(ordered, p) for p in PERCENTILES] if ordered else [],
            "errors": self.errors + wanted - self.answered,
            "handshake_seconds": round(self.handshake_seconds, 6),
            "client_cpu_s": round(cpu_seconds(), 3),
        }


class Caller:
    """One client connection: keeps the window full until every request was answered, and compares every reply."""

    def __init__(self, load: Load, number: int, write: Write) -> None:
        self._load = load
        self._write = write
        self._rest = b""
        self._payloads = load.payloads(number)
        self._pending: dict[int, Callable[[int, bytes], None]] = {}
        self._stamps: dict[int, int] = {}
        self._sent = 0
        self._answered = 0

    def start(self) -> None:
        out: list[bytes] = []
        for _ in range(self._load.window):
            self._call(out)
        self._write(b"".join(out))

    def _call(self, out: list[bytes]) -> None:
        number = self._sent
        self._sent = number + 1
        payload = self._payloads[number]
        if number % self._load.sample == 0:
            self._stamps[number] = time.perf_counter_ns()
        self._pending[number] = self._on_reply
        out.append(HEAD.pack(len(payload), 1, number) + payload)

    def _on_reply(self, result: int, payload: bytes) -> None:
        number = self._answered
        self._answered = number + 1
        if result or payload != self._payloads[number]:
            self._load.errors += 1
        if number % self._load.sample == 0:
            self._load.latencies.append(time.perf_counter_ns() - self._stamps.pop(number))

    def feed(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        unpack, pending = HEAD.unpack_from, self._pending
        out: list[bytes] = []
        here, end, before = 0, len(data), self._answered
        while end - here >= 10:
            size, kind, number = unpack(data, here)
            stop = here + 10 + size
            if stop > end:
                break
            pending.pop(number)(kind, data[here + 10 : stop])
            if self._sent < self._load.requests:
                self._call(out)
            here = stop
        self._rest = data[here:]
        if out:
            self._write(b"".join(out))
        self._load.answered += self._answered - before
        if self._answered == self._load.requests and self._answered > before:
            self._load.finish()


def percentile(ordered: list[int], p: float) -> float:
    return round(ordered[int((len(ordered) - 1) * p / 100)] / 1e3, 1) if ordered else 0.0


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost in `folder`, made when it is not there."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    if cert_file.exists() and key_file.exists():
        return cert_file, key_file
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return cert_file, key_file


Serve = Callable[[Path, Path], Awaitable[int]]
Drive = Callable[[Load, int, Path], Awaitable[list[Caller]]]


async def server(serve: Serve, cert: Path, key: Path) -> None:
    """Serves until stdin is closed, so that the server never outlives its client."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def on_stdin() -> None:
        if not sys.stdin.buffer.raw.read(1024) and not ended.done():  # type: ignore[union-attr]
            ended.set_result(None)

    port = await serve(cert, key)
    loop.add_reader(sys.stdin.fileno(), on_stdin)
    print(json.dumps({"port": port}), flush=True)
    await ended
    for close in AT_END:
        await close()
    print(json.dumps({"server_cpu_s": round(cpu_seconds(), 3)}), flush=True)


async def _client(name: str, drive: Drive, options: argparse.Namespace, port: int, cert: Path) -> dict[str, object]:
    load = Load(options)
    begin = time.perf_counter()
    callers = await drive(load, port, cert)
    load.handshake_seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    for caller in callers:
        caller.start()
    with contextlib.suppress(TimeoutError):  # what is missing is counted as errors
        await asyncio.wait_for(load.done, load.limit)
    result = load.result(name, time.perf_counter() - begin)
    for close in AT_END:
        await close()
    return result


def main(
    name: str, serve: Serve, drive: Drive, run: Callable[[Coroutine[Any, Any, object]], object] = asyncio.run
) -> None:
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--server", action="store_true", help="be the server process")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--requests", type=int, default=1000, help="of each connection")
    parser.add_argument("--window", type=int, default=16, help="requests outstanding on each connection")
    parser.add_argument("--seconds", type=float, default=60.0, help="give up after this time")
    parser.add_argument("--certificate", type=Path, default=Path(__file__).parent.parent / ".build")
    parser.add_argument("--library", default="aioquic", choices=["aioquic", "qh3"])
    parser.add_argument("--loop", default="asyncio", choices=["asyncio", "uvloop"])
    options = parser.parse_args()
    cert, key = certificate(options.certificate)
    gc.collect()
    gc.freeze()  # what was imported is no garbage; naquid's runs do the same
    if options.server:
        run(server(serve, cert, key))
        return
    arguments = [a for a in sys.argv[1:] if a != "--server"]
    command = [sys.executable, sys.argv[0], "--server", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        result = run(_client(name, drive, options, port, cert))
        assert isinstance(result, dict)
        process.stdin.close()
        result |= json.loads(process.stdout.readline() or b"{}")
    print(json.dumps(result), flush=True)
    sys.stdout.flush()
    sys.exit(1 if result["errors"] else 0)
