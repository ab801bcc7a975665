"""Certificates and servers that the command itself makes and runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cli_command import Certs, Running, Start, run


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts commands; what still runs at the end of the test is killed."""
    started: list[Running] = []

    def begin(*arguments: object, **how: Any) -> Running:
        started.append(Running(*arguments, **how))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    """Certificates that the command made."""
    folder = tmp_path_factory.mktemp("certs")
    run("cert", "--out", folder).fine()
    return Certs(folder)


@pytest.fixture(scope="session")
def other_certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    """Of an authority that nobody trusts."""
    folder = tmp_path_factory.mktemp("other-certs")
    run("cert", "--out", folder).fine()
    return Certs(folder)


@pytest.fixture(scope="session")
def echo(certs: Certs) -> Iterator[Running]:
    """An echo server."""
    server = Running("serve", *certs.server)
    yield server
    server.end().fine()
