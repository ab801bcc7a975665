"""Addresses, certificates and descriptors where a connection or a server begins."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import HOST, Bench, Variant

import naquid


def combined(bench: Bench) -> bytes:
    """A certificate and its key in one PEM text."""
    cert, key = (Path(path).read_bytes() for path in (bench.leaf.cert, bench.leaf.key))
    return cert + b"\n" + key


@pytest.mark.parametrize("form", ["path", "bytes", "text", "config"])
def test_a_certificate_that_holds_its_key_is_enough(run_once: Variant, bench: Bench, tmp_path: Path, form: str) -> None:
    async def main() -> None:
        both: Any = combined(bench)
        (tmp_path / "both.pem").write_bytes(both)
        both = {"path": tmp_path / "both.pem", "bytes": both, "text": both.decode(), "config": both}[form]
        given: dict[str, Any] = {"cert": both}
        if form == "config":
            given = {"config": naquid.ServerConfig(tls=naquid.TlsConfig(cert=both))}
        async with naquid.serve(naquid.Handlers(), HOST, **given) as server, bench.connect(server.port):
            pass
        async with (
            naquid.Endpoint(HOST, app=naquid.Handlers(), **given) as endpoint,
            bench.connect(endpoint.port),
        ):
            pass

    run_once(main)


def test_a_certificate_without_a_key_is_not(bench: Bench) -> None:
    async def main() -> None:
        for make in (naquid.serve, naquid.Endpoint):
            arguments = (naquid.Handlers(), HOST) if make is naquid.serve else (HOST,)
            for given in ({"key": bench.leaf.key}, {"key": combined(bench)}):
                with pytest.raises(naquid.ConfigError, match="cert= and key="):
                    make(*arguments, **given)
            with pytest.raises(naquid.ConfigError, match="key"):  # it might have held one
                await make(*arguments, cert=bench.leaf.cert)

    asyncio.run(main())


Resolve = Callable[..., Any]


def two_addresses(first: str, second: str) -> Resolve:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 2, 17, "", (address, port)) for address in (first, second)]

    return getaddrinfo


def test_a_lack_of_descriptors_is_not_hidden(run_once: Variant, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address does not answer, for the second no socket can be made: that is what there is to be mended."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if not hasattr(loop, "__dict__"):
            pytest.skip("a uvloop has no attributes to replace")
        monkeypatch.setattr(loop, "getaddrinfo", two_addresses("127.0.0.2", HOST))
        real = naquid.client._Attempts.start

        def start(attempts: Any, address: tuple[str, int], alone: bool) -> Any:
            if address[0] == HOST:
                raise OSError(errno.EMFILE, "opening a socket: too many open files")
            return real(attempts, address, alone)

        monkeypatch.setattr(naquid.client._Attempts, "start", start)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
            hole.bind(("127.0.0.2", 0))
            limits = naquid.Limits(handshake_timeout=0.1)
            with pytest.raises(OSError, match="too many open files") as caught:
                await bench.connect(hole.getsockname()[1], host="localhost", attempt_delay=0.01, limits=limits)
            assert caught.value.errno == errno.EMFILE

    run_once(main)
