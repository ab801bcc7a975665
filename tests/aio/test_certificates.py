"""Certificates in every form, those that are too weak, files that are replaced while they are in use, and whom a peer's
certificate is for."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from harness import HOST, Bench, Variant, until

import naquid

SECRET = "sésame"
PEM = serialization.Encoding.PEM


def make(
    name: str,
    issuer: tuple[x509.Certificate, Any] | None = None,
    *,
    key: Any = None,
    names: tuple[x509.GeneralName, ...] = (x509.IPAddress(ipaddress.ip_address(HOST)),),
    authority: bool = False,
    path_length: int | None = None,
) -> tuple[x509.Certificate, Any]:
    """A certificate and its key, signed by issuer or by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=10))
        .add_extension(x509.BasicConstraints(authority, path_length), critical=True)
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(PEM) for one in certificates)


def key_pem(key: Any, password: str | None = None, *, traditional: bool = False) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL if traditional else serialization.PrivateFormat.PKCS8
    lock = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    encoded: bytes = key.private_bytes(PEM, form, lock)
    return encoded


def replace(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    os.replace(fresh, path)


# ---- forms ----


@pytest.mark.parametrize("password", [SECRET, SECRET.encode(), lambda: SECRET, lambda: SECRET.encode()])
def test_an_encrypted_key(run_once: Variant, password: Any) -> None:
    """Wherever a key is given its password is, too."""
    authority = make("CA", authority=True)
    cert, key = make("leaf", authority)
    ca = pem(authority[0])
    both = pkcs12.serialize_key_and_certificates(
        b"x", key, cert, [authority[0]], serialization.BestAvailableEncryption(SECRET.encode())
    )
    keys = [key_pem(key, SECRET), key_pem(key, SECRET, traditional=True), both]

    async def works(port: int) -> None:
        async with naquid.connect(HOST, port, ca=ca) as conn:
            assert conn.is_open

    async def main() -> None:
        app = naquid.Handlers()
        for one in keys:
            async with naquid.serve(app, HOST, cert=pem(cert), key=one, password=password) as server:
                await works(server.port)
        async with naquid.serve(app, HOST, cert=both, password=password) as server:
            await works(server.port)
        config = naquid.ServerConfig(tls=naquid.TlsConfig(cert=both, password=password))
        async with naquid.serve(app, HOST, config=config) as server:
            await works(server.port)
        async with naquid.Endpoint(HOST, cert=pem(cert), key=keys[0], password=password) as endpoint:
            await works(endpoint.port)
        raw = await naquid.start_server(lambda r, w: None, HOST, cert=both, password=password)
        await works(raw.port)
        await raw.shutdown(0)
        mutual = naquid.ServerConfig(tls=naquid.TlsConfig(verify_client=True, ca=ca))
        client = naquid.ClientConfig(tls=naquid.TlsConfig(cert=both, password=password))
        async with (
            naquid.serve(app, HOST, cert=pem(cert), key=key_pem(key), config=mutual) as server,
            naquid.connect(HOST, server.port, ca=ca, config=client) as conn,
        ):
            await conn.ping()

    run_once(main)


def test_a_wrong_password(run_once: Variant) -> None:
    cert, key = make("leaf")

    async def refused(match: str, password: Any, **given: Any) -> None:  # also of types that are no passwords
        with pytest.raises(naquid.ConfigError, match=match):
            await naquid.serve(naquid.Handlers(), HOST, password=password, **given)

    async def main() -> None:
        locked: dict[str, Any] = {"cert": pem(cert), "key": key_pem(key, SECRET)}
        await refused("is encrypted; give password", None, **locked)
        await refused("the password does not open key", "wrong", **locked)
        await refused("password must be a str, bytes or a callable", lambda: 3, **locked)
        await refused("password must be a str, bytes, a callable", 3, **locked)
        with pytest.raises(ZeroDivisionError):  # the user's own
            await naquid.serve(naquid.Handlers(), HOST, password=lambda: str(1 // 0), **locked)
        assert SECRET not in repr(naquid.TlsConfig(password=SECRET))

    run_once(main)


def test_a_directory_of_authorities(run_once: Variant, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "readme").write_text("no certificate")

    async def main() -> None:
        async with bench.serve(naquid.Handlers()) as server:
            with pytest.raises(naquid.ConfigError, match=r"CA directory '.*' holds no certificate"):
                await naquid.connect(HOST, server.port, ca=tmp_path)
            (tmp_path / "ours.crt").write_bytes(bench.ca.ca_pem)
            async with naquid.connect(HOST, server.port, ca=tmp_path) as conn:
                assert conn.is_open

    run_once(main)


def test_a_path_with_a_nul(run_once: Variant, bench: Bench) -> None:
    """It is refused, not cut."""

    async def main() -> None:
        for given in ({"cert": f"{bench.leaf.cert}\0x", "key": bench.leaf.key}, {"cert": "\udcff\ud800", "key": "k"}):
            with pytest.raises(naquid.ConfigError):
                await naquid.serve(naquid.Handlers(), HOST, **given)

    run_once(main)


# ---- what is too weak ----


def rsa_key(bits: int) -> Any:
    return rsa.generate_private_key(65537, bits)


WEAK_LEAVES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "RSA-1024": (lambda: {"key": rsa_key(1024)}, "'leaf' has a key of 1024 bits, which is too weak"),
    "P-224": (lambda: {"key": ec.generate_private_key(ec.SECP224R1())}, "that TLS 1.3 cannot sign with"),
    "secp256k1": (lambda: {"key": ec.generate_private_key(ec.SECP256K1())}, r"a key \(secp256k1\) that TLS 1.3"),
    "brainpool": (lambda: {"key": ec.generate_private_key(ec.BrainpoolP256R1())}, "of a kind that is not supported"),
}


@pytest.mark.parametrize("kind", WEAK_LEAVES)
def test_a_weak_certificate_of_ones_own(run_once: Variant, kind: str) -> None:
    how, says = WEAK_LEAVES[kind]
    cert, key = make("leaf", make("CA", authority=True), **how())

    async def main() -> None:
        with pytest.raises(naquid.ConfigError, match=says):
            await naquid.serve(naquid.Handlers(), HOST, cert=pem(cert), key=key_pem(key))

    run_once(main)


def test_a_weak_authority(run: Variant) -> None:
    authority = make("short CA", authority=True, key=rsa_key(1024))
    cert, key = make("leaf", authority)

    async def main() -> None:
        async with naquid.serve(naquid.Handlers(), HOST, cert=pem(cert), key=key_pem(key)) as server:
            with pytest.raises(naquid.HandshakeFailed, match="'short CA' has a key of 1024 bits") as caught:
                await naquid.connect(HOST, server.port, ca=pem(authority[0]))
            assert caught.value.alert == 42  # bad_certificate

    run(main)


def test_more_authorities_than_the_root_allows(run_once: Variant) -> None:
    root = make("root", authority=True, path_length=0)
    between = make("between", root, authority=True)
    cert, key = make("leaf", between)

    async def main() -> None:
        chain = pem(cert, between[0])
        async with naquid.serve(naquid.Handlers(), HOST, cert=chain, key=key_pem(key)) as server:
            with pytest.raises(naquid.HandshakeFailed, match="'root' may have at most 0 authorities below it"):
                await naquid.connect(HOST, server.port, ca=pem(root[0]))
            async with naquid.connect(HOST, server.port, ca=pem(between[0])) as conn:  # trusted for what it is
                assert conn.is_open

    run_once(main)


# ---- files that are replaced ----


def test_a_server_shows_the_renewed_certificate(
    run: Variant, bench: Bench, other_ca: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(bench.leaf.cert_pem)
    key.write_bytes(bench.leaf.key_pem)
    renewed = other_ca.issue()

    async def main() -> None:
        async with (
            naquid.serve(naquid.Handlers(), HOST, cert=cert, key=key) as server,
            naquid.connect(HOST, server.port, ca=bench.ca.ca) as old,
        ):
            replace(cert, renewed.cert_pem)  # whose key is not there yet
            for _ in range(2):
                async with naquid.connect(HOST, server.port, ca=bench.ca.ca) as conn:
                    assert conn.peer_certificates == [bench.leaf.cert_der]
            replace(key, renewed.key_pem)
            async with naquid.connect(HOST, server.port, ca=other_ca.ca) as conn:
                assert conn.peer_certificates == [renewed.cert_der]
            assert await old.ping() > 0

    with caplog.at_level(logging.WARNING, "naquid"):
        run(main)
    assert [record.getMessage() for record in caplog.records if "does not belong to" in record.getMessage()] != []
    assert len(caplog.records) == 1, "told once"


def test_relative_paths_are_of_the_time_they_were_given(
    run_once: Variant, bench: Bench, other_ca: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cert.pem").write_bytes(bench.leaf.cert_pem)
    (tmp_path / "key.pem").write_bytes(bench.leaf.key_pem)
    renewed = other_ca.issue()

    async def main() -> None:
        monkeypatch.chdir(tmp_path)
        async with naquid.serve(naquid.Handlers(), HOST, cert="cert.pem", key="key.pem") as server:
            monkeypatch.chdir("/")
            replace(tmp_path / "cert.pem", renewed.cert_pem)
            replace(tmp_path / "key.pem", renewed.key_pem)
            async with naquid.connect(HOST, server.port, ca=other_ca.ca) as conn:
                assert conn.is_open

    run_once(main)


def test_a_reconnecting_client_reads_its_files_anew(run: Variant, bench: Bench, other_ca: Any, tmp_path: Path) -> None:
    """The server comes back with the certificate of another authority, and wants another one of the client."""
    ca, cert, key = tmp_path / "ca.pem", tmp_path / "c.pem", tmp_path / "k.pem"
    mine, renewed = bench.ca.issue("c", client=True), other_ca.issue("c", client=True)
    ca.write_bytes(bench.ca.ca_pem)
    cert.write_bytes(mine.cert_pem)
    key.write_bytes(mine.key_pem)

    async def main() -> None:
        def serve(leaf: Any, trusted: Any, port: int = 0) -> Any:
            config = naquid.ServerConfig(tls=naquid.TlsConfig(verify_client=True, ca=trusted.ca))
            return naquid.serve(naquid.Handlers(), HOST, port, cert=leaf.cert, key=leaf.key, config=config)

        tls = naquid.TlsConfig(cert=cert, key=key)
        config = naquid.ClientConfig(tls=tls, reconnect=naquid.Backoff(initial=0.01, maximum=0.05))
        server = await serve(bench.leaf, bench.ca)
        port = server.port
        conn = await naquid.connect(HOST, port, ca=ca, config=config)
        await conn.ping()
        for path, data in ((ca, other_ca.ca_pem), (cert, renewed.cert_pem), (key, renewed.key_pem)):
            replace(path, data)
        server.close()
        await server.wait_closed()
        async with await serve(other_ca.issue(), other_ca, port) as again:
            await until(lambda: conn.is_open and again.connections)
            (accepted,) = again.connections
            assert accepted.peer_certificates == [renewed.cert_der]
            await conn.close()

    run(main)


def test_the_systems_roots_follow_the_disk(
    run_once: Variant, bench: Bench, other_ca: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots, folder = tmp_path / "roots.pem", tmp_path / "roots"
    folder.mkdir()
    roots.write_bytes(other_ca.ca_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))

    async def main() -> None:
        async with bench.serve(naquid.Handlers()) as server:
            with pytest.raises(naquid.HandshakeFailed, match="no trusted CA signed it"):
                await naquid.connect(HOST, server.port)
            (folder / "ours.pem").write_bytes(bench.ca.ca_pem)  # each variable counts for itself
            async with naquid.connect(HOST, server.port) as conn:
                assert conn.is_open
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
            async with naquid.connect(HOST, server.port) as conn:
                assert conn.is_open
            (folder / "ours.pem").write_bytes(other_ca.ca_pem)
            with pytest.raises(naquid.HandshakeFailed, match=r"SSL_CERT_FILE names '.*gone\.pem'"):
                await naquid.connect(HOST, server.port)

    run_once(main)


# ---- whom a certificate is for ----


def test_the_name_of_a_client(run: Variant, bench: Bench) -> None:
    authority = make("CA", authority=True)
    names = (
        x509.DNSName("one.example"),
        x509.DNSName("*.two.example"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.RFC822Name("who@example.org"),
        x509.UniformResourceIdentifier("spiffe://example.org/game"),
    )
    cert, key = make("Zoë\0admin", authority, names=names)
    plain, plain_key = make("", authority, names=names[4:])
    found: list[naquid.PeerName | None] = []
    ended: list[naquid.PeerName | None] = []
    app = naquid.Handlers()
    app.on_connect(lambda conn: found.append(conn.peer_name))
    app.on_disconnect(lambda conn, error: ended.append(conn.peer_name))

    async def main() -> None:
        tls = naquid.TlsConfig(verify_client=True, ca=pem(authority[0]))
        async with bench.serve(app, tls=tls) as server:
            for shown, its_key in ((cert, key), (plain, plain_key)):
                config = naquid.ClientConfig(tls=naquid.TlsConfig(cert=pem(shown), key=key_pem(its_key)))
                async with naquid.connect(HOST, server.port, ca=bench.ca.ca, config=config) as conn:
                    await conn.ping()
                    assert conn.peer_name is not None
                    assert HOST in conn.peer_name.ip_addresses
                await until(lambda: not server.connections)
        async with (
            bench.serve(naquid.Handlers()) as server,
            naquid.connect(HOST, server.port, insecure=True) as conn,
        ):
            assert conn.peer_certificates != []
            assert conn.peer_name is None, "it was not verified"
            await until(lambda: server.connections)
            (accepted,) = server.connections
            assert accepted.peer_name is None

    run(main)
    first, second = found
    assert first == naquid.PeerName(
        "Zoë\0admin",  # whole: "Zoë" is somebody else
        ("one.example", "*.two.example"),
        ("192.0.2.1", "2001:db8::1"),
        ("who@example.org",),
        ("spiffe://example.org/game",),
    )
    assert str(first) == "Zoë\0admin"
    assert second is not None
    assert (second.common_name, str(second)) == ("", "spiffe://example.org/game")
    assert ended == found, "known at the end, too"
