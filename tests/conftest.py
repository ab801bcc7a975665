"""Fixtures that every suite may use: a certificate authority of the test run, and files with what it issued."""

from __future__ import annotations

import datetime
import ipaddress
import signal
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# A shell's background jobs (`make test &`) start with SIGINT ignored, and what they start inherits it:
# interrupting a command would then do nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DAY = datetime.timedelta(days=1)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Issued:
    """A certificate and its key: as objects, PEM bytes, DER bytes, and files."""

    def __init__(self, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey, folder: Path, stem: str) -> None:
        self.cert_pem = cert.public_bytes(serialization.Encoding.PEM)
        self.cert_der = cert.public_bytes(serialization.Encoding.DER)
        self.key_pem = _pem(key)
        self.key_der = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.cert = folder / f"{stem}.cert.pem"
        self.key = folder / f"{stem}.key.pem"
        self.cert.write_bytes(self.cert_pem)
        self.key.write_bytes(self.key_pem)


class Authority:
    """A certificate authority. `ca` is its certificate's file, `ca_pem` the same as bytes."""

    def __init__(self, folder: Path, name: str = "naquid test CA") -> None:
        self._folder = folder
        self._count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.ca_pem)

    def issue(
        self, *names: str, start: datetime.timedelta = -DAY, end: datetime.timedelta = 10 * DAY, client: bool = False
    ) -> Issued:
        """A leaf for these host names and IP addresses (default: localhost, 127.0.0.1, ::1), valid from now + start
        to now + end."""
        names = names or ("localhost", "127.0.0.1", "::1")
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.ExtendedKeyUsageOID.CLIENT_AUTH if client else x509.ExtendedKeyUsageOID.SERVER_AUTH
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + start)
            .not_valid_after(now + end)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._count += 1
        return Issued(certificate, key, self._folder, f"leaf{self._count}")


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority of the test run."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("other-ca"), "another test CA")


@pytest.fixture(scope="session")
def leaf(ca: Authority) -> Issued:
    """A server certificate for localhost."""
    return ca.issue()
