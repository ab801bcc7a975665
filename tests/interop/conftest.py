"""Fixtures of the tests against another implementation."""

from __future__ import annotations

from fixtures import run_io

__all__ = ["run_io"]
