"""Fixtures that every suite may use: a certificate authority of the test run, and files with what it issued."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from harness import Bench, OnSim, Variant

from naquid.testing import Authority, Issued, SimNetwork

# A shell's background jobs (`make test &`) start with SIGINT ignored, and what they start inherits it:
# interrupting a command would then do nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority of the test run."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("other-ca"), "another test CA")


@pytest.fixture(scope="session")
def leaf(ca: Authority) -> Issued:
    """A server certificate for localhost."""
    return ca.issue()


@pytest.fixture
def bench(ca: Authority, leaf: Issued) -> Bench:
    """A maker of servers and clients of asyncio whose certificates fit."""
    return Bench(ca, leaf)


@pytest.fixture
def run_once() -> Variant:
    """Runs `run_once(main)` on asyncio, for what does not depend on the event loop or takes long."""
    return Variant()


@pytest.fixture
def run_sim() -> Iterator[OnSim]:
    """Runs `run_sim(main)` on the simulated network `run_sim.network`, for what depends on time."""
    with SimNetwork(delay=0.001) as network:
        yield OnSim(network)
