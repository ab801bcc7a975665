"""Receives files into a folder. Each file is one raw stream: a line of JSON, the bytes; back comes their SHA-256.

naquid cert --out .
python receiver.py FOLDER
"""

import asyncio
import contextlib
import hashlib
import json
import sys
from pathlib import Path

import naquid

REFUSED = 0x100  # why a stream is reset: this program's own code
app = naquid.Handlers()
folder = Path(sys.argv[1])


@app.raw_stream("file")
async def receive(stream: naquid.RawStream) -> None:
    head = json.loads(await stream.readline())
    name, size = str(head["name"]), int(head["size"])
    if name != Path(name).name or name.startswith("."):
        stream.reset(REFUSED)
        stream.stop_sending(REFUSED)
        return
    digest = hashlib.sha256()
    part = folder / f".{name}.part"
    with part.open("wb") as file:
        left = size
        while left and (chunk := await stream.read(min(left, 65536))):
            file.write(chunk)
            digest.update(chunk)
            left -= len(chunk)
    if left:  # the stream ended before
        part.unlink()
        return
    part.rename(folder / name)
    stream.write(digest.hexdigest().encode())
    print(f"{name}: {size} bytes")
    # The stream is finished when this function returns, once what was written has been delivered.


async def main() -> None:
    async with naquid.serve(app, "127.0.0.1", 8443, cert="cert.pem", key="key.pem") as server:
        print(f"listening on UDP port {server.port}")
        await server.wait_closed()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
