"""Names and addresses: every address of a name, scopes, what is no name, and a resolver that hangs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from harness import HOST, Bench, Variant, until

import naquid
from naquid import _naquid
from naquid._net.lookup import MOST, Lookup, ask
from naquid._net.resolve import host_name, hosts_of

NO_NAMES = ["foo..bar", "a" * 64 + ".test", ".test", "x" * 300, "\udcff.test", "xn--ü", "bü..cher", "a\0b"]


@pytest.mark.parametrize("host", NO_NAMES, ids=ascii)
def test_what_is_no_name(run: Variant, bench: Bench, host: str) -> None:
    """One error of naquid's own from everything that takes a name, and nothing of it is cut."""

    async def main() -> None:
        leaf = bench.leaf
        makers = (
            lambda: naquid.connect(host, 1),
            lambda: naquid.open_connection(host, 1),
            lambda: naquid.serve(naquid.Handlers(), host, cert=leaf.cert, key=leaf.key),
            lambda: naquid.start_server(lambda r, w: None, host, cert=leaf.cert, key=leaf.key),
            lambda: naquid.Endpoint(host),
        )
        for make in makers:
            with pytest.raises(naquid.ResolveError):
                await make()
        async with naquid.Endpoint(HOST) as endpoint:
            with pytest.raises(naquid.ResolveError):
                await endpoint.connect(host, 1)

    run(main)
    with pytest.raises(naquid.ConfigError, match="server_name: "):
        naquid.ClientConfig(server_name=host)


def test_names() -> None:
    assert host_name("game.example.") == "game.example."
    assert host_name("bücher.example") == "xn--bcher-kva.example"
    assert host_name("[::1]") == "::1"
    assert host_name("::1") == "::1"
    assert host_name("a" * 63 + ".test") == "a" * 63 + ".test"
    assert _naquid.parse_address("127.0.0.1\0.example", 1) is None


def test_brackets_of_a_url(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with (
            bench.serve(naquid.Handlers(), host="[::1]") as server,
            bench.connect(server.port, host="[::1]") as conn,
        ):
            assert conn.remote_address == ("::1", server.port)

    run(main)


def test_scopes_are_kept(run_once: Variant, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a link-local address it is a part: without it nothing can be reached (RFC 4007)."""
    answer: list[Any] = [(socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("fe80::1", 7, 0, 3))]
    assert hosts_of(answer) == ["fe80::1%3"]
    assert hosts_of([(0, 0, 0, "", ("fe80::1%eth0", 7, 0, 3)), (0, 0, 0, "", ("::1", 7, 0, 0))]) == [
        "fe80::1%eth0",
        "::1",
    ]
    tried: list[str] = []

    class Seen(naquid.Connection):
        def _connect(self, loop: Any, host: str, *rest: Any) -> None:
            tried.append(host)
            raise OSError("this is far enough")

    monkeypatch.setattr(naquid.client, "Connection", Seen)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answer)

    async def main() -> None:
        with pytest.raises(OSError, match="far enough"):
            await naquid.connect("printer.local", 7, ca=bench.ca.ca)

    run_once(main)
    assert tried == ["fe80::1%3"]


def test_every_address_of_a_name(run: Variant, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One server, one port, every family; what this machine has not is left out."""
    answer: list[Any] = [
        (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", (HOST, 0)),
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.7", 0)),
    ]
    app = naquid.Handlers()
    app.rpc("echo")(lambda rpc, type, payload: payload)

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda *args, **options: answer)
            server = await bench.serve(app, host="localhost")
            endpoint = await naquid.Endpoint("localhost", app=app, cert=bench.leaf.cert, key=bench.leaf.key)
        port = server.port
        assert server.addresses == (("::1", port), (HOST, port))
        assert server.address == ("::1", port)
        conns = [await bench.connect(port, host=host) for host in ("::1", HOST)]
        for conn in conns:
            assert await (await conn.open_rpc("echo")).call(1, b"x") == b"x"
        await until(lambda: len(server.connections) == 2)
        assert {conn.remote_address[0] for conn in server.connections if conn.remote_address} == {"::1", HOST}
        for host in ("::1", HOST):  # and from one of its addresses to each
            other = await endpoint.connect(host, port, ca=bench.ca.ca)
            assert other.local_address == (host, endpoint.port)
            await other.close()
        await endpoint.shutdown(0)
        await server.shutdown(1)
        for conn in conns:
            await conn.wait_closed()
        assert server.addresses == ()
        for host in ("::1", HOST):  # both sockets are closed
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as free:
                free.bind((host, port))

    run(main)


def test_a_port_that_one_address_has_not(run_once: Variant, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    answer: list[Any] = [(0, 0, 0, "", ("::1", 0, 0, 0)), (0, 0, 0, "", (HOST, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answer)

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((HOST, 0))
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match="in use"):
                await bench.serve(naquid.Handlers(), host="localhost", port=port)
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
                other.bind(("::1", port))  # nothing of the attempt was left
        none = [(0, 0, 0, "", ("192.0.2.7", 0)), (0, 0, 0, "", ("2001:db8::7", 0, 0, 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: none)
        with pytest.raises(OSError, match="address"):
            await bench.serve(naquid.Handlers(), host="elsewhere.example")

    run_once(main)


def test_ipv4_peers_of_a_server_of_both_families(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with bench.serve(naquid.Handlers(), host="::") as server, bench.connect(server.port, host=HOST) as conn:
            await until(lambda: server.connections)
            (accepted,) = server.connections
            assert accepted.remote_address == (HOST, conn.local_address[1])
            assert accepted.local_address == (HOST, server.port)

    run(main)


# ---- a resolver that hangs ----


def test_a_hanging_resolver_honours_the_timeout(run: Variant, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    released, begun = threading.Event(), threading.Event()

    def hang(*args: Any, **options: Any) -> list[Any]:
        begun.set()
        released.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    limits = naquid.Limits(handshake_timeout=0.05)

    async def main() -> None:
        with pytest.raises(naquid.ResolveError, match=r"no DNS server answered in 0\.05 seconds"):
            await naquid.connect("game.example", 1, config=naquid.ClientConfig(limits=limits))
        with pytest.raises(naquid.ResolveError, match="no DNS server answered"):
            await bench.serve(naquid.Handlers(), host="game.example", limits=limits)
        begun.clear()
        task = asyncio.ensure_future(naquid.connect("game.example", 1)._connect())
        await until(begun.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    try:
        run(main)  # ends although the threads hang
        assert begun.is_set()
    finally:
        released.set()


def test_a_program_ends_while_the_resolver_hangs() -> None:
    program = """
import asyncio, socket, threading
import naquid

def hang(*args, **options):
    threading.Event().wait()

socket.getaddrinfo = hang

async def main():
    try:
        limits = naquid.Limits(handshake_timeout=0.05)
        await naquid.connect("game.example", 1, config=naquid.ClientConfig(limits=limits))
    except naquid.ResolveError:
        print("refused")

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


@pytest.mark.parametrize("error", [RuntimeError("no loop"), UnicodeError("label"), ValueError("nul"), OSError("x")])
def test_whatever_the_resolver_raises(run: Variant, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: Any, **options: Any) -> list[Any]:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    async def main() -> None:
        with pytest.raises(naquid.ResolveError, match=r"'game\.example' could not be resolved"):
            await naquid.connect("game.example", 1)

    run(main)


def test_no_thread_for_a_lookup(run: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(naquid.ResolveError, match="no thread could be started"):
                await naquid.connect("game.example", 1)

    run(main)


def test_lookups_that_nobody_waits_for_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """More hang than there are threads: of the rest only those that are still wanted are asked."""
    released, asked, answered = threading.Event(), [], threading.Semaphore(0)

    def hang(host: str, *args: Any, **options: Any) -> list[Any]:
        asked.append(host)
        released.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    lookups = [Lookup(f"{n}.example", 1, 0, lambda *result: answered.release()) for n in range(MOST + 2)]
    for lookup in lookups:
        ask(lookup)
    lookups[MOST].cancelled = True
    released.set()
    for _ in range(MOST + 1):
        assert answered.acquire(timeout=60)
    assert f"{MOST}.example" not in asked
    assert f"{MOST + 1}.example" in asked
