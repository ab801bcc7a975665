"""A server that echoes, and a client that asks it: requests, records, raw bytes.

naquid cert --out certs
python examples/echo.py server certs/cert.pem certs/key.pem
python examples/echo.py client certs/ca.pem
"""

import asyncio
import sys

import naquid

PORT = 8443
app = naquid.Handlers()


@app.rpc("echo")  # a plain function is the fast path; `async def` works, too
def echo(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    return payload


@app.stream("records")
async def records(stream: naquid.Stream) -> None:
    async for record in stream:
        await stream.send(record)


@app.raw_stream("bytes")
async def raw(stream: naquid.RawStream) -> None:
    while chunk := await stream.read(65536):
        stream.write(chunk)
        await stream.drain()
    stream.write_eof()


async def server(cert: str, key: str) -> None:
    async with naquid.serve(app, "127.0.0.1", PORT, cert=cert, key=key) as serving:
        print(f"listening on UDP port {serving.port}", flush=True)
        await serving.wait_closed()


async def client(ca: str) -> None:
    async with naquid.connect("localhost", PORT, ca=ca) as conn:
        rpc = await conn.open_rpc("echo")
        print(await rpc.call(1, b"a request", timeout=1.0))

        replies = await asyncio.gather(*(rpc.call(1, b"number %d" % n) for n in range(3)))
        print(replies)

        stream = await conn.open_stream("records")
        await stream.send(b"a record")
        print(await anext(stream))

        bulk = await conn.open_raw_stream("bytes")
        bulk.write(b"some bytes")
        bulk.write_eof()
        print(await bulk.read())


if __name__ == "__main__":
    try:
        match sys.argv[1:]:
            case ["server", cert, key]:
                asyncio.run(server(cert, key))
            case ["client", ca]:
                asyncio.run(client(ca))
            case _:
                sys.exit(__doc__)
    except KeyboardInterrupt:
        pass
