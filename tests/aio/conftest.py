"""Fixtures of the asyncio suite. Most tests run three times: on asyncio, on uvloop, and over portable packet I/O."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from harness import Bench, OnSim, Unraisable, Variant

from naquid.testing import SimNetwork

VARIANTS = {
    "asyncio": Variant(),
    "uvloop": Variant(loop="uvloop"),
    "portable": Variant(io="portable"),
}


@pytest.fixture(params=VARIANTS)
def run(request: pytest.FixtureRequest) -> Variant:
    """Runs `run(main)` on each event loop and each kind of packet I/O."""
    return VARIANTS[request.param]


@pytest.fixture
def run_once() -> Variant:
    """Runs `run_once(main)` on asyncio, for what does not depend on the event loop or takes long."""
    return VARIANTS["asyncio"]


@pytest.fixture
def run_sim() -> Iterator[OnSim]:
    """Runs `run_sim(main)` on the simulated network `run_sim.network`, for what depends on time."""
    with SimNetwork(delay=0.001) as network:
        yield OnSim(network)


@pytest.fixture
def bench(ca: object, leaf: object) -> Bench:
    """A maker of servers and clients whose certificates fit."""
    return Bench(ca, leaf)


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unraisable]:
    """Fails a test in which something raised where nobody could catch it, unless the test takes it."""
    caught = Unraisable()
    monkeypatch.setattr(sys, "unraisablehook", caught.append)
    yield caught
    assert not [f"{item.exc_value!r} in {item.object!r}" for item in caught]
