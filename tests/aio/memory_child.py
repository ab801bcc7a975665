"""A process whose memory is short while it exchanges large messages with itself, by every kind of stream.

Prints, as JSON, how many exchanges were right, failed with an error, brought wrong contents, or did not end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import json
import os
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import naquid

SIZE = 2 << 20
DATA = os.urandom(SIZE)
DIGEST = hashlib.sha256(DATA).digest()
HEADROOMS = [*range(0, 12 << 20, 256 << 10), *range(12 << 20, 24 << 20, 1 << 20)]

app = naquid.Handlers()


@app.raw_stream("raw")
async def raw(stream: naquid.RawStream) -> None:
    data = await stream.read(-1)
    stream.write(hashlib.sha256(data).digest() + data)
    stream.write_eof()


@app.stream("record")
async def record(stream: naquid.Stream) -> None:
    async for data in stream:
        await stream.send(hashlib.sha256(data).digest() + data)


heard: list[bytes] = []


@app.rpc("rpc")
def answer(_rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    return b"".join(heard) if type == 2 else hashlib.sha256(payload).digest() + payload


@app.rpc_notify("rpc")
def hear(_rpc: naquid.Rpc, _type: int, payload: bytes) -> None:
    heard.append(hashlib.sha256(payload).digest())


def right(data: bytes) -> bool:
    return data[:32] == DIGEST and data[32:] == DATA


async def by_raw(conn: naquid.Connection) -> bool:
    stream = await conn.open_raw_stream("raw")
    stream.write(DATA)
    stream.write_eof()
    return right(await stream.read(-1))


async def by_record(conn: naquid.Connection) -> bool:
    stream = await conn.open_stream("record")
    await stream.send(DATA)
    return right(await stream.recv())  # type: ignore[arg-type]


async def by_call(conn: naquid.Connection) -> bool:
    return right(await (await conn.open_rpc("rpc")).call(1, DATA, timeout=5))


async def by_call_many(conn: naquid.Connection) -> bool:
    replies = await (await conn.open_rpc("rpc")).call_many(1, [DATA, DATA], timeout=5)
    return all(map(right, replies))


async def by_call_soon(conn: naquid.Connection) -> bool:
    done: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
    (await conn.open_rpc("rpc")).call_soon(
        1, DATA, lambda result, payload: done.set_result((result, payload)), timeout=5
    )
    result, payload = await done
    if result < 0:
        raise naquid.RpcError(code=result)
    return right(payload)


async def by_notify(conn: naquid.Connection) -> bool:
    rpc = await conn.open_rpc("rpc")
    heard.clear()
    rpc.notify(1, DATA)
    return await rpc.call(2, timeout=5) == DIGEST


EXCHANGES: dict[str, Callable[[naquid.Connection], Awaitable[bool]]] = {
    "raw": by_raw, "record": by_record, "call": by_call, "call_many": by_call_many, "call_soon": by_call_soon,
    "notify": by_notify,
}  # fmt: skip


@contextlib.contextmanager
def short_of_memory(headroom: int):
    ctypes.CDLL(None).malloc_trim(0)  # what earlier exchanges left is no headroom
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + headroom, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextlib.asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[naquid.Connection]:
    server = naquid.serve(app, "127.0.0.1", 0, cert=folder / "cert.pem", key=folder / "key.pem")
    async with server as listening, naquid.connect("127.0.0.1", listening.port, ca=folder / "ca.pem") as conn:
        yield conn


async def outcome(exchange: Callable[[naquid.Connection], Awaitable[bool]], folder: Path, headroom: int) -> str:
    async with connected(folder) as conn:
        try:
            with short_of_memory(headroom):
                return "right" if await asyncio.wait_for(exchange(conn), 20) else "wrong"
        except TimeoutError as error:
            return "error" if isinstance(error, naquid.CallTimeout) else "endless"
        except (naquid.Error, MemoryError):
            return "error"


async def main(folder: Path) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    found: dict[str, Counter[str]] = {}
    for name, exchange in EXCHANGES.items():
        found[name] = Counter([await outcome(exchange, folder, headroom) for headroom in HEADROOMS])
        found[name]["right at the end"] += await outcome(exchange, folder, 1 << 34) == "right"
    print(json.dumps(found))


if __name__ == "__main__":
    sys.unraisablehook = lambda _: None
    asyncio.run(main(Path(sys.argv[1])))
