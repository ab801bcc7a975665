"""A process forks while connections are open: they stay the parent's, whatever the child does."""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import traceback
from collections.abc import Callable

import pytest
from aio_apps import server
from harness import Bench, Variant

import naquid


def in_child(work: Callable[[], None]) -> None:
    """Runs work in a forked child and waits for it."""
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_child_uses_what_it_inherited(run: Variant, bench: Bench) -> None:
    async def main(port: int) -> None:
        async with bench.connect(port) as conn:
            rpc = await conn.open_rpc("echo")
            assert await rpc.call(1, b"before") == b"before"

            def work() -> None:
                with pytest.raises(naquid.Error, match="forked process"):
                    rpc.call_soon(1, b"not mine", print)
                with pytest.raises(naquid.Error, match="forked process"):
                    conn.send_datagram(b"not mine")

            for _ in range(3):
                in_child(work)
                assert await rpc.call(1, b"after") == b"after"

    with server(run, bench.leaf) as other:
        port = other.read()
        run(lambda: main(port))


def test_the_child_ends_like_any_interpreter(run: Variant, bench: Bench) -> None:
    """What runs at the end closes everything: in the child without a word to the peer, and to the parent's selector."""

    def work() -> None:
        atexit._run_exitfuncs()
        gc.collect()

    async def main(port: int) -> None:
        async with bench.connect(port) as conn:
            rpc = await conn.open_rpc("echo")
            for n in range(3):
                in_child(work)
                reply = await rpc.call(1, b"%d" % n, timeout=20)
                assert reply == b"%d" % n
                await asyncio.sleep(0.02)
            assert conn.state is naquid.ConnectionState.OPEN

    with server(run, bench.leaf) as other:
        port = other.read()
        run(lambda: main(port))


def test_the_child_has_connections_of_its_own(run: Variant, bench: Bench) -> None:
    async def ask(port: int, text: bytes) -> None:
        async with bench.connect(port) as conn:
            assert await (await conn.open_rpc("echo")).call(1, text) == text

    async def main(port: int) -> None:
        async with bench.connect(port) as conn:
            rpc = await conn.open_rpc("echo")
            await asyncio.to_thread(in_child, lambda: asyncio.run(ask(port, b"the child's")))
            assert await rpc.call(1, b"the parent's") == b"the parent's"

    with server(run, bench.leaf) as other:
        port = other.read()
        run(lambda: main(port))


def test_a_server_that_forks(run: Variant, bench: Bench) -> None:
    """As a server that hands work to forked children: their ends are not its end."""

    def handler(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        in_child(atexit._run_exitfuncs)
        return payload

    async def main() -> None:
        app = naquid.Handlers()
        app.rpc("fork")(handler)
        async with bench.serve(app) as srv, bench.connect(srv.port) as conn:
            rpc = await conn.open_rpc("fork")
            for n in range(3):
                assert await rpc.call(1, b"%d" % n, timeout=20) == b"%d" % n

    run(main)
