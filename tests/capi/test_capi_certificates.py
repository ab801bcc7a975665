"""Certificates of a server that change, keys that are encrypted, and names that are none."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from naquid.capi import (
    NQ_ERESOLVE,
    nq_addr_t,
    nq_clconf_t,
    nq_client_connect,
    nq_server_create,
    nq_server_join,
    nq_time_sec,
)


def outcome(small: Any, client: Any, ca: Any, host: str = "127.0.0.1") -> tuple[str, int, int]:
    """What one attempt comes to: "open", or "closed" with its error and detail."""
    ends: list[tuple[str, int, int]] = []
    conf = nq_clconf_t(
        on_open=lambda c, p: ends.append(("open", 0, 0)),
        on_close=lambda c, error, detail, remote: ends.append(("closed", error, detail.code)),
        handshake_timeout=nq_time_sec(10),
        idle_timeout=nq_time_sec(10),
    )
    assert nq_client_connect(client, nq_addr_t(host, ca=ca, port=small.port), conf)
    small.until(lambda: ends, client)
    return ends[0]


def test_a_renewed_certificate_is_shown(small: Any, other_ca: Any, tmp_path: Path, logs: list[str]) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    old, renewed, old_ca = small.leaf, other_ca.issue(), small.ca.ca_pem
    cert.write_bytes(Path(old.cert).read_bytes())
    key.write_bytes(Path(old.key).read_bytes())

    class Leaf:
        pass

    small.leaf = Leaf()
    small.leaf.cert, small.leaf.key = str(cert), str(key)
    small.serve(lambda hdmap: None)
    client = small.client()
    assert outcome(small, client, old_ca)[0] == "open"
    for path, data in ((cert, renewed.cert_pem), (key, renewed.key_pem)):
        fresh = path.with_suffix(".new")
        fresh.write_bytes(data)
        os.replace(fresh, path)
        if path is cert:  # its key is not there yet
            assert outcome(small, client, old_ca)[0] == "open"
            small.until(lambda: any("have changed and cannot be used" in line for line in logs), client)
    assert outcome(small, client, other_ca.ca_pem)[0] == "open"
    assert outcome(small, client, old_ca)[0] == "closed"


@pytest.mark.parametrize("password", ["sesame", b"sesame", lambda: "sesame"])
def test_an_encrypted_key(small: Any, password: Any, logs: list[str]) -> None:
    key = serialization.load_pem_private_key(Path(small.leaf.key).read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    )
    server = nq_server_create(1)
    assert server is not None
    assert small.listen(server, key=locked, password=password) is not None
    assert small.listen(server, key=locked) is None
    assert any("is encrypted; give password" in line for line in logs)
    nq_server_join(server)


@pytest.mark.parametrize("host", ["foo..bar", "a" * 64 + ".test", "x" * 300, "xn--ü", "a\0b"], ids=ascii)
def test_what_is_no_name(small: Any, host: str) -> None:
    """It is not resolved, and nothing of it is cut."""
    small.serve(lambda hdmap: None)
    assert outcome(small, small.client(), small.ca.ca_pem, host) == ("closed", NQ_ERESOLVE, 8)


def test_no_thread_for_a_lookup(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small.serve(lambda hdmap: None)
    client = small.client()

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert outcome(small, client, small.ca.ca_pem, "game.example") == ("closed", NQ_ERESOLVE, 24)
