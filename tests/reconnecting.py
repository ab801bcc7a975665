"""What the tests of reconnecting share."""

from __future__ import annotations

from aio_apps import never
from harness import until

import naquid

QUICK = naquid.Backoff(initial=0.01, maximum=0.05, jitter=0.2)


def echo_app() -> naquid.Handlers:
    app = naquid.Handlers()

    @app.rpc("echo")
    def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload

    app.rpc("never")(never)

    @app.stream("records")
    async def records(stream: naquid.Stream) -> None:
        async for record in stream:
            await stream.send(record)

    return app


async def stop(server: naquid.Server) -> None:
    """Ends a server; its client is told."""
    await until(lambda: server.connections)
    server.close()
    await server.wait_closed()
