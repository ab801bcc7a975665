"""Native handlers: the example extension is built as a user would build it, and does its work without Python."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from harness import Bench, Variant

import naquid

EXAMPLE = Path(__file__).parents[2] / "examples" / "native"


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("native")
    for name in ("echo_native.pyx", "setup.py"):
        shutil.copy(EXAMPLE / name, folder)
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(naquid.__file__).parents[1])}
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)
    assert built.returncode == 0, built.stderr
    spec = importlib.util.spec_from_file_location("echo_native", next(folder.glob("echo_native*.so")))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bench(ca: object, leaf: object) -> Bench:
    return Bench(ca, leaf)


def app_of(native: ModuleType, seen: list[object]) -> naquid.Handlers:
    app = naquid.Handlers()
    app.rpc_native("echo", native.echo())
    app.stream_native("log", native.echo())
    app.datagram_native(native.echo())
    app.rpc_notify("echo")(lambda rpc, type, payload: seen.append(payload))
    return app


def test_requests_records_and_datagrams(native: ModuleType, bench: Bench) -> None:
    async def main() -> None:
        seen: list[object] = []
        got: asyncio.Queue[bytes] = asyncio.Queue()
        client = naquid.Handlers()
        client.datagram(lambda conn, data: got.put_nowait(data))
        async with bench.pair(app_of(native, seen), client) as (_, conn):
            rpc = await conn.open_rpc("echo")
            payloads = [b"%d" % i for i in range(1000)]
            assert await rpc.call_many(1, payloads) == payloads
            assert await rpc.call(1, bytes(1 << 20)) == bytes(1 << 20)
            rpc.notify(1, b"to Python: the table has no on_notify")
            stream = await conn.open_stream("log")
            for size in (0, 1, 100_000):
                await stream.send(bytes(size))
                assert await stream.recv() == bytes(size)
            conn.send_datagram(b"position")
            assert await asyncio.wait_for(got.get(), 30) == b"position"
            assert seen == [b"to Python: the table has no on_notify"]

    Variant()(main)


def test_beside_python_handlers(native: ModuleType, bench: Bench) -> None:
    """Many packets in a tick: what has no native function waits for Python, in its order, and none twice."""

    async def main() -> None:
        seen: list[object] = []
        async with bench.pair(app_of(native, seen)) as (_, conn):
            rpc = await conn.open_rpc("echo")
            replies: list[tuple[int, bytes]] = []
            wanted = [b"%d" % i for i in range(20_000)]
            for i, payload in enumerate(wanted):
                rpc.call_soon(1, payload, lambda result, reply: replies.append((result, reply)))
                if i % 7 == 0:
                    rpc.notify(1, payload)
            await rpc.call(1, b"the last")
            assert replies == [(0, payload) for payload in wanted]
            assert seen == wanted[::7]

    Variant()(main)


def test_calls_answered_natively(native: ModuleType, bench: Bench) -> None:
    async def main() -> None:
        seen: list[object] = []
        async with bench.pair(app_of(native, seen)) as (_, conn):
            rpc = await conn.open_rpc("echo")
            load = native.Load(20_000, 64)
            rpc.use_native(load.capsule())
            load.start(rpc)
            while not load.finished:  # noqa: ASYNC110 (it is C that finishes)
                await asyncio.sleep(0.001)
            assert load.answered == 20_000
            assert load.errors == 0
            assert await rpc.call(1, b"Python's own call") == b"Python's own call"
            rpc.use_native(None)
            with pytest.raises(TypeError, match="PyCapsule"):
                rpc.use_native(object())
            load = native.Load(10, 10)
            rpc.use_native(load.capsule())
            await conn.close()
            with pytest.raises(naquid.StreamClosed):
                rpc.use_native(None)

    Variant()(main)


def test_wrong_capsules() -> None:
    app = naquid.Handlers()
    app.rpc_native("echo", object())
    with pytest.raises(TypeError, match="PyCapsule"):
        app._compile(1.0, 1)


def test_a_name_without_any_function(native: ModuleType, bench: Bench) -> None:
    async def main() -> None:
        app = naquid.Handlers()
        load = native.Load(1, 1)  # must live as long as its capsule is used
        app.rpc_native("replies only", load.capsule())
        async with bench.pair(app) as (_, conn):
            rpc = await conn.open_rpc("replies only")
            with pytest.raises(naquid.RpcError) as caught:
                await rpc.call(1)
            assert caught.value.code == naquid.ENOTSUPPORT

    Variant()(main)
