"""The kernel refuses to arm the engine's timer: every deadline is kept all the same, by the event loop's own timers.

Nothing here measures time: a deadline that is forgotten makes a test wait until its patience ends.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from aio_apps import server
from harness import HOST, Bench, Variant

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the timer is a timerfd on Linux only")

# timerfd_settime fails always, or so many times out of so many.
SHIM = """
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

int timerfd_settime(int fd, int flags, const struct itimerspec *t, struct itimerspec *old) {
  static unsigned calls;
  const char *of = getenv("TEST_TIMER_FAILS_OF");
  if (calls++ % (unsigned)atoi(of) != 0)
    return (int)syscall(SYS_timerfd_settime, fd, flags, t, old);
  (void)!write(9, "x", 1); /* that it was called */
  errno = EIO;
  return -1;
}
"""

PROGRAM = """
import asyncio, os, sys
import naquid

LOOP, HOST, PORT, CA = sys.argv[1:]
told, tell = os.pipe()
os.dup2(tell, 9)

def connect(**limits):
    return naquid.connect(HOST, int(PORT), ca=CA, config=naquid.ClientConfig(limits=naquid.Limits(**limits)))

async def timeouts():
    async with connect() as conn:
        rpc = await conn.open_rpc("never")
        before = naquid.loop_stats()["ticks"]
        for _ in range(3):
            try:
                await rpc.call(1, timeout=0.2)
            except naquid.CallTimeout:
                continue
            raise AssertionError("a call to a silent server was answered")
        assert naquid.loop_stats()["ticks"] - before < 100  # it slept meanwhile

async def idle():
    async with connect(idle_timeout=0.3) as conn:
        await conn.wait_closed()
        assert isinstance(conn.error, naquid.IdleTimeout), conn.error

async def kept_alive():
    async with connect(idle_timeout=0.6, keep_alive=0.05) as conn:
        before = conn.stats().packets_sent
        while conn.stats().packets_sent < before + 30:  # more than two idle timeouts
            assert conn.error is None, conn.error
            await asyncio.sleep(0.01)
        rpc = await conn.open_rpc("echo")
        assert await rpc.call(1, b"x") == b"x"

async def main():
    async with asyncio.timeout(60):
        await timeouts()
        await idle()
        await kept_alive()
    assert os.read(told, 1) == b"x"

if LOOP == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        subprocess.run([*compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c"], check=True)
    except FileNotFoundError:
        pytest.skip("there is no C compiler")
    return folder / "shim.so"


@pytest.mark.parametrize("of", [1, 2])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_deadlines_are_kept(run_once: Variant, bench: Bench, shim: Path, loop: str, of: int) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with server(run_once, bench.leaf) as child:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "ignore", "-c", PROGRAM, loop, HOST, str(child.read()), bench.ca.ca],
            env={**os.environ, "LD_PRELOAD": str(shim), "TEST_TIMER_FAILS_OF": str(of)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
