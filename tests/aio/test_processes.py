"""A server in a process of its own: it crashes, it restarts, it is slow; and what both sides then use."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from aio_apps import SECRET, server
from harness import HOST, Bench, Child, Variant, engine, noise, rss_kb, until

import naquid

MIB = 1 << 20


def test_rpc_with_another_process(run: Variant, bench: Bench) -> None:
    with server(run, bench.leaf) as child:
        port = child.read()

        async def main() -> None:
            async with bench.connect(port) as conn:
                rpc = await conn.open_rpc("echo")
                for size in (0, 8, 1000, 100_000, 2 * MIB):
                    assert await rpc.call(1, noise(size)) == noise(size)

        run(main)
        stats = child.ask("stats")
        assert stats["accepted"] == 1
        assert stats["mmsg"] == (0 if run.io == "portable" else 1)
        child.tell("close")
        assert child.process.wait() == 0


@pytest.mark.parametrize("secret", [SECRET, None])
def test_crash_and_restart(run: Variant, bench: Bench, secret: str | None) -> None:
    """The server dies without a word, and starts again: the new one resets the old connections, by the secret or by its
    private key, and the client learns of it from its next packet. Then it connects anew."""
    limits = naquid.Limits(idle_timeout=300)

    async def main(old: Child, port: int) -> None:
        async with bench.connect(port, limits=limits) as conn:
            rpc = await conn.open_rpc("echo")
            assert await rpc.call(1, b"before") == b"before"
            waiting = asyncio.ensure_future((await conn.open_rpc("never")).call(1))
            await rpc.call(1)
            await asyncio.sleep(0.2)  # what is acknowledged late is: nothing is sent while nobody listens
            old.kill()
            with server(run, bench.leaf, port, secret) as new:
                assert await asyncio.to_thread(new.read) == port
                for call in (lambda: rpc.call(1, b"during", timeout=200), lambda: waiting):
                    with pytest.raises(naquid.ConnectionLost, match="stateless reset"):
                        await call()
                await conn.wait_closed()
                assert isinstance(conn.error, naquid.ConnectionLost)
                async with bench.connect(port) as again:
                    assert await (await again.open_rpc("echo")).call(1, b"after") == b"after"
                assert (await asyncio.to_thread(new.ask, "stats"))["resets_sent"] >= 1

    with server(run, bench.leaf, secret=secret) as old:
        port = old.read()
        run(lambda: main(old, port))


def test_crash(run: Variant, bench: Bench) -> None:
    """The server dies, and nobody comes: the system says that its port is closed."""

    async def main(server: Child, port: int) -> None:
        async with bench.connect(port, limits=naquid.Limits(idle_timeout=300)) as conn:
            rpc = await conn.open_rpc("echo")
            await rpc.call(1)
            server.kill()
            with pytest.raises(naquid.ConnectionLost, match="port unreachable"):
                await rpc.call(1, timeout=200)

    with server(run, bench.leaf) as child:
        port = child.read()
        run(lambda: main(child, port))


def test_restart_in_order(run: Variant, bench: Bench) -> None:
    async def main(old: Child, port: int) -> None:
        async with bench.connect(port) as conn:
            call = asyncio.ensure_future((await conn.open_rpc("never")).call(1))
            await (await conn.open_rpc("echo")).call(1)
            old.tell("close")
            with pytest.raises(naquid.ConnectionLost, match="shuts down") as caught:
                await call
            assert caught.value.code == 8
            assert caught.value.remote
            assert await asyncio.to_thread(old.process.wait) == 0
            with server(run, bench.leaf, port) as new:
                assert await asyncio.to_thread(new.read) == port
                async with bench.connect(port) as again:
                    assert await (await again.open_rpc("echo")).call(1, b"after") == b"after"

    with server(run, bench.leaf) as old:
        port = old.read()
        run(lambda: main(old, port))


@pytest.mark.parametrize("kind", ["raw", "record"])
def test_slow_reader(run: Variant, bench: Bench, kind: str) -> None:
    """A peer that takes nothing stops the sender at its watermark and the peer's window; neither side's memory grows
    with what is to be sent. Then it takes everything."""
    size = 192 * MIB
    block = noise(MIB // 4)

    async def main(child: Child, port: int) -> None:
        async with bench.connect(port) as conn:
            stream: Any
            if kind == "raw":
                stream = await conn.open_raw_stream("sink")
            else:
                stream = await conn.open_stream("record sink")
            sent = 0

            async def send() -> None:
                nonlocal sent
                while sent < size:
                    if kind == "raw":
                        await stream.drain()
                        stream.write(block)
                    else:
                        await stream.send(block)
                    sent += len(block)
                stream.write_eof() if kind == "raw" else stream.finish()

            before = rss_kb(), (await asyncio.to_thread(child.ask, "stats"))["rss_kb"]
            sending = asyncio.ensure_future(send())
            level = -1
            while level != sent:  # until nothing moves any more
                level = sent
                await asyncio.sleep(0.25)
            # What the peer's library and window hold (2 MiB each at most), and the queue up to its high watermark.
            assert 0 < sent < 6 * MIB
            assert stream.queued <= MIB + len(block)
            assert conn.stats().queued <= MIB + len(block)
            assert engine().stats()["send_buffer_bytes"] < 4 * MIB
            theirs = await asyncio.to_thread(child.ask, "stats")
            assert rss_kb() - before[0] < 24 * 1024
            assert theirs["rss_kb"] - before[1] < 24 * 1024
            assert not sending.done()
            assert await conn.ping() > 0
            assert await (await conn.open_rpc("echo")).call(1, b"others go on") == b"others go on"
            await asyncio.to_thread(child.ask, "release")
            await sending
            answer = await (stream.read() if kind == "raw" else stream.recv())
            assert int(answer) == size == sent
            theirs = await asyncio.to_thread(child.ask, "stats")
            assert theirs["rss_kb"] - before[1] < 32 * 1024
            assert rss_kb() - before[0] < 32 * 1024

    with server(run, bench.leaf) as child:
        port = child.read()
        run(lambda: main(child, port))


def test_slow_client(run: Variant, bench: Bench) -> None:
    """The other way round: the server has much to say to a client that does not listen."""
    size = 64 * MIB

    async def main(child: Child, port: int) -> None:
        async with bench.connect(port) as conn:
            before = (await asyncio.to_thread(child.ask, "stats"))["rss_kb"]
            stream = await conn.open_raw_stream("source")
            stream.write(b"%d\n" % size)
            received = -1
            while received != conn.stats().bytes_received:
                received = conn.stats().bytes_received
                await asyncio.sleep(0.25)
            assert 0 < received < 6 * MIB
            stats = await asyncio.to_thread(child.ask, "stats")
            assert stats["queued"] <= 2 * MIB
            assert stats["rss_kb"] - before < 24 * 1024
            total = 0
            while data := await stream.read(MIB):
                assert data.count(0) == len(data)
                total += len(data)
            assert total == size

    with server(run, bench.leaf) as child:
        port = child.read()
        run(lambda: main(child, port))


def test_client_dies(run: Variant, bench: Bench) -> None:
    """A client that vanishes leaves nothing behind once the idle timeout is over."""
    gone: list[Any] = []
    app = naquid.Handlers()
    app.on_disconnect(lambda conn, error: gone.append(error))
    ended: list[BaseException] = []

    @app.stream("echo records")
    async def echo(stream: naquid.Stream) -> None:
        try:
            async for record in stream:
                await stream.send(record)
        except naquid.Error as error:
            ended.append(error)
            raise

    client = """
import asyncio, os, sys, naquid
async def main():
    conn = await naquid.connect(sys.argv[1], int(sys.argv[2]), ca=sys.argv[3])
    stream = await conn.open_stream("echo records")
    await stream.send(b"x")
    await stream.recv()
    os._exit(3)
asyncio.run(main())
"""

    async def main() -> None:
        limits = naquid.Limits(idle_timeout=5)
        async with bench.serve(app, limits=limits) as listening:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", client, HOST, str(listening.port), str(bench.ca.ca)
            )
            assert await process.wait() == 3
            await until(lambda: gone)
            # The next packet finds its port closed; if nothing was left to send, there is none.
            assert isinstance(gone[0], naquid.ConnectionLost | naquid.IdleTimeout)
            assert not listening.connections
            await until(lambda: ended)
            assert isinstance(ended[0], naquid.ConnectionLost | naquid.IdleTimeout)

    run(main)
