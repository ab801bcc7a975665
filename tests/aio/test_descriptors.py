"""No descriptor is left, or only so many: what is tried fails with EMFILE, keeps none, and works once there are."""

from __future__ import annotations

import pytest
from aio_apps import server
from harness import HOST, Bench, Variant, ends_well

pytest.importorskip("resource")

# Every descriptor that the process may have is in use: `left` are then closed again. Afterwards exactly as many must be
# there to be taken.
PROGRAM = """
import asyncio, contextlib, errno, os, resource, sys
import naquid

ROLE, LOOP, HOST, PORT, CERT, KEY, CA = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
taken = []

def take():
    before = len(taken)
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(2))
    return len(taken) - before

def give(count):
    for _ in range(count):
        os.close(taken.pop())

def app():
    handlers = naquid.Handlers()
    handlers.rpc("echo")(lambda rpc, type, payload: payload)
    return handlers

def serve(port=0):
    return naquid.serve(app(), HOST, port, cert=CERT, key=KEY)

def connect(port):
    return naquid.connect(HOST, port, ca=CA)

async def use(port):
    async with connect(port) as conn:
        assert await (await conn.open_rpc("echo")).call(1, b"x") == b"x"

async def settled():
    for _ in range(20):  # turns in which an engine that nobody uses is closed
        await asyncio.sleep(0)

async def attempt(port):
    if ROLE == "serve":
        async with serve():
            pass
    elif ROLE == "endpoint":
        async with naquid.Endpoint(HOST, 0, app=app(), cert=CERT, key=KEY):
            pass
    else:
        await use(port)

async def main(port):
    await attempt(port)  # what is imported or read once is there
    await settled()
    take()
    left = 0
    while True:
        give(left)
        try:
            await attempt(port)
        except OSError as error:
            assert error.errno == errno.EMFILE, repr(error)
            assert "ulimit -n" in str(error), str(error)
            failed = True
        else:
            failed = False
        await settled()
        assert take() == left, "a descriptor was kept"
        if not failed:
            break
        left += 1
        assert left < 32
    assert left >= 4, left  # epoll, wake-up, timer, socket
    give(len(taken))
    async with serve() as server:
        await use(server.port)

if LOOP == "uvloop":
    import uvloop
    uvloop.run(main(int(PORT)))
else:
    asyncio.run(main(int(PORT)))
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("role", "host"), [("serve", HOST), ("serve", "localhost"), ("connect", HOST), ("endpoint", HOST)]
)
def test_as_many_as_are_left(run_once: Variant, bench: Bench, role: str, host: str, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with server(run_once, bench.leaf) as child:  # a process of its own, whose descriptors do not count
        ends_well(PROGRAM, role, loop, host, child.read(), bench.leaf.cert, bench.leaf.key, bench.ca.ca)
