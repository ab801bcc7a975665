"""The fast path: a callback for each reply, no task and no future. Prints requests per second.

python examples/echo.py server certs/cert.pem certs/key.pem
python examples/callbacks.py certs/ca.pem
"""

import asyncio
import contextlib
import sys
import time

import naquid

REQUESTS = 100_000
OUTSTANDING = 64


async def main(ca: str) -> None:
    async with naquid.connect("localhost", 8443, ca=ca) as conn:
        rpc = await conn.open_rpc("echo")
        done = asyncio.Event()
        asked = answered = 0

        def ask() -> None:
            nonlocal asked
            asked += 1
            rpc.call_soon(1, asked.to_bytes(8, "big"), on_reply)

        def on_reply(result: int, payload: bytes) -> None:
            nonlocal answered
            answered += 1
            if result != naquid.OK or int.from_bytes(payload, "big") != answered:
                sys.exit(f"reply {answered}: result {result}, {payload!r}")
            if asked < REQUESTS:
                ask()
            elif answered == REQUESTS:
                done.set()

        begin = time.perf_counter()
        for _ in range(OUTSTANDING):
            ask()
        await done.wait()
        print(f"{REQUESTS / (time.perf_counter() - begin):,.0f} requests/s")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
