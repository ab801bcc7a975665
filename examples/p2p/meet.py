"""Where peers meet: tells each who comes the addresses of the others, as seen from here.

naquid cert --out . --name peer
python meet.py
"""

import asyncio
import contextlib

import naquid

JOIN = 1  # request: a name; reply, and notification to the others: lines of "name host port"
app = naquid.Handlers()
members: dict[naquid.Rpc, str] = {}


@app.rpc("meet")
def join(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    name = payload.decode(errors="replace").split()[0]
    host, port = rpc.connection.remote_address or ("", 0)
    others = "\n".join(members.values())
    for other in members:
        with contextlib.suppress(naquid.Error):  # it is leaving
            other.notify(JOIN, f"{name} {host} {port}".encode())
    members[rpc] = f"{name} {host} {port}"
    return others.encode()


@app.on_disconnect
def left(conn: naquid.Connection, error: Exception | None) -> None:
    for rpc in [rpc for rpc in members if rpc.connection is conn]:
        del members[rpc]


async def main() -> None:
    async with naquid.serve(app, "127.0.0.1", 8443, cert="cert.pem", key="key.pem") as server:
        print(f"listening on UDP port {server.port}")
        await server.wait_closed()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
