"""Addresses, certificates and descriptors where a connection or a server begins."""

from __future__ import annotations

import errno
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

import naquid._naquid
from naquid.capi import (
    NQ_EQUIC,
    NQ_ESYSCALL,
    nq_addr_t,
    nq_clconf_t,
    nq_client_connect,
    nq_conn_is_valid,
    nq_server_create,
    nq_server_join,
    nq_time_msec,
    nq_time_sec,
)
from naquid.capi import client as client_module


class Ends:
    """What an application hears of a connection."""

    def __init__(self) -> None:
        self.opened: list[Any] = []
        self.closed: list[tuple[int, int, bool]] = []

    def conf(self, handshake: int = 5000) -> nq_clconf_t:
        return nq_clconf_t(
            on_open=lambda c, p: self.opened.append(c),
            on_close=lambda c, e, d, r: self.closed.append((e, d.code, nq_conn_is_valid(c))),
            handshake_timeout=nq_time_msec(handshake),
            idle_timeout=nq_time_sec(5),
        )


def test_a_certificate_that_holds_its_key_is_enough(small: Any, tmp_path: Path, logs: list[str]) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(Path(small.leaf.cert).read_bytes() + Path(small.leaf.key).read_bytes())
    server = nq_server_create(1)
    assert server is not None
    for cert in (both, str(both), both.read_bytes()):
        assert small.listen(server, cert=cert, key=None) is not None
    assert small.listen(server, key=None) is None
    assert any("key is missing" in line and "holds none" in line for line in logs)
    nq_server_join(server)


def test_a_ca_that_was_renewed_is_read_again(small: Any, other_ca: Any, tmp_path: Path) -> None:
    small.serve(lambda hdmap: None)
    trusted, ends, client = tmp_path / "ca.pem", Ends(), small.client()
    addr = nq_addr_t("127.0.0.1", ca=str(trusted), port=small.port)
    shutil.copy(other_ca.ca, trusted)
    nq_client_connect(client, addr, ends.conf())
    small.until(lambda: ends.closed)
    trusted.write_bytes(small.ca.ca_pem)
    nq_client_connect(client, addr, ends.conf())
    small.until(lambda: ends.opened or len(ends.closed) > 1)
    assert len(ends.opened) == 1


@pytest.mark.parametrize("failure", [errno.EMFILE, errno.ENETUNREACH])
def test_a_race_ends_once(small: Any, monkeypatch: pytest.MonkeyPatch, failure: int) -> None:
    """The first of two addresses does not answer, the second cannot be tried. A lack of descriptors is what there is to
    be mended; a network that is not there says less than the silence of the first."""
    ends, client = Ends(), small.client()
    real = client_module._Attempt._start

    def start(attempt: Any, host: str, alone: bool) -> Any:
        if host == "127.0.0.3":
            raise OSError(failure, "no socket")
        return real(attempt, host, alone)

    monkeypatch.setattr(client_module._Attempt, "_start", start)
    monkeypatch.setattr(client_module, "_ATTEMPT_DELAY", 1_000_000)
    found = [(2, 2, 17, "", (host, 0)) for host in ("127.0.0.2", "127.0.0.3")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.2", 0))
        addr = nq_addr_t("two.example", ca=small.ca.ca, port=hole.getsockname()[1])
        nq_client_connect(client, addr, ends.conf(handshake=100))
        small.until(lambda: ends.closed)
        small.settle(0.05)
    assert len(ends.closed) == 1
    assert not client._attempts
    if failure == errno.EMFILE:
        assert ends.closed == [(NQ_ESYSCALL, errno.EMFILE, False)]
    else:
        assert ends.closed[0][0] == NQ_EQUIC
        assert ends.closed[0][2]


def test_a_resolver_without_descriptors_says_which_error() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="ulimit -n") as caught:
            naquid._naquid.CapiResolver([("127.0.0.1", 53)], 1, False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE
