"""A peer: one UDP port from which it calls others, and at which others call it.

python node.py NAME
"""

import asyncio
import contextlib
import sys

import naquid

JOIN = 1
HELLO = 1
# All peers show the certificate for the name "peer", whatever their address is.
CONFIG = naquid.ClientConfig(server_name="peer", limits=naquid.Limits(keep_alive=10.0))

name = sys.argv[1]
app = naquid.Handlers()
tasks: set[asyncio.Task[None]] = set()
endpoint: naquid.Endpoint


# --8<-- [start:handlers]
@app.rpc("hello")
def hello(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    print(f"{payload.decode()} called us")
    return name.encode()


@app.rpc_notify("meet")
def newcomer(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
    greet(payload.decode())


# --8<-- [end:handlers]


def greet(line: str) -> None:
    task = asyncio.create_task(call(line))
    tasks.add(task)
    task.add_done_callback(tasks.discard)


# --8<-- [start:call]
async def call(line: str) -> None:
    other, host, port = line.split()
    try:
        conn = await endpoint.connect(host, int(port), ca="ca.pem", config=CONFIG)
        rpc = await conn.open_rpc("hello")
        answer = await rpc.call(HELLO, name.encode(), timeout=5.0)
        print(f"we called {answer.decode()}")
        await conn.wait_closed()
    except naquid.Error as error:
        print(f"{other}: {error}")


async def main() -> None:
    global endpoint
    endpoint = naquid.Endpoint("0.0.0.0", 0, app=app, cert="cert.pem", key="key.pem")
    async with endpoint, endpoint.connect("127.0.0.1", 8443, ca="ca.pem", config=CONFIG) as meeting:
        print(f"{name} is here")
        rpc = await meeting.open_rpc("meet")
        others = await rpc.call(JOIN, name.encode(), timeout=5.0)
        for line in others.decode().splitlines():
            greet(line)
        await meeting.wait_closed()


# --8<-- [end:call]

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
