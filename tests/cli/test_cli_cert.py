"""`naquid cert`: it replaces nothing, and what it makes is accepted."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_command import Start, run
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from naquid.cli import certificates


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_ino) for file in folder.iterdir()}


def refused(folder: Path, *arguments: object, words: tuple[str, ...] = ()) -> None:
    """It says why, and no file has changed, come or gone."""
    before = everything(folder)
    run("cert", "--out", folder, *arguments).failed(*words)
    assert everything(folder) == before


def test_an_authority_signs_again_and_is_kept(tmp_path: Path) -> None:
    text = run("cert", "--out", tmp_path).fine().out
    assert f"--ca {tmp_path / 'ca.pem'}" in text
    before = everything(tmp_path)
    run("cert", "--out", tmp_path, "--client", "me").fine()
    assert {name: it for name, it in everything(tmp_path).items() if "client" not in name} == before
    run("cert", "--out", tmp_path, "--force").fine()
    after = everything(tmp_path)
    assert {name for name in before if before[name] == after[name]} == {"ca.pem", "ca-key.pem"}
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    leaf = x509.load_pem_x509_certificate(after["cert.pem"][0])
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(after["ca.pem"][0]))
    key = serialization.load_pem_private_key(after["key.pem"][0], None)
    assert key.public_key() == leaf.public_key()


@pytest.mark.parametrize("there", ["cert.pem", "key.pem"])
def test_a_certificate_or_a_key_is_replaced_by_force_only(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"production")
    refused(tmp_path, words=(there, "--force"))
    run("cert", "--out", tmp_path, "--force").fine()
    assert (tmp_path / there).read_bytes() != b"production"


def test_a_link_is_something_that_is_there(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"production")
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "key.pem").symlink_to(target)
    (folder / "cert.pem").symlink_to(tmp_path / "gone")
    refused_links = run("cert", "--out", folder)
    refused_links.failed("--force")
    assert sorted(file.name for file in folder.iterdir()) == ["cert.pem", "key.pem"]
    run("cert", "--out", folder, "--force").fine()
    assert target.read_bytes() == b"production"
    assert not (folder / "key.pem").is_symlink()


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("there", ["ca.pem", "ca-key.pem"])
@pytest.mark.parametrize("force", [False, True])
def test_half_an_authority_is_never_replaced(tmp_path: Path, there: str, force: bool, client: bool) -> None:
    made, folder = tmp_path / "made", tmp_path / "folder"
    run("cert", "--out", made).fine()
    folder.mkdir()
    (folder / there).write_bytes((made / there).read_bytes())
    arguments = (["--force"] if force else []) + (["--client", "me"] if client else [])
    refused(folder, *arguments, words=(there, "beside it", "--out"))


def authority(
    folder: Path,
    key: Any = None,
    begin: timedelta = timedelta(days=-1),
    end: timedelta = timedelta(days=100),
    ca: bool = True,
    add: Callable[[x509.CertificateBuilder], x509.CertificateBuilder] = lambda builder: builder,
    signed_by: Any = None,
) -> None:
    """Writes ca.pem and ca-key.pem."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now + begin).not_valid_after(now + end)
    builder = add(builder.add_extension(x509.BasicConstraints(ca, None), critical=True))
    made = builder.sign(signed_by or key, hashes.SHA256())
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "ca-key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))


NO_USE: dict[str, Callable[[Path], None]] = {
    "another folder": lambda folder: authority(folder, rsa.generate_private_key(65537, 2048)),
    "did not write": lambda folder: authority(folder, ec.generate_private_key(ec.SECP256K1())),
    "that this command": lambda folder: authority(folder, ca=False),
    "choose another": lambda folder: authority(folder, signed_by=ec.generate_private_key(ec.SECP256R1())),
    "was valid until": lambda folder: authority(folder, end=timedelta(hours=-1)),
    "is valid from": lambda folder: authority(folder, begin=timedelta(hours=5)),
    "12 days more: give --days 12": lambda folder: authority(folder, end=timedelta(days=12, hours=1)),
    "0 days more: choose": lambda folder: authority(folder, end=timedelta(hours=1)),
    "may not sign": lambda folder: authority(
        folder,
        add=lambda builder: builder.add_extension(certificates._usage(digital_signature=True), critical=True),
    ),
    "not sign every": lambda folder: authority(
        folder,
        add=lambda builder: builder.add_extension(
            x509.NameConstraints([x509.DNSName("other.test")], None), critical=True
        ),
    ),
}


@pytest.mark.parametrize("words", NO_USE)
def test_an_authority_whose_certificates_would_not_be_accepted(tmp_path: Path, words: str) -> None:
    NO_USE[words](tmp_path)
    for arguments in ((), ("--force",)):
        refused(tmp_path, *arguments, words=(words,))


def test_the_key_of_another_authority(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("cert", "--out", tmp_path / name).fine()
    (tmp_path / "one" / "ca-key.pem").write_bytes((tmp_path / "two" / "ca-key.pem").read_bytes())
    refused(tmp_path / "one", "--force", words=("is not the key of",))


@pytest.mark.parametrize("own", [b"\1\2\3", None])
def test_an_authority_of_another_make_that_will_do(tmp_path: Path, start: Start, own: bytes | None) -> None:
    """Its key may be called otherwise than we would: the certificate says so, and a real client accepts it."""

    def add(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
        return builder if own is None else builder.add_extension(x509.SubjectKeyIdentifier(own), critical=False)

    authority(tmp_path, add=add)
    run("cert", "--out", tmp_path).fine()
    options = ["--cert", tmp_path / "cert.pem", "--key", tmp_path / "key.pem", "--port", 0, "--json"]
    server = start("serve", *options)
    run("call", "localhost", server.port, "rpc", 1, "x", "--ca", tmp_path / "ca.pem").fine()


def test_a_long_time(tmp_path: Path) -> None:
    """A certificate does not outlive a new authority."""
    run("cert", "--out", tmp_path, "--days", 36500).fine()
    ca, leaf = (x509.load_pem_x509_certificate((tmp_path / name).read_bytes()) for name in ("ca.pem", "cert.pem"))
    assert leaf.not_valid_after_utc <= ca.not_valid_after_utc


@pytest.mark.parametrize(
    "name",
    ["a..b", ".a", "a.", "*", "*.test", "a.*.test", "a*.game.test", "-a.test", "a-.test", "1.2.3", "300.1.1.1", "a/b"],
)
def test_names_that_no_client_accepts(tmp_path: Path, name: str) -> None:
    refused(tmp_path, f"--name={name}", words=(name,))


def test_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    run("cert", "--out", file).failed(str(file))
    for name in ("ca.pem", "ca-key.pem"):
        (tmp_path / name).write_text("nonsense")
    refused(tmp_path, words=("choose another folder",))


def test_a_name_that_is_taken_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"somebody's")
    with pytest.raises(FileExistsError, match=r"key\.pem"):
        certificates._write(path, b"ours", private=True, force=False)
    assert everything(tmp_path).keys() == {"key.pem"}
    assert path.read_bytes() == b"somebody's"
