"""The plugin as a program's own tests use it."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PROGRAM = """
    import asyncio
    import naquid
    import pytest

    app = naquid.Handlers()

    @app.rpc("echo")
    def echo(rpc, type, payload):
        return payload
"""


def installed() -> bool:
    """Whether the plugin is known to pytest without being named: not when naquid is used from its tree."""
    found = importlib.metadata.entry_points(group="pytest11")
    return any(entry.value == "naquid.testing.plugin" for entry in found)


def run(pytester: pytest.Pytester, tests: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(PROGRAM + tests)
    named = [] if installed() else ["-p", "naquid.testing.plugin"]
    return pytester.runpytest_subprocess(*named, "-p", "no:cacheprovider", *arguments)


def test_it_is_registered() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module = importlib.import_module(project["project"]["entry-points"]["pytest11"]["naquid"])
    for name in ("naquid_ca", "naquid_server", "naquid_client", "naquid_relay", "naquid_network"):
        assert hasattr(module, name)


def test_every_fixture(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    def test_direct(naquid_server, naquid_client):
        async def main():
            async with naquid_server(app) as server, naquid_client(server) as conn:
                rpc = await conn.open_rpc("echo")
                assert await rpc.call(1, b"hi") == b"hi"
        asyncio.run(main())

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
    def test_relayed(naquid_server, naquid_client, naquid_relay, host):
        async def main():
            async with naquid_server(app, host) as server:
                relay = naquid_relay(server, duplicate=0.5)
                async with naquid_client(relay) as conn:
                    rpc = await conn.open_rpc("echo")
                    assert await rpc.call(1, b"hi") == b"hi"
                    relay.rebind()
                    assert await rpc.call(1, b"ho") == b"ho"
                    assert relay.to_client.counters.forwarded > 0
        asyncio.run(main())

    def test_own_configuration(naquid_ca, naquid_server, naquid_client):
        issued = naquid_ca.issue("game.example")
        async def main():
            tls = naquid.TlsConfig(cert=issued.cert, key=issued.key)
            config = naquid.ClientConfig(server_name="game.example", tls=naquid.TlsConfig(ca=naquid_ca.ca))
            async with (
                naquid_server(app, config=naquid.ServerConfig(tls=tls)) as server,
                naquid_client(server, config=config) as conn,
            ):
                assert conn.peer_certificates == [issued.cert_der]
                with pytest.raises(naquid.HandshakeFailed):
                    await naquid_client(server)
        asyncio.run(main())
    """,
    )
    result.assert_outcomes(passed=6)


def test_a_network_in_memory(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    made = []

    def test_an_hour(naquid_server, naquid_client, naquid_network):
        network = naquid_network(seed=3, delay=0.5, loss=0.1)
        made.append(network)
        async def main():
            async with naquid_server(app) as server, naquid_client(server) as conn:
                rpc = await conn.open_rpc("echo")
                began = network.time
                assert await rpc.call(1, b"hi") == b"hi"
                assert network.time - began >= 1.0
                await asyncio.sleep(3600)
                assert network.time - began >= 3601.0
        network.run(main())

    def test_networks_end_with_their_test():
        with pytest.raises(RuntimeError, match="the SimNetwork is closed"):
            made[0].run(asyncio.sleep(0))
    """,
    )
    result.assert_outcomes(passed=2)


def test_relays_end_with_their_test(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    import threading

    left = []

    def test_one(naquid_relay):
        left.append(naquid_relay(9))
        naquid_relay(left[0])
        assert threading.active_count() == 3
        assert 1 == 2, "this test fails on purpose"

    def test_two():
        assert threading.active_count() == 1
        assert not left[0]._thread.is_alive()
    """,
    )
    result.assert_outcomes(failed=1, passed=1)


def test_the_fixtures_are_listed_with_their_purpose(pytester: pytest.Pytester) -> None:
    result = run(pytester, "", "--fixtures")
    text = result.stdout.str().partition("fixtures defined from naquid.testing")[2].partition("fixtures defined")[0]
    for name in ("naquid_ca", "naquid_server", "naquid_client", "naquid_relay", "naquid_network"):
        assert name in text
    assert "no docstring available" not in text
