"""Handlers in C or Cython that run without the interpreter lock: where their header is, and what it offers."""

from __future__ import annotations

import os

from ._naquid import native_api

__all__ = ["get_include", "native_api"]


def get_include() -> str:
    """The folder of naquid_native.h and naquid_native.pxd, for a compiler's and Cython's include paths."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "include")
