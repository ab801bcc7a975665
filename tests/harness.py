"""What the suites share: ways to run a coroutine, child processes to talk to, and what a process uses."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import functools
import json
import os
import random
import socket
import subprocess
import sys
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import uvloop

import naquid
import naquid.event_loop
from naquid import _naquid
from naquid.testing import SimNetwork

T = TypeVar("T")
HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds after which a test that waits for something has failed. Nothing is ever expected to take this long."""
IO_VARIABLE = "NAQUID_TEST_IO"
"""Set to "portable" for child processes of the tests: they use plain system calls only."""


@contextlib.contextmanager
def packet_io(kind: str) -> Iterator[None]:
    """Engine loops made inside use this kind of packet I/O: "native", or "portable" for plain system calls only."""
    if kind == "native":
        yield
        return
    assert kind == "portable", kind
    real = naquid.event_loop._naquid
    made = types.SimpleNamespace(Loop=functools.partial(_naquid.Loop, portable=True))
    naquid.event_loop._naquid = made  # type: ignore[assignment]
    try:
        yield
    finally:
        naquid.event_loop._naquid = real


@dataclasses.dataclass(frozen=True)
class Variant:
    """An event loop and a kind of packet I/O."""

    loop: str = "asyncio"
    io: str = "native"

    def __call__(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs `await main()` in a new event loop and checks that nothing of naquid outlives it."""
        factory = uvloop.new_event_loop if self.loop == "uvloop" else asyncio.new_event_loop

        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE):
                result = await main()
            await settled()
            return result

        with packet_io(self.io), asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(bounded())


@dataclasses.dataclass(frozen=True)
class OnSim:
    """asyncio on a simulated network: what waits takes no time, and takes exactly what it says."""

    network: SimNetwork

    def __call__(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs `await main()` and checks that nothing of naquid outlives it."""

        async def bounded() -> T:
            result = await main()
            await settled()
            return result

        return self.network.run(bounded())


async def settled() -> None:
    """Waits until the engine of the running event loop is closed, as it is once nothing uses it."""
    async with asyncio.timeout(PATIENCE):
        while any(loop is asyncio.get_running_loop() for loop, _ in naquid.event_loop._loops):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def engine() -> _naquid.Loop:
    """The engine loop of the running event loop."""
    return naquid.event_loop._loops[naquid.event_loop._key(asyncio.get_running_loop())].engine


class Unraisable(list["sys.UnraisableHookArgs"]):
    """What handlers raised, and what went to sys.unraisablehook. A test takes what it expects."""

    def take(self) -> list[BaseException]:
        errors = [item.exc_value for item in self if item.exc_value is not None]
        self.clear()
        return errors


class Bench:
    """A server and clients in one process, with certificates that fit."""

    def __init__(self, ca: Any, leaf: Any) -> None:
        self.ca = ca
        self.leaf = leaf

    def serve(self, app: naquid.Handlers, host: str = HOST, port: int = 0, **config: Any) -> Any:
        return naquid.serve(
            app, host, port, cert=self.leaf.cert, key=self.leaf.key, config=naquid.ServerConfig(**config)
        )

    def connect(self, port: int, app: naquid.Handlers | None = None, host: str = HOST, **config: Any) -> Any:
        return naquid.connect(host, port, ca=self.ca.ca, app=app, config=naquid.ClientConfig(**config))

    @contextlib.asynccontextmanager
    async def pair(
        self,
        app: naquid.Handlers,
        client_app: naquid.Handlers | None = None,
        *,
        server: dict[str, Any] | None = None,
        client: dict[str, Any] | None = None,
    ) -> AsyncIterator[tuple[naquid.Server, naquid.Connection]]:
        """A server and one connection to it; `server` and `client` are fields of their configurations."""
        async with (
            self.serve(app, **(server or {})) as listening,
            self.connect(listening.port, client_app, **(client or {})) as conn,
        ):
            yield listening, conn


# ---- programs ----


def ends_well(program: str, *arguments: object) -> None:
    """The program runs in an interpreter of its own, which ends without a word of a failure."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Fatal" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr


# ---- bytes ----


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes without a pattern, the same for the same seed."""
    return random.Random(seed * 1000003 + size).randbytes(size)


# ---- what a process uses ----


def rss_kb() -> int:
    """Resident memory of this process in KB, without what malloc holds that nothing uses: of a heap that an earlier
    test made large, pages that were given back come into use again, which would look like a leak."""
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("this process has no memory")


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def free_port() -> int:
    """A UDP port that nothing listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


# ---- child processes ----


class Child:
    """A Python script of the tests as a process. It speaks JSON: a line for each thing it is asked and tells."""

    def __init__(self, script: Path, *arguments: object, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def read(self) -> Any:
        """The next thing it tells. Blocks; a child that ends instead fails the test."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the child ended with {self.process.wait()}"
        return json.loads(line)

    def tell(self, what: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def ask(self, what: object) -> Any:
        self.tell(what)
        return self.read()

    def kill(self) -> None:
        """As a crash does: nothing is said to anyone."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
