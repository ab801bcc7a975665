"""Certificates for development: an authority and leaves signed by it, written by the package cryptography."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

AUTHORITY_DAYS = 3650


@dataclass(frozen=True)
class CertificateFiles:
    """PEM files: a certificate and its key, and the authority that signed it."""

    cert: Path
    key: Path
    ca: Path


def create(folder: Path, names: Sequence[str] = ("localhost", "127.0.0.1", "::1"), days: int = 30) -> CertificateFiles:
    """Writes `ca.pem`, `ca-key.pem`, `cert.pem` and `key.pem` to `folder`.

    The authority that is there already signs again, so that clients need not be told twice; everything else is
    replaced. Keys are ECDSA P-256 and readable by their owner only. `names`: host names and addresses of the server.
    """
    return _Authority(folder).issue("cert.pem", "key.pem", names, days, client=False)


def create_client(folder: Path, name: str, days: int = 30) -> CertificateFiles:
    """The same for a client: `client.pem` and `client-key.pem`."""
    return _Authority(folder).issue("client.pem", "client-key.pem", [name], days, client=True)


class _Authority:
    """The one in the folder, or a new one."""

    def __init__(self, folder: Path) -> None:
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            raise CommandError("certificates are made by the package cryptography: pip install cryptography") from None
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "ca.pem"
        key_file = folder / "ca-key.pem"
        if self.file.exists() and key_file.exists():
            try:
                self.name = x509.load_pem_x509_certificate(self.file.read_bytes()).subject
                loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
            except (ValueError, TypeError):
                loaded = None
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise CommandError(f"{folder} has an authority that this command did not write: choose another folder")
            self.key = loaded
            return
        self.name = _subject("naquid development CA")
        self.key = ec.generate_private_key(ec.SECP256R1())
        authority = (
            self._builder(self.name, self.key, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        _write(key_file, _pem(self.key), private=True)
        _write(self.file, authority.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        from cryptography import x509

        start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=days, hours=1))
        )

    def issue(self, cert: str, key_name: str, names: Sequence[str], days: int, client: bool) -> CertificateFiles:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

        def alternative(text: str) -> x509.GeneralName:
            try:
                return x509.IPAddress(ipaddress.ip_address(text))
            except ValueError:
                return x509.DNSName(text)

        files = CertificateFiles(self.folder / cert, self.folder / key_name, self.file)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = (
            self._builder(_subject(names[0]), key, days)
            .add_extension(x509.SubjectAlternativeName([alternative(text) for text in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([Usage.CLIENT_AUTH if client else Usage.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        _write(files.key, _pem(key), private=True)
        _write(files.cert, leaf.public_bytes(serialization.Encoding.PEM))
        return files


def _subject(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(**allowed: bool) -> x509.KeyUsage:
    from cryptography import x509

    names = """digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign
        crl_sign encipher_only decipher_only"""
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names.split()})


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, private: bool = False) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    with open(handle, "wb") as file:
        file.write(content)
