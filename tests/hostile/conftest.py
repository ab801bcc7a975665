"""Fixtures of the tests of hostile peers."""

from __future__ import annotations

from fixtures import run_io

__all__ = ["run_io"]
