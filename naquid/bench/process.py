"""The server process of a workload, and what the operating system tells about a process.

The two talk in JSON lines: the server prints `{"port": ...}` once it listens and a line of statistics for every line it
reads; it ends when its standard input is closed, so it never outlives the process that started it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import naquid

HOST = "127.0.0.1"
PATIENCE = 30  # seconds in which the server process has to answer


class BenchError(Exception):
    """The workload could not be run; the text says why."""


class Files(Protocol):
    """PEM files of the server, and the authority that the client trusts."""

    @property
    def cert(self) -> Path: ...
    @property
    def key(self) -> Path: ...
    @property
    def ca(self) -> Path: ...


@dataclass(frozen=True)
class Usage:
    """What a process has used so far: seconds of processor time, resident memory in KiB, statistics of its loop."""

    cpu_seconds: float
    rss_kb: int
    loop: Mapping[str, int]
    extra: Mapping[str, int]


def cpu_seconds() -> float:
    """Processor time of this process so far, all threads, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_kb() -> int:
    """Resident memory of this process in KiB: now where the system tells it, else the highest so far."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak


def loop_stats() -> dict[str, int]:
    """Counters of the engine loop behind the running asyncio event loop."""
    return {name: value for name, value in naquid.loop_stats().items() if isinstance(value, int)}


def usage_line(loop: Mapping[str, object], **extra: int) -> str:
    """The server's answer to a request for statistics."""
    fields = {
        "cpu_seconds": cpu_seconds(),
        "rss_kb": rss_kb(),
        "loop": dict(loop),
        "extra": extra,
    }
    return json.dumps(fields)


class ServerProcess:
    """A server in its own process; a context manager. api: "asyncio" or "capi". streams: that a client may open.
    workers: threads, of "capi". native: the built extension of examples/native. busy_poll: µs."""

    def __init__(
        self,
        files: Files,
        api: str = "asyncio",
        *,
        idle_timeout: float = 60.0,
        streams: int = 0,
        workers: int = 1,
        native: Path | None = None,
        busy_poll: int = 0,
    ) -> None:
        command = [sys.executable, "-m", "naquid.bench.server", "--api", api, "--workers", str(workers)]
        command += ["--cert", str(files.cert), "--key", str(files.key), "--idle-timeout", str(idle_timeout)]
        if streams > naquid.Limits().max_streams_bidi:
            command += ["--streams", str(streams)]
        if busy_poll:
            command += ["--busy-poll", str(busy_poll)]
        if native is not None:
            command += ["--native", str(native)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.port = int(self._read()["port"])
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise BenchError(f"the server process said nothing for {PATIENCE} seconds")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise BenchError(f"the server process ended with exit code {code}; its error is above")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def usage(self) -> Usage:
        """Asks the server for its statistics."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # reading tells how it ended
            self._process.stdin.write(b"usage\n")
            self._process.stdin.flush()
        return Usage(**self._read())

    def close(self) -> None:
        """Ends the server and waits for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
