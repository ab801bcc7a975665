"""A certificate authority for tests. The package cryptography does the work, and is imported when it is needed."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authority", "Issued"]

DAY = datetime.timedelta(days=1)


class Issued:
    """A certificate and its key, for the `cert=` and `key=` of `naquid.serve` and `naquid.TlsConfig`.

    Attributes:
        cert, key: the PEM files.
        cert_pem, key_pem, cert_der, key_der: the same as bytes.
    """

    def __init__(self, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey, folder: Path, stem: str) -> None:
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        self.cert_pem: bytes = cert.public_bytes(Encoding.PEM)
        self.cert_der: bytes = cert.public_bytes(Encoding.DER)
        self.key_pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.key_der: bytes = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self.cert: Path = folder / f"{stem}.cert.pem"
        self.key: Path = folder / f"{stem}.key.pem"
        self.cert.write_bytes(self.cert_pem)
        with open(os.open(self.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(self.key_pem)


class Authority:
    """A certificate authority whose files live in `folder`, which must exist. Its keys are ECDSA P-256.

    Raises RuntimeError when the package cryptography is missing.

    Attributes:
        ca: file of the authority's certificate, for the `ca=` of `naquid.connect`.
        ca_pem: the same as bytes.
    """

    def __init__(self, folder: Path, name: str = "naquid test CA") -> None:
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives import hashes
            from cryptography.hazmat.primitives.asymmetric import ec
            from cryptography.hazmat.primitives.serialization import Encoding
            from cryptography.x509.oid import NameOID
        except ImportError as error:
            raise RuntimeError(
                "certificates for tests are made by the package cryptography: pip install cryptography"
            ) from error
        self._folder = folder
        self._count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key, -DAY, 3650 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_pem: bytes = certificate.public_bytes(Encoding.PEM)
        self.ca: Path = folder / "ca.pem"
        self.ca.write_bytes(self.ca_pem)

    def issue(
        self, *names: str, start: datetime.timedelta = -DAY, end: datetime.timedelta = 30 * DAY, client: bool = False
    ) -> Issued:
        """A leaf for these host names and IP addresses (none: localhost, 127.0.0.1 and ::1), valid from now + start
        to now + end. client: for a client that authenticates itself (mutual TLS)."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        names = names or ("localhost", "127.0.0.1", "::1")
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = (
            self._builder(subject, key, start, end)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._count += 1
        return Issued(certificate, key, self._folder, f"leaf{self._count}")

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime.timedelta, end: datetime.timedelta
    ) -> x509.CertificateBuilder:
        from cryptography import x509

        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + start)
            .not_valid_after(now + end)
        )
