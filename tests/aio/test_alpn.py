"""Several protocols on one port: each ALPN name has handlers of its own (RFC 7301)."""

from __future__ import annotations

import asyncio

import pytest
from harness import Bench, Unraisable, Variant, until

import naquid


def answering(text: bytes) -> naquid.Handlers:
    app = naquid.Handlers()

    @app.rpc("who")
    def who(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return text

    return app


def echo() -> naquid.Handlers:
    app = naquid.Handlers()

    @app.raw_stream
    async def raw(stream: naquid.RawStream) -> None:
        stream.write(await stream.read())
        stream.write_eof()

    return app


async def ask(server: naquid.Server, bench: Bench, alpn: str | None) -> tuple[str, bytes]:
    async with naquid.connect("127.0.0.1", server.port, ca=bench.ca.ca, alpn=alpn) as conn:
        return conn.alpn, await (await conn.open_rpc("who")).call(1)


def test_each_name_has_handlers_of_its_own(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        apps = {"nq/1": answering(b"one"), "nq/other": answering(b"other"), "game": answering(b"game")}
        async with naquid.serve(apps, "127.0.0.1", cert=bench.leaf.cert, key=bench.leaf.key) as server:
            for alpn, text in (("nq/1", b"one"), ("nq/other", b"other"), ("game", b"game")):
                assert await ask(server, bench, alpn) == (alpn, text)
            assert await ask(server, bench, None) == ("nq/1", b"one")

    run(main)


def test_bare_bytes_beside_names(run: Variant, bench: Bench) -> None:
    """A name that is none of ours, and handlers without names: nothing but bytes on the wire, in both directions."""
    back: list[bytes] = []
    client_app = naquid.Handlers()

    @client_app.raw_stream
    async def from_server(stream: naquid.RawStream) -> None:
        back.append(await stream.read())

    chat = echo()

    @chat.on_connect
    async def greet(conn: naquid.Connection) -> None:
        stream = await conn.open_raw_stream()
        stream.write(b"who\0are you?")  # what looks like a name is data
        stream.write_eof()

    async def main() -> None:
        apps = {"nq/1": answering(b"one"), "chat/2": chat}
        async with (
            naquid.serve(apps, "127.0.0.1", cert=bench.leaf.cert, key=bench.leaf.key) as server,
            naquid.connect("127.0.0.1", server.port, ca=bench.ca.ca, alpn="chat/2", app=client_app) as conn,
        ):
            stream = await conn.open_raw_stream()
            stream.write(b"who\0\x05\x01\0\x01\x80")  # the frames of a request, as nq/1 has them
            stream.write_eof()
            assert await stream.read() == b"who\0\x05\x01\0\x01\x80"
            await until(lambda: back == [b"who\0are you?"])
            with pytest.raises(naquid.StreamClosed):
                await conn.open_rpc("who")
            assert await ask(server, bench, "nq/1") == ("nq/1", b"one")

    run(main)


def test_a_handler_of_one_protocol_is_none_of_another(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        apps = {"nq/1": answering(b"one"), "nq/other": naquid.Handlers()}
        async with (
            naquid.serve(apps, "127.0.0.1", cert=bench.leaf.cert, key=bench.leaf.key) as server,
            naquid.connect("127.0.0.1", server.port, ca=bench.ca.ca, alpn="nq/other") as conn,
        ):
            rpc = await conn.open_rpc("who")
            with pytest.raises(naquid.StreamRefused):
                await rpc.call(1)

    run(main)


def test_connection_events_and_datagrams_are_of_the_protocol(run: Variant, bench: Bench) -> None:
    seen: list[tuple[str, str, bytes]] = []

    def watching(name: str) -> naquid.Handlers:
        app = naquid.Handlers()

        @app.on_connect
        def connected(conn: naquid.Connection) -> None:
            seen.append((name, "connected", conn.alpn.encode()))

        @app.datagram
        def datagram(conn: naquid.Connection, data: bytes) -> None:
            seen.append((name, "datagram", data))

        @app.on_disconnect
        def disconnected(conn: naquid.Connection, error: Exception | None) -> None:
            seen.append((name, "disconnected", b""))

        return app

    async def main() -> None:
        apps = {"nq/1": watching("first"), "chat/2": watching("second")}
        async with naquid.serve(apps, "127.0.0.1", cert=bench.leaf.cert, key=bench.leaf.key) as server:
            for alpn in ("chat/2", "nq/1"):
                async with naquid.connect("127.0.0.1", server.port, ca=bench.ca.ca, alpn=alpn) as conn:
                    conn.send_datagram(b"to " + alpn.encode())
                    await until(lambda: seen[-1:] != [] and seen[-1][1] == "datagram")
                await until(lambda: seen[-1][1] == "disconnected")

    run(main)
    assert seen == [
        ("second", "connected", b"chat/2"), ("second", "datagram", b"to chat/2"), ("second", "disconnected", b""),
        ("first", "connected", b"nq/1"), ("first", "datagram", b"to nq/1"), ("first", "disconnected", b""),
    ]  # fmt: skip


def test_shutdown_waits_for_handlers_of_every_protocol(run: Variant, bench: Bench) -> None:
    ended: list[str] = []
    running = asyncio.Event()
    slow = naquid.Handlers()

    @slow.rpc("slow")
    async def wait(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        running.set()
        await asyncio.sleep(0.05)
        ended.append("handler")
        return b"done"

    async def main() -> None:
        apps = {"nq/1": naquid.Handlers(), "nq/slow": slow}
        async with (
            naquid.serve(apps, "127.0.0.1", cert=bench.leaf.cert, key=bench.leaf.key) as server,
            naquid.connect("127.0.0.1", server.port, ca=bench.ca.ca, alpn="nq/slow") as conn,
        ):
            call = asyncio.ensure_future((await conn.open_rpc("slow")).call(1))
            await running.wait()
            await server.shutdown()
            ended.append("server")
            assert await call == b"done"

    run(main)
    assert ended == ["handler", "server"]


def test_no_name_in_common(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        async with naquid.serve(
            {"a": echo(), "b": echo()}, "127.0.0.1", cert=bench.leaf.cert, key=bench.leaf.key
        ) as server:
            with pytest.raises(naquid.HandshakeFailed, match="ALPN name in common") as failed:
                await naquid.connect("127.0.0.1", server.port, ca=bench.ca.ca, alpn="c")
            assert failed.value.alert == 120
            with pytest.raises(naquid.HandshakeFailed):  # "nq/1", which this server has not
                await naquid.connect("127.0.0.1", server.port, ca=bench.ca.ca)

    run(main)


def test_an_endpoint_with_several_protocols(run: Variant, bench: Bench) -> None:
    async def main() -> None:
        apps = {"nq/1": answering(b"one"), "nq/other": answering(b"other")}
        async with (
            naquid.Endpoint("127.0.0.1", app=apps, cert=bench.leaf.cert, key=bench.leaf.key) as one,
            naquid.Endpoint("127.0.0.1", app=apps, cert=bench.leaf.cert, key=bench.leaf.key) as two,
            one.connect("127.0.0.1", two.port, ca=bench.ca.ca, alpn="nq/other") as conn,
        ):
            assert await (await conn.open_rpc("who")).call(1) == b"other"
            (accepted,) = two.connections
            assert await (await accepted.open_rpc("who")).call(1) == b"other"

    run(main)


def test_a_long_name(run: Variant, bench: Bench) -> None:
    name = "nq/" + "x" * 252

    async def main() -> None:
        apps = {name: answering(b"long"), name[:-1]: answering(b"shorter")}
        async with naquid.serve(apps, "127.0.0.1", cert=bench.leaf.cert, key=bench.leaf.key) as server:
            assert await ask(server, bench, name) == (name, b"long")
            assert await ask(server, bench, name[:-1]) == (name[:-1], b"shorter")

    run(main)


@pytest.mark.parametrize(
    ("apps", "words"),
    [
        ({}, "at least one"),
        ({"": naquid.Handlers()}, "ALPN name"),
        ({"x" * 256: naquid.Handlers()}, "ALPN name"),
        ({b"nq/1": naquid.Handlers()}, "ALPN name"),
        ({"nq/1": print}, "Handlers object"),
        ([naquid.Handlers()], "dict of them by ALPN name"),
    ],
)
def test_what_is_no_dict_of_handlers(apps: object, words: str, bench: Bench) -> None:
    with pytest.raises(naquid.ConfigError, match=words):
        naquid.serve(apps, cert=bench.leaf.cert, key=bench.leaf.key)  # type: ignore[arg-type]


def test_names_are_said_once(bench: Bench) -> None:
    config = naquid.ServerConfig(tls=naquid.TlsConfig(alpn=("x",)))
    with pytest.raises(naquid.ConfigError, match=r"leave TlsConfig\.alpn out"):
        naquid.serve({"nq/1": naquid.Handlers()}, cert=bench.leaf.cert, key=bench.leaf.key, config=config)


@pytest.mark.parametrize("alpn", ["", "x" * 256, 5, ("nq/1",)])
def test_what_is_no_name(alpn: object) -> None:
    with pytest.raises(naquid.ConfigError, match="alpn is"):
        naquid.connect("localhost", 1, alpn=alpn)  # type: ignore[arg-type]


def test_a_name_of_the_configuration_goes_on_as_before(run: Variant, bench: Bench, unraisable: Unraisable) -> None:
    """TlsConfig.alpn names the protocol nq/1 otherwise: it stays nq/1."""
    tls = naquid.TlsConfig(alpn=("mygame/2",))

    async def main() -> None:
        config = naquid.ServerConfig(tls=tls)
        app = answering(b"mine")
        async with naquid.serve(app, "127.0.0.1", cert=bench.leaf.cert, key=bench.leaf.key, config=config) as server:
            async with naquid.connect(
                "127.0.0.1", server.port, ca=bench.ca.ca, config=naquid.ClientConfig(tls=tls)
            ) as conn:
                assert conn.alpn == "mygame/2"
                assert await (await conn.open_rpc("who")).call(1) == b"mine"
            assert await ask(server, bench, "mygame/2") == ("mygame/2", b"mine")

    run(main)
