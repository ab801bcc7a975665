"""Fixtures of the asyncio suite. Most tests run three times: on asyncio, on uvloop, and over portable packet I/O."""

from __future__ import annotations

import pytest
from fixtures import unraisable
from harness import Variant

__all__ = ["unraisable"]

VARIANTS = {
    "asyncio": Variant(),
    "uvloop": Variant(loop="uvloop"),
    "portable": Variant(io="portable"),
}


@pytest.fixture(params=VARIANTS)
def run(request: pytest.FixtureRequest) -> Variant:
    """Runs `run(main)` on each event loop and each kind of packet I/O."""
    return VARIANTS[request.param]
