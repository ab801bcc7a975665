"""A chat server. Every client has one record stream, "chat"; what one says, all are told.

naquid cert --out .
python server.py
"""

import asyncio
import contextlib

import naquid

SLOW = 0x100  # why a stream is reset: this program's own code
app = naquid.Handlers()
members: dict[naquid.Stream, str] = {}


def tell_all(text: str) -> None:
    for stream in list(members):
        if stream.queued > 64 * 1024:  # it has not read for a while: others must not wait for it
            stream.reset(SLOW)
            continue
        with contextlib.suppress(naquid.Error):  # it is leaving
            stream.send_nowait(text.encode())


@app.stream("chat")
async def chat(stream: naquid.Stream) -> None:
    name = (await stream.recv() or b"").decode(errors="replace")[:32]
    members[stream] = name
    tell_all(f"* {name} is here")
    try:
        async for record in stream:
            tell_all(f"{name}: {record.decode(errors='replace')}")
    finally:
        del members[stream]
        tell_all(f"* {name} left")


async def main() -> None:
    config = naquid.ServerConfig(limits=naquid.Limits(max_message_size=4096))
    async with naquid.serve(app, "127.0.0.1", 8443, cert="cert.pem", key="key.pem", config=config) as server:
        print(f"listening on UDP port {server.port}")
        await server.wait_closed()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
