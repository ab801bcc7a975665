"""naquid.run(): a server as a whole program, in a child process; how it ends by signals."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import HOST, Bench, Variant

import naquid

CHILD = Path(__file__).with_name("run_child.py")


class Program:
    """A child process that runs `naquid.run()`."""

    def __init__(self, bench: Bench, loop: str = "asyncio", grace: float = 30.0, log: str = "none") -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), str(bench.leaf.cert), str(bench.leaf.key), loop, str(grace), log],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port: int = self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        return json.loads(line)

    def end(self) -> tuple[Any, str, int]:
        """What it told last, what it logged, its exit code."""
        told = self.read()
        out, logged = self.process.communicate(timeout=60)
        assert out == ""
        return told, logged, self.process.returncode

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()


async def begun(bench: Bench, program: Program, ms: int, conns: list[naquid.Connection]) -> asyncio.Future[bytes]:
    """A call that takes so long, once its handler runs."""
    told = asyncio.Event()
    app = naquid.Handlers()
    app.rpc_notify("slow")(lambda rpc, type, payload: told.set())
    conn = await bench.connect(program.port, app)
    conns.append(conn)
    call = asyncio.ensure_future((await conn.open_rpc("slow", call_timeout=60)).call(2, b"%d" % ms))
    await told.wait()
    return call


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_signal_ends_it_in_order(run_once: Variant, bench: Bench, number: signal.Signals, loop: str) -> None:
    """What runs may end, clients are told why, and what the signals meant before they mean again."""

    async def main() -> None:
        with Program(bench, loop) as program:
            conns: list[naquid.Connection] = []
            call = await begun(bench, program, 300, conns)
            program.process.send_signal(number)
            assert await call == b"done"
            await conns[0].wait_closed()
            assert isinstance(conns[0].error, naquid.ConnectionLost)
            assert "shuts down" in str(conns[0].error)
            (saw, as_before), logged, code = await asyncio.to_thread(program.end)
            assert (saw, as_before, code) == ([loop, "done"], True, 0)
            assert logged.splitlines() == [
                f"naquid: serving on {HOST}:{program.port}, nq/1",
                f"naquid: {number.name}: the server ends when its handlers have, in at most 30 s; once more: at once",
                f"naquid: the server on {HOST}:{program.port} is closed",
            ]

    run_once(main)


def test_a_second_signal_ends_it_at_once(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        with Program(bench, log="own") as program:
            conns: list[naquid.Connection] = []
            call = await begun(bench, program, 3_600_000, conns)
            program.process.send_signal(signal.SIGTERM)
            assert program.process.stderr is not None
            while "once more" not in await asyncio.to_thread(program.process.stderr.readline):
                pass
            program.process.send_signal(signal.SIGINT)
            with pytest.raises(naquid.Error):
                await call
            await conns[0].wait_closed()
            (saw, as_before), logged, code = await asyncio.to_thread(program.end)
            assert (saw, as_before, code) == (["asyncio", "cancelled"], True, 0)
            assert "own: SIGINT again: the server ends at once" in logged.splitlines()

    run_once(main)


def test_the_grace_ends(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        with Program(bench, grace=0.05) as program:
            conns: list[naquid.Connection] = []
            call = await begun(bench, program, 3_600_000, conns)
            program.process.send_signal(signal.SIGTERM)
            with pytest.raises(naquid.Error):
                await call
            await conns[0].wait_closed()
            (saw, as_before), _, code = await asyncio.to_thread(program.end)
            assert (saw, as_before, code) == (["asyncio", "cancelled"], True, 0)

    run_once(main)


def test_where_it_cannot_run(bench: Bench) -> None:
    given: dict[str, Any] = {"cert": bench.leaf.cert, "key": bench.leaf.key}

    async def inside() -> None:
        naquid.run(naquid.Handlers(), HOST, **given)

    with pytest.raises(naquid.ConfigError, match="one runs here already"):
        asyncio.run(inside())
    raised: list[BaseException] = []

    def thread() -> None:
        try:
            naquid.run(naquid.Handlers(), HOST, **given)
        except naquid.ConfigError as error:
            raised.append(error)

    other = threading.Thread(target=thread)
    other.start()
    other.join()
    assert "main thread" in str(raised[0])
    with pytest.raises(naquid.ConfigError, match="grace is -1"):
        naquid.run(naquid.Handlers(), HOST, grace=-1, **given)
    with pytest.raises(naquid.ConfigError, match="cert"):
        naquid.run(naquid.Handlers(), HOST)


def test_what_serve_raises_comes_out(bench: Bench) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(OSError, match="opening UDP address"):
        naquid.run(naquid.Handlers(), "192.0.2.1", cert=bench.leaf.cert, key=bench.leaf.key)

    def refuse(server: naquid.Server) -> None:
        raise LookupError("in on_start")

    with pytest.raises(LookupError, match="in on_start"):
        naquid.run(naquid.Handlers(), HOST, cert=bench.leaf.cert, key=bench.leaf.key, on_start=refuse)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_server_that_is_closed_otherwise(bench: Bench) -> None:
    """By its own program: run() returns."""

    def started(server: naquid.Server) -> None:
        asyncio.get_running_loop().call_soon(server.close)

    naquid.run(naquid.Handlers(), HOST, cert=bench.leaf.cert, key=bench.leaf.key, on_start=started)
