"""Fixtures of several suites, for whose conftest.py they are: there they are imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from harness import Unraisable, Variant

from naquid.logs import Failures

__all__ = ["run_io", "unraisable"]


@pytest.fixture(name="run", params=["native", "portable"])
def run_io(request: pytest.FixtureRequest) -> Variant:
    """Runs `run(main)` over each kind of packet I/O."""
    return Variant(io=request.param)


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unraisable]:
    """Fails a test in which something raised where nobody could catch it, unless the test takes it."""
    caught = Unraisable()
    monkeypatch.setattr(sys, "unraisablehook", caught.append)
    log = Failures.handler_failed

    def failed(failures: Failures, error: BaseException, handler: object, *where: Any) -> None:
        caught.append(SimpleNamespace(exc_value=error, object=handler))
        log(failures, error, handler, *where)

    monkeypatch.setattr(Failures, "handler_failed", failed)
    yield caught
    assert not [f"{item.exc_value!r} in {item.object!r}" for item in caught]
