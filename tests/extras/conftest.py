"""Fixtures of the tests of what the extras bring: metrics, traces, gRPC."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from harness import Bench, Unraisable, Variant


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Variant:
    """Runs `run(main)` on each event loop."""
    return Variant(loop=request.param)


@pytest.fixture
def run_once() -> Variant:
    return Variant()


@pytest.fixture
def bench(ca: object, leaf: object) -> Bench:
    return Bench(ca, leaf)


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unraisable]:
    """Fails a test in which something raised where nobody could catch it, unless the test takes it."""
    caught = Unraisable()
    monkeypatch.setattr(sys, "unraisablehook", caught.append)
    yield caught
    assert not [f"{item.exc_value!r} in {item.object!r}" for item in caught]
