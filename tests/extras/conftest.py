"""Fixtures of the tests of what the extras bring: metrics, traces, gRPC."""

from __future__ import annotations

import pytest
from fixtures import unraisable
from harness import Variant

__all__ = ["unraisable"]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Variant:
    """Runs `run(main)` on each event loop."""
    return Variant(loop=request.param)
