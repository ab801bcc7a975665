"""What a typed program sees of naquid. `make lint` checks it; nothing runs it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import naquid
from naquid.testing import Authority, Relay

app = naquid.Handlers()


@app.rpc("upper")
async def upper(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    return payload.upper()


@app.rpc_batch("many")
def many(batch: naquid.RpcBatch) -> list[bytes]:
    return [payload for _rpc, _type, payload in batch]


@app.stream("records")
async def records(stream: naquid.Stream) -> None:
    async for record in stream:
        assert_type(record, bytes)


@app.raw_stream
async def raw(stream: naquid.RawStream) -> None:
    assert_type(await stream.read(10), bytes)
    assert_type(await stream.read_view(10), memoryview)


@app.raw_stream("upload")
async def upload(stream: naquid.RawStream) -> None: ...


@app.datagram
def datagram(conn: naquid.Connection, data: bytes) -> None: ...


async def program(folder: Path) -> None:
    issued = Authority(folder).issue("localhost")
    assert_type(issued.cert, Path)
    assert_type(issued.cert_pem, bytes)
    async with (
        naquid.serve(app, "127.0.0.1", 0, cert=issued.cert, key=issued.key) as server,
        naquid.connect("localhost", server.port, ca=issued.cert_pem) as conn,
    ):
        assert_type(server, naquid.Server)
        assert_type(conn, naquid.Connection)
        rpc = await conn.open_rpc("upper")
        assert_type(await rpc.call(1, b"text", timeout=1.0), bytes)
        assert_type(await rpc.call_many(1, [b"text"]), list[bytes])
        mixed = await rpc.call_many(1, [b"text"], return_exceptions=True)
        assert_type(mixed, list[bytes | naquid.RpcError | naquid.CallTimeout])
        rpc.call_soon(1, b"text", lambda result, payload: assert_type(payload, bytes))
        stream = await conn.open_stream("records")
        assert_type(await stream.recv(), bytes | None)
        assert_type(conn.stats(), naquid.ConnectionStats)
        async for state in conn.states():
            assert_type(state, naquid.ConnectionState)
        assert_type(Relay(server).to_server.counters.dropped, int)
