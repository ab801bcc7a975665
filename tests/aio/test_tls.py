"""Certificates that are wrong, each with its reason; mutual TLS; ALPN; the key log."""

from __future__ import annotations

import asyncio
import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from harness import HOST, Bench, Variant

import naquid

DAY = datetime.timedelta(days=1)


def attempt(
    run: Variant, leaf: Any, trusted: Any, host: str = HOST, server: dict[str, Any] | None = None, **client: Any
) -> naquid.Connection:
    """The client's outcome: a connection that was open, or what connect() raised. The server goes on serving."""

    async def main() -> naquid.Connection:
        config = naquid.ServerConfig(**(server or {}))
        async with naquid.serve(naquid.Handlers(), HOST, cert=leaf.cert, key=leaf.key, config=config) as listening:
            try:
                conn = await naquid.connect(host, listening.port, ca=trusted, config=naquid.ClientConfig(**client))
            except naquid.Error:
                async with naquid.connect(HOST, listening.port, insecure=True) as other:
                    if not (server or {}):
                        assert other.is_open
                raise
            await conn.close()
            return conn

    return run(main)


def test_untrusted(run: Variant, other_ca: Any, ca: Any) -> None:
    with pytest.raises(naquid.HandshakeFailed, match=r"(?i)issuer|trusted|self.signed") as caught:
        attempt(run, other_ca.issue(), ca.ca)
    assert caught.value.alert == 48  # unknown_ca
    assert "give ca=" in str(caught.value)
    assert not caught.value.remote


def test_not_in_the_systems_roots(run_once: Variant, leaf: Any) -> None:
    with pytest.raises(naquid.HandshakeFailed, match=r"(?i)issuer|trusted|self.signed") as caught:
        attempt(run_once, leaf, None)
    assert caught.value.alert == 48


def test_wrong_name(run: Variant, ca: Any) -> None:
    with pytest.raises(
        naquid.HandshakeFailed, match=r"certificate is not for 'game\.example' but for 'another\.example'"
    ) as caught:
        attempt(run, ca.issue("another.example"), ca.ca, server_name="game.example")
    assert caught.value.alert is not None
    assert "server_name" in str(caught.value)


def test_wrong_address(run_once: Variant, ca: Any) -> None:
    with pytest.raises(naquid.HandshakeFailed, match="certificate is not for") as caught:
        attempt(run_once, ca.issue("192.0.2.1"), ca.ca)
    assert HOST in str(caught.value)


def test_right_name_on_another_address(run_once: Variant, ca: Any) -> None:
    assert attempt(run_once, ca.issue("game.example"), ca.ca, server_name="game.example").error is None


def test_expired(run: Variant, ca: Any) -> None:
    with pytest.raises(naquid.HandshakeFailed, match=r"(?i)expired") as caught:
        attempt(run, ca.issue(start=-3 * DAY, end=-DAY), ca.ca)
    assert caught.value.alert == 45  # certificate_expired
    assert "renew" in str(caught.value)


def test_not_yet_valid(run_once: Variant, ca: Any) -> None:
    with pytest.raises(naquid.HandshakeFailed, match=r"(?i)not yet valid"):
        attempt(run_once, ca.issue(start=DAY, end=3 * DAY), ca.ca)


def test_client_certificate_as_server(run_once: Variant, ca: Any) -> None:
    with pytest.raises(naquid.HandshakeFailed, match=r"(?i)purpose|usage"):
        attempt(run_once, ca.issue(client=True), ca.ca)


def test_insecure_takes_any_and_warns(run_once: Variant, other_ca: Any, caplog: pytest.LogCaptureFixture) -> None:
    leaf = other_ca.issue("another.example", start=-3 * DAY, end=-DAY)

    async def main() -> None:
        async with (
            naquid.serve(naquid.Handlers(), HOST, cert=leaf.cert, key=leaf.key) as server,
            naquid.connect(HOST, server.port, insecure=True) as conn,
        ):
            assert conn.is_open

    run_once(main)
    assert "not verified" in caplog.text


def test_alpn_mismatch(run: Variant, leaf: Any, ca: Any) -> None:
    with pytest.raises(naquid.HandshakeFailed, match=r"(?i)no_application_protocol") as caught:
        attempt(run, leaf, ca.ca, tls=naquid.TlsConfig(alpn=("chess/2",)))
    assert caught.value.alert == 120
    assert "TlsConfig.alpn" in str(caught.value)
    assert caught.value.remote


def test_alpn_in_common(run_once: Variant, leaf: Any, ca: Any, bench: Bench) -> None:
    async def main() -> None:
        server = {"tls": naquid.TlsConfig(alpn=("chess/3", "chess/2"))}
        client = {"tls": naquid.TlsConfig(alpn=("chess/1", "chess/2"))}
        async with bench.pair(naquid.Handlers(), server=server, client=client) as (_, conn):
            assert conn.alpn == "chess/2"

    run_once(main)


def test_cipher_and_group(run_once: Variant, bench: Bench) -> None:
    async def main() -> None:
        tls = naquid.TlsConfig(ciphersuites="TLS_CHACHA20_POLY1305_SHA256", groups="P-256")
        async with bench.pair(naquid.Handlers(), client={"tls": tls}) as (_, conn):
            assert conn.stats().cipher == "TLS_CHACHA20_POLY1305_SHA256"
            assert conn.stats().group == "P-256"

    run_once(main)


# ---- client certificates ----


def mutual(run: Variant, ca: Any, bench: Bench, identity: Any) -> list[bytes]:
    """Connects to a server that wants certificates of `ca`; what the server saw of the client."""
    app = naquid.Handlers()
    app.rpc("who")(lambda rpc, type, payload: b"".join(rpc.connection.peer_certificates))

    async def main() -> list[bytes]:
        server = {"tls": naquid.TlsConfig(verify_client=True, ca=ca.ca)}
        shown = {} if identity is None else {"cert": identity.cert, "key": identity.key}
        async with bench.pair(app, server=server, client={"tls": naquid.TlsConfig(**shown)}) as (_, conn):
            return [await (await conn.open_rpc("who")).call(1)]

    return run(main)


def test_mutual_tls(run: Variant, ca: Any, bench: Bench) -> None:
    identity = ca.issue("player one", client=True)
    assert mutual(run, ca, bench, identity) == [identity.cert_der]


def test_mutual_tls_without_a_certificate(run: Variant, ca: Any, bench: Bench) -> None:
    """The client is done before the server looks at its certificate, so it may learn of it later (RFC 8446 4.4.2)."""
    with pytest.raises(naquid.ConnectionError, match=r"(?i)certificate_required") as caught:
        mutual(run, ca, bench, None)
    assert caught.value.remote


def test_mutual_tls_with_one_of_another_authority(run: Variant, ca: Any, other_ca: Any, bench: Bench) -> None:
    with pytest.raises(naquid.ConnectionError, match=r"(?i)unknown_ca") as caught:
        mutual(run, ca, bench, other_ca.issue("player two", client=True))
    assert caught.value.remote


# ---- files ----


def test_certificates_in_every_form(run_once: Variant, leaf: Any, ca: Any) -> None:
    forms: list[tuple[Any, Any, Any]] = [
        (leaf.cert, leaf.key, ca.ca),
        (str(leaf.cert), str(leaf.key), str(ca.ca)),
        (leaf.cert_pem, leaf.key_pem, ca.ca_pem),
        (leaf.cert_pem.decode(), leaf.key_pem.decode(), ca.ca_pem.decode()),
        (leaf.cert_der, leaf.key_der, bytearray(ca.ca_pem)),
    ]

    async def main() -> None:
        for cert, key, trusted in forms:
            async with (
                naquid.serve(naquid.Handlers(), HOST, cert=cert, key=key) as server,
                naquid.connect(HOST, server.port, ca=trusted) as conn,
            ):
                assert conn.is_open

    run_once(main)


def test_bad_files(run_once: Variant, leaf: Any, ca: Any, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"certainly no certificate\n")
    other = ca.issue()

    async def refused(message: str, **pair: Any) -> None:
        with pytest.raises(naquid.ConfigError, match=message):
            await naquid.serve(naquid.Handlers(), HOST, **pair)

    async def main() -> None:
        await refused(re.escape(str(missing)), cert=missing, key=leaf.key)
        await refused(re.escape(str(missing)), cert=leaf.cert, key=missing)
        await refused(re.escape(str(garbage)), cert=garbage, key=leaf.key)
        await refused(re.escape(str(garbage)), cert=leaf.cert, key=garbage)
        await refused("(?i)key.*(match|belong)|(match|belong).*key", cert=leaf.cert, key=other.key)
        await refused("empty", cert=b"", key=leaf.key)
        await refused("int", cert=42, key=leaf.key)
        with pytest.raises(naquid.ConfigError, match=re.escape(str(missing))):
            await naquid.connect(HOST, 4433, ca=missing)
        with pytest.raises(naquid.ConfigError, match=re.escape(str(garbage))):
            await naquid.connect(HOST, 4433, ca=garbage)
        with pytest.raises(naquid.ConfigError):
            await naquid.connect(HOST, 4433, config=naquid.ClientConfig(tls=naquid.TlsConfig(groups="P-17")))
        with pytest.raises(naquid.ConfigError):
            await naquid.connect(HOST, 4433, config=naquid.ClientConfig(tls=naquid.TlsConfig(ciphersuites="ROT13")))

    run_once(main)
    with pytest.raises(naquid.ConfigError, match="cert= and key="):
        naquid.serve(naquid.Handlers(), HOST)


# ---- SSLKEYLOGFILE ----

SECRETS = {
    "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    "CLIENT_TRAFFIC_SECRET_0",
    "SERVER_TRAFFIC_SECRET_0",
}


def labels(log: Path) -> dict[str, set[str]]:
    """Client random to the labels of its secrets; every line is looked at."""
    found: dict[str, set[str]] = {}
    for line in log.read_text().splitlines():
        match = re.fullmatch(r"([A-Z_0-9]+) ([0-9a-f]{64}) ([0-9a-f]{64}|[0-9a-f]{96})", line)
        assert match, line
        found.setdefault(match[2], set()).add(match[1])
    return found


def test_keylog_by_environment(run: Variant, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "secrets.keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))

    async def main() -> None:
        for _ in range(2):
            async with bench.pair(naquid.Handlers()):
                await asyncio.sleep(0)

    run(main)
    found = labels(log)
    assert len(found) == 2
    for secrets in found.values():
        assert secrets >= SECRETS
    assert log.stat().st_mode & 0o077 == 0


def test_keylog_by_configuration(run_once: Variant, bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "client.keys"

    async def main() -> None:
        async with bench.pair(naquid.Handlers(), client={"tls": naquid.TlsConfig(keylog=log)}):
            await asyncio.sleep(0)

    run_once(main)
    (secrets,) = labels(log).values()
    assert secrets >= SECRETS


def test_no_keylog_unless_asked(
    run_once: Variant, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with bench.pair(naquid.Handlers()):
            await asyncio.sleep(0)

    run_once(main)
    assert list(tmp_path.iterdir()) == []
