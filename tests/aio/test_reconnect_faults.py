"""What goes wrong while a lost connection is brought back."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from harness import HOST, Bench, Variant, until
from reconnecting import QUICK, echo_app, stop

import naquid
from naquid import ConnectionState as State


@pytest.mark.parametrize("failure", [RuntimeError("can't start new thread"), UnicodeError("label too long")])
def test_what_may_pass_does_not_end_it(
    run: Variant,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    """An exception of a kind that nobody thought of is waited out as the others are, and is not silent."""
    failures = [failure] * 3

    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        async with bench.connect(port, reconnect=QUICK) as conn:
            real = conn._reconnector._resolve

            async def resolve() -> Any:
                if failures:
                    raise failures.pop()
                return await real()

            conn._reconnector._resolve = resolve
            await stop(server)
            async with bench.serve(echo_app(), port=port):
                assert await (await conn.open_rpc("echo")).call(1, b"back") == b"back"
        assert not failures
        assert sum(str(failure) in text for text in caplog.messages) == 3

    run(main)


def test_a_program_that_cancels_every_task(run: Variant, bench: Bench) -> None:
    """Nobody would bring the connection back then: it ends, and says why."""

    async def main() -> None:
        server = await bench.serve(echo_app())
        slow = naquid.Backoff(initial=3600, maximum=3600)
        async with bench.connect(server.port, reconnect=slow) as conn:
            await stop(server)
            await until(lambda: conn.state is State.WAITING)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await conn.wait_closed()
            assert isinstance(conn.error, naquid.ConnectionLost)
            assert "cancelled" in str(conn.error)
            with pytest.raises(naquid.ConnectionLost, match="cancelled"):
                await conn.open_rpc("echo")

    run(main)


def test_a_dead_address_costs_attempt_delay(run: Variant, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the handshake timeout, which is an hour here. The one that answered last is tried first from then on."""

    async def main() -> None:
        server = await bench.serve(echo_app())
        port = server.port
        limits = naquid.Limits(handshake_timeout=3600)
        async with bench.connect(port, reconnect=QUICK, limits=limits, attempt_delay=0.02) as conn:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
                silent.bind((HOST, 0))

                async def resolve() -> Any:
                    return [silent.getsockname(), (HOST, port)]

                conn._reconnector._resolve = resolve
                for _ in range(2):
                    await stop(server)
                    server = await bench.serve(echo_app(), port=port)
                    assert await (await conn.open_rpc("echo")).call(1, b"back") == b"back"
                    assert conn._reconnector._last == (HOST, port)
        await server.shutdown()

    run(main)
