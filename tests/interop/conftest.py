"""Fixtures of the tests against another implementation."""

from __future__ import annotations

import pytest
from harness import Bench, Variant


@pytest.fixture(params=["native", "portable"])
def run(request: pytest.FixtureRequest) -> Variant:
    """Runs `run(main)` over each kind of packet I/O."""
    return Variant(io=request.param)


@pytest.fixture
def bench(ca: object, leaf: object) -> Bench:
    return Bench(ca, leaf)
