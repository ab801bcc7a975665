"""Whether an installed naquid works: an RPC, a verified bulk transfer, `naquid versions`, over the loopback.

python -I tests/packaging/smoke.py [--import ssl,cryptography,naquid]

Needs the standard library only. --import names modules in the order in which they are imported, and uses each.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

CERTS = Path(__file__).resolve().parent / "certs"
BULK = 8 << 20
CHUNK = 1 << 16


def pattern(n: int) -> bytes:
    """64 KiB that differ from chunk to chunk."""
    return hashlib.sha256(n.to_bytes(8, "little")).digest() * (CHUNK // 32)


def expect(condition: bool, what: str) -> None:
    """Not an assert: this runs under PYTHONOPTIMIZE, too."""
    if not condition:
        sys.exit(f"smoke test failed: {what}")


async def loopback() -> None:
    """A server and a client in this process."""
    import naquid

    app = naquid.Handlers()

    @app.rpc("upper")
    def upper(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload.upper()

    @app.raw_stream("bulk")
    async def bulk(stream: naquid.RawStream) -> None:
        while chunk := await stream.read(CHUNK):
            stream.write(chunk)
            await stream.drain()
        stream.write_eof()

    async def send(stream: naquid.RawStream) -> None:
        for n in range(BULK // CHUNK):
            stream.write(pattern(n))
            await stream.drain()
        stream.write_eof()

    cert, key = CERTS / "cert.pem", CERTS / "key.pem"
    async with (
        naquid.serve(app, "127.0.0.1", 0, cert=cert, key=key) as server,
        naquid.connect("127.0.0.1", server.port, ca=cert) as conn,
    ):
        rpc = await conn.open_rpc("upper")
        expect(await rpc.call(1, b"hello", timeout=20.0) == b"HELLO", "the RPC's answer is wrong")
        stream = await conn.open_raw_stream("bulk")
        sending = asyncio.ensure_future(send(stream))
        for n in range(BULK // CHUNK):
            expect(await stream.readexactly(CHUNK) == pattern(n), f"chunk {n} came back changed")
        expect(await stream.read() == b"", "more came back than was sent")
        await sending


def versions() -> None:
    """What the command line says agrees with the package."""
    import naquid

    isolated = ["-I"] if sys.flags.isolated else []
    argv = [sys.executable, *isolated, "-m", "naquid", "versions", "--json"]
    shown = json.loads(subprocess.run(argv, check=True, capture_output=True, encoding="utf-8").stdout)
    expect(shown["naquid"] == naquid.__version__, "`naquid versions` shows another version")
    for name in ("ngtcp2", "tls", "c-ares", "compiler", "flags"):
        expect(bool(shown[name]), f"`naquid versions` does not tell {name}")
    expect(all(len(pin["sha256"]) == 64 for pin in shown["pins"].values()) and len(shown["pins"]) == 3, "pins")


def use_other_tls(modules: list[str]) -> None:
    """Makes the other OpenSSLs of this process work, before and after ours."""
    if "ssl" in modules:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(CERTS / "cert.pem")
        expect(bool(context.get_ciphers()), "ssl has no ciphers")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            expect(outgoing.pending > 0, "ssl sent no ClientHello")
    if "cryptography" in modules:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        key.public_key().verify(key.sign(b"text", ec.ECDSA(hashes.SHA256())), b"text", ec.ECDSA(hashes.SHA256()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Test an installed naquid.")
    parser.add_argument("--import", dest="modules", default="naquid", help="modules in the order of their import")
    modules = parser.parse_args().modules.split(",")
    for name in modules:
        importlib.import_module(name)
    use_other_tls(modules)
    asyncio.run(loopback())
    use_other_tls(modules)
    versions()
    print("smoke test: ok")


if __name__ == "__main__":
    main()
