"""Fixtures of the micro benchmarks."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import prepare
from naquid.cli.certificates import CertificateFiles, create

Engine = Callable[[str], Callable[[int], None]]


@pytest.fixture(scope="session")
def engine() -> Engine:
    """engine(name): the function that does so many operations of bench/engine/hot_path.c, both ends, no kernel."""
    try:
        library = ctypes.CDLL(str(prepare.hot_path(shared=True)))
    except prepare.Missing as reason:
        pytest.skip(str(reason))
    library.hot_path_run.argtypes = [ctypes.c_uint64]

    def opened(name: str) -> Callable[[int], None]:
        assert library.hot_path_open(name.encode()) == 0, name
        library.hot_path_run(10)
        return library.hot_path_run

    return opened


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """A certificate for this machine."""
    return create(Path(tmp_path_factory.mktemp("certificates")))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in which both ends live."""
    made = asyncio.new_event_loop()
    yield made
    made.run_until_complete(made.shutdown_asyncgens())
    made.close()
