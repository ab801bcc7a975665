"""The shortest program there is: a server and a client in two processes. What else the parts of the API do is tested in
the file of each noun."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from harness import HOST, PATIENCE, Variant

import naquid

SERVER = """
import asyncio, sys, naquid
async def main():
    app = naquid.Handlers()
    @app.rpc("echo")
    def echo(rpc, type, payload):
        return payload
    async with naquid.serve(app, "127.0.0.1", 0, cert=sys.argv[1], key=sys.argv[2]) as server:
        print(server.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""


def test_two_processes(ca: Any, leaf: Any, run: Variant) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, leaf.cert, leaf.key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())

        async def main() -> bytes:
            async with naquid.connect(HOST, port, ca=ca.ca) as conn:
                rpc = await conn.open_rpc("echo")
                return await rpc.call(1, b"over real UDP")

        assert run(main) == b"over real UDP"
        server.stdin.close()
        assert server.wait(PATIENCE) == 0
