"""Sends files, all at once, each on a stream of its own.

python sender.py FILE...
"""

import asyncio
import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path

import naquid


async def send(conn: naquid.Connection, path: Path) -> None:
    stream = await conn.open_raw_stream("file")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        stream.write(json.dumps({"name": path.name, "size": size}).encode() + b"\n")
        while chunk := file.read(65536):
            digest.update(chunk)
            stream.write(chunk)
            await stream.drain()  # waits while the receiver is behind
    stream.write_eof()
    answer = await stream.read()  # to the end
    if answer.decode() != digest.hexdigest():
        sys.exit(f"{path.name}: the receiver has other bytes")
    print(f"{path.name}: {size} bytes arrived")


async def main(paths: list[Path]) -> None:
    async with (
        naquid.connect("localhost", 8443, ca="ca.pem") as conn,
        asyncio.TaskGroup() as tasks,
    ):
        for path in paths:
            tasks.create_task(send(conn, path))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main([Path(name) for name in sys.argv[1:]]))
