"""A chat client: lines that are typed are said, what others say is printed. End with Ctrl-D.

python client.py NAME
"""

import asyncio
import contextlib
import sys

import naquid


async def show(stream: naquid.Stream) -> None:
    async for record in stream:  # ends when the server has finished the stream
        print(record.decode())


async def say(stream: naquid.Stream) -> None:
    typed = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(typed), sys.stdin)
    while line := await typed.readline():
        await stream.send(line.rstrip(b"\n"))
    stream.finish()  # we have said everything, and go on listening


async def main(name: str) -> None:
    config = naquid.ClientConfig(limits=naquid.Limits(keep_alive=10.0))
    async with naquid.connect("localhost", 8443, ca="ca.pem", config=config) as conn:
        stream = await conn.open_stream("chat")
        await stream.send(name.encode())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(show(stream))
            tasks.create_task(say(stream))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
