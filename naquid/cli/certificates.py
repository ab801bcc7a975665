"""Certificates for development: an authority and leaves signed by it, written by the package cryptography."""

from __future__ import annotations

import datetime
import errno
import ipaddress
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

AUTHORITY_DAYS = 3650
CURVES = ("secp256r1", "secp384r1", "secp521r1")  # what TLS 1.3 can sign with


@dataclass(frozen=True)
class CertificateFiles:
    """PEM files: a certificate and its key, and the authority that signed it."""

    cert: Path
    key: Path
    ca: Path


def create(
    folder: Path,
    names: Sequence[str] = ("localhost", "127.0.0.1", "::1"),
    days: int = 30,
    *,
    force: bool = False,
) -> CertificateFiles:
    """Writes `ca.pem`, `ca-key.pem`, `cert.pem` and `key.pem` to `folder`.

    An authority that is there already signs again, so that clients need not be told twice. Keys are ECDSA P-256 and
    readable by their owner only. `names`: host names and addresses of the server. force: `cert.pem` and `key.pem` may
    be replaced; an authority never is. Raises CommandError, and changes nothing, for files that exist, for an authority
    that is not whole, is no longer valid or ends before the certificate would, and for names that no client accepts.
    """
    for name in names:
        _check_name(name)
    return _create(folder, "cert.pem", "key.pem", names, days, client=False, force=force)


def create_client(folder: Path, name: str, days: int = 30, *, force: bool = False) -> CertificateFiles:
    """The same for a client: `client.pem` and `client-key.pem`."""
    return _create(folder, "client.pem", "client-key.pem", [name], days, client=True, force=force)


def _create(
    folder: Path, cert: str, key: str, names: Sequence[str], days: int, *, client: bool, force: bool
) -> CertificateFiles:
    files = CertificateFiles(folder / cert, folder / key, folder / "ca.pem")
    for file in (files.cert, files.key):
        if file.is_dir():
            raise CommandError(f"{file} is a folder: choose another with --out")
        if not force and os.path.lexists(file):
            raise CommandError(f"{file} exists already: --force replaces it, --out chooses another folder")
    authority = _Authority(folder, days)
    authority.issue(files, names, days, client=client, force=force)
    return files


_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def _check_name(name: str) -> None:
    """Raises CommandError for what clients do not take for a server's name (RFC 6125, RFC 9525)."""
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return
    labels = name.split(".")
    if labels[0] == "*":
        if len(labels) < 3:
            raise CommandError(f"no client accepts {name!r}: a wildcard needs two labels behind it, as in *.game.test")
        del labels[0]
    if not all(_LABEL.fullmatch(label) for label in labels) or len(name) > 253 or labels[-1].isdigit():
        raise CommandError(f"{name!r} is no host name: labels of letters, digits and dashes with dots between them")


class _Authority:
    """The one in the folder, or a new one, which is written with the first certificate."""

    def __init__(self, folder: Path, days: int) -> None:
        try:
            import cryptography  # noqa: F401
        except ImportError:
            raise CommandError("certificates are made by the package cryptography: pip install cryptography") from None
        self.folder = folder
        self.file, self.key_file = folder / "ca.pem", folder / "ca-key.pem"
        there = [file for file in (self.file, self.key_file) if os.path.lexists(file)]
        self._new = not there
        if len(there) == 1:
            lacks = self.key_file if there[0] == self.file else self.file
            raise CommandError(
                f"{there[0]} has no {lacks.name} beside it, and is not replaced: add that, or choose another folder "
                "with --out"
            )
        if there:
            self._load(days)
        else:
            self._make(days)

    def _load(self, days: int) -> None:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        other = "choose another folder with --out"
        try:
            made = x509.load_pem_x509_certificate(self.file.read_bytes())
            loaded = serialization.load_pem_private_key(self.key_file.read_bytes(), None)
            constraints = made.extensions.get_extension_for_class(x509.BasicConstraints).value
            made.verify_directly_issued_by(made)
        except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
            loaded = None
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.curve.name not in CURVES or not constraints.ca:
            raise CommandError(f"{self.folder} has an authority that this command did not write: {other}")
        if loaded.public_key() != made.public_key():
            raise CommandError(
                f"{self.key_file} is not the key of {self.file}, and what it signs is not valid: {other}"
            )
        now = datetime.datetime.now(datetime.UTC)
        begin, end = made.not_valid_before_utc, made.not_valid_after_utc
        if not begin <= now < end:
            when = f"{end:%Y-%m-%d}" if now >= end else f"{begin:%Y-%m-%d} on"
            said = "was valid until" if now >= end else "is valid from"
            raise CommandError(f"the authority {self.file} {said} {when}: {other}, and give clients the new ca.pem")
        left = (end - now).days
        if days > left:
            advice = f"give --days {left} or less, or {other}" if left else other
            raise CommandError(f"the authority {self.file} is valid for {left} days more: {advice}")
        for kind in (x509.NameConstraints, x509.KeyUsage):
            with suppress(x509.ExtensionNotFound):
                found = made.extensions.get_extension_for_class(kind).value
                if not isinstance(found, x509.KeyUsage) or not found.key_cert_sign:
                    raise CommandError(f"the authority {self.file} may not sign every certificate: {other}")
        self.name, self.key, self._made = made.subject, loaded, made

    def _make(self, days: int) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        self.name = _subject("naquid development CA")
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._made = (
            self._builder(self.name, self.key, max(AUTHORITY_DAYS, days + 1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

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

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        from cryptography import x509

        try:  # as the authority calls its key
            own = self._made.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)

    def issue(self, files: CertificateFiles, names: Sequence[str], days: int, *, client: bool, force: bool) -> None:
        """Signs a certificate and writes it, its key, and the authority if it is new."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

        def alternative(text: str) -> x509.GeneralName:
            try:
                return x509.IPAddress(ipaddress.ip_address(text))
            except ValueError:
                return x509.DNSName(text)

        key = ec.generate_private_key(ec.SECP256R1())
        leaf = (
            self._builder(_subject(names[0]), key, days)
            .add_extension(x509.SubjectAlternativeName([alternative(text) for text in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([Usage.CLIENT_AUTH if client else Usage.SERVER_AUTH]), critical=False)
            .add_extension(self._identifier(), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        leaf.verify_directly_issued_by(self._made)
        pem = serialization.Encoding.PEM
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._new:
            _write(self.key_file, _pem(self.key), private=True, force=False)
            _write(self.file, self._made.public_bytes(pem), force=False)
        _write(files.key, _pem(key), private=True, force=force)
        _write(files.cert, leaf.public_bytes(pem), force=force)


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


def _write(path: Path, content: bytes, *, private: bool = False, force: bool) -> None:
    """All of it or nothing. Without force it raises FileExistsError when the name is taken."""
    partial = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        if force:
            os.replace(partial, path)
            return
        try:
            os.link(partial, path)
        except FileExistsError:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            os.rename(partial, path)
    finally:
        partial.unlink(missing_ok=True)
