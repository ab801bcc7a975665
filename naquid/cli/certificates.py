"""Certificates for development: an authority and leaves signed by it, written by the package cryptography."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import CommandError


@dataclass(frozen=True)
class CertificateFiles:
    """PEM files: a server's certificate and key, and the authority that a client trusts."""

    cert: Path
    key: Path
    ca: Path


def create(folder: Path, names: Sequence[str] = ("localhost", "127.0.0.1", "::1"), days: int = 30) -> CertificateFiles:
    """Writes `ca.pem`, `ca-key.pem`, `cert.pem` and `key.pem` to `folder`.

    The authority that is there already signs again, so that clients need not be told twice; everything else is
    replaced. Keys are ECDSA P-256 and readable by their owner only. `names`: host names and addresses of the server.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError:
        raise CommandError("certificates are made by the package cryptography: pip install 'naquid[cli]'") from None

    folder.mkdir(parents=True, exist_ok=True)
    files = CertificateFiles(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
    ca_key_file = folder / "ca-key.pem"
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey, valid: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=valid))
        )

    def usage(**allowed: bool) -> x509.KeyUsage:
        fields = """digital_signature content_commitment key_encipherment data_encipherment key_agreement
            key_cert_sign crl_sign encipher_only decipher_only"""
        return x509.KeyUsage(**{field: allowed.get(field, False) for field in fields.split()})

    ca_name = name("naquid development CA")
    if files.ca.exists() and ca_key_file.exists():
        ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
        loaded = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise CommandError(f"{ca_key_file} is not a key that this command wrote; choose another folder")
        ca_key, ca_name = loaded, ca.subject
    else:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = (
            builder(ca_name, ca_key, 3650)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        _write(ca_key_file, _pem(ca_key), private=True)
        _write(files.ca, ca.public_bytes(serialization.Encoding.PEM))

    def alternative(text: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(text))
        except ValueError:
            return x509.DNSName(text)

    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        builder(name(names[0]), key, days)
        .add_extension(x509.SubjectAlternativeName([alternative(text) for text in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write(files.key, _pem(key), private=True)
    _write(files.cert, leaf.public_bytes(serialization.Encoding.PEM))
    return files


def _pem(key: object) -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, private: bool = False) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    with open(handle, "wb") as file:
        file.write(content)
