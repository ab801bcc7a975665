"""One raw stream in one direction for a while; every byte is compared with the pattern that was sent."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from dataclasses import dataclass

import naquid

from .load import INTERVAL, Progress, Snapshot, no_progress
from .process import HOST, Files, ServerProcess, cpu_seconds

STREAM = "bulk"
PERIOD = 1_048_573  # a prime: no packet, chunk or buffer size divides it
CHUNK = 256 * 1024
_ANSWER = struct.Struct("!QQ")  # bytes received, of those different from the pattern


def pattern() -> bytes:
    """Two periods of the bytes on the stream, so that any chunk up to one period long is a slice of it."""
    return random.Random(1).randbytes(PERIOD) * 2


class Checker:
    """Compares a stream with the pattern, chunk by chunk, without a copy."""

    def __init__(self) -> None:
        self._pattern = pattern()
        self.received = 0
        self.wrong = 0

    def feed(self, chunk: bytes) -> None:
        start = self.received % PERIOD
        if len(chunk) > PERIOD:
            raise ValueError(f"a chunk of at most {PERIOD} bytes")
        if not self._pattern.startswith(chunk, start):
            expected = self._pattern[start : start + len(chunk)]
            self.wrong += sum(a != b for a, b in zip(chunk, expected, strict=True))
        self.received += len(chunk)


class Received:
    """The server's end: counts over all its streams."""

    def __init__(self) -> None:
        self.bytes = 0
        self.wrong = 0

    def as_dict(self) -> dict[str, int]:
        return {"bulk_bytes": self.bytes, "bulk_wrong": self.wrong}

    async def stream(self, stream: naquid.RawStream) -> None:
        """Reads to the end, then answers with what came."""
        checker = Checker()
        while chunk := await stream.read(CHUNK):
            checker.feed(chunk)
        self.bytes += checker.received
        self.wrong += checker.wrong
        stream.write(_ANSWER.pack(checker.received, checker.wrong))
        stream.write_eof()
        await stream.drain()


@dataclass
class BulkResult:
    """bytes: received and compared. seconds: from the first write to the server's answer about the last byte."""

    bytes: int
    seconds: float
    verified: bool
    client_cpu_s: float
    server_cpu_s: float

    @property
    def gbit_per_second(self) -> float:
        return self.bytes * 8 / self.seconds / 1e9 if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, object]:
        """The documented keys of `naquid bench bulk --json`."""
        return {
            "bytes": self.bytes,
            "seconds": round(self.seconds, 6),
            "gbit_per_second": round(self.gbit_per_second, 6),
            "verified": self.verified,
        }


async def _send(
    port: int, files: Files, seconds: float, progress: Progress, busy_poll: int
) -> tuple[int, int, int, float]:
    """Returns bytes sent, bytes received, wrong bytes, seconds."""
    data = memoryview(pattern())
    sent = 0
    config = naquid.ClientConfig(busy_poll=busy_poll)
    async with naquid.connect(HOST, port, ca=str(files.ca), config=config) as conn:
        stream = await conn.open_raw_stream(STREAM)
        begin = time.perf_counter()
        shown = begin
        while (now := time.perf_counter()) - begin < seconds:
            start = sent % PERIOD
            stream.write(data[start : start + CHUNK])
            sent += CHUNK
            await stream.drain()
            if now - shown > INTERVAL:
                shown = now
                progress(Snapshot(now - begin, sent, (now - begin) / seconds))
        stream.write_eof()
        answer = await asyncio.wait_for(stream.readexactly(_ANSWER.size), 30)
        taken = time.perf_counter() - begin
        progress(Snapshot(taken, sent, 1.0))
    received, wrong = _ANSWER.unpack(answer)
    return sent, received, wrong, taken


def run(files: Files, seconds: float = 5.0, progress: Progress = no_progress, busy_poll: int = 0) -> BulkResult:
    """Sends for `seconds` and lets the server say what it got. busy_poll: µs, of both ends."""
    with ServerProcess(files, busy_poll=busy_poll) as server:
        before, server_before = cpu_seconds(), server.usage()
        sent, received, wrong, taken = asyncio.run(_send(server.port, files, seconds, progress, busy_poll))
        server_after = server.usage()
        return BulkResult(
            bytes=received,
            seconds=taken,
            verified=wrong == 0 and received == sent,
            client_cpu_s=cpu_seconds() - before,
            server_cpu_s=server_after.cpu_seconds - server_before.cpu_seconds,
        )
