"""The certificates: they fit, they are refused when they should be, and a missing package is said plainly."""

from __future__ import annotations

import asyncio
import datetime
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

import naquid
from naquid.testing import Authority

HOUR = datetime.timedelta(hours=1)


def test_files_and_bytes_agree(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first, second = authority.issue("game.example", "10.0.0.1", "fe80::1"), authority.issue()
    assert authority.ca.read_bytes() == authority.ca_pem
    assert first.cert.read_bytes() == first.cert_pem != second.cert_pem
    assert first.key.read_bytes() == first.key_pem
    assert stat.S_IMODE(first.key.stat().st_mode) == 0o600
    leaf = x509.load_der_x509_certificate(first.cert_der)
    assert leaf == x509.load_pem_x509_certificate(first.cert_pem)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.ca_pem))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["game.example"]
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "fe80::1"]


def connects(authority: Authority, ca: Path, **fields: object) -> None:
    issued = authority.issue(**fields)  # type: ignore[arg-type]

    async def main() -> None:
        async with (
            naquid.serve(naquid.Handlers(), "127.0.0.1", 0, cert=issued.cert, key=issued.key) as server,
            naquid.connect("127.0.0.1", server.port, ca=ca) as conn,
        ):
            assert conn.peer_certificates == [issued.cert_der]

    asyncio.run(main())


def test_handshakes(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other", "another CA")
    connects(authority, authority.ca)
    with pytest.raises(naquid.HandshakeFailed):
        connects(authority, other.ca)
    with pytest.raises(naquid.HandshakeFailed):
        connects(authority, authority.ca, start=-2 * HOUR, end=-HOUR)


def test_client_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued, mine = authority.issue(), authority.issue("player one", client=True)

    async def main() -> None:
        tls = naquid.TlsConfig(cert=issued.cert, key=issued.key, ca=authority.ca, verify_client=True)
        async with naquid.serve(naquid.Handlers(), "127.0.0.1", config=naquid.ServerConfig(tls=tls)) as server:
            config = naquid.ClientConfig(tls=naquid.TlsConfig(cert=mine.cert, key=mine.key, ca=authority.ca))
            async with naquid.connect("127.0.0.1", server.port, config=config) as conn:
                await conn.ping()
                (accepted,) = server.connections
                assert accepted.peer_certificates == [mine.cert_der]

    asyncio.run(main())


def test_without_cryptography(tmp_path: Path) -> None:
    """Importing needs nothing; making an authority says what is missing."""
    script = f"""
import sys
sys.modules["cryptography"] = None
import naquid.testing, naquid.testing.plugin, pathlib
try:
    naquid.testing.Authority(pathlib.Path({str(tmp_path)!r}))
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install cryptography" in done.stdout
