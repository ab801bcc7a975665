"""Loads the extension of examples/native, which is no part of the package: whoever runs the mode has built it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

from .process import BenchError


@lru_cache
def load(path: Path) -> Any:
    """The module `echo_native` in this file. Raises BenchError when it is none, or was built for another Python."""
    loader = importlib.machinery.ExtensionFileLoader("echo_native", str(path))
    spec = importlib.util.spec_from_file_location("echo_native", path, loader=loader)
    assert spec is not None
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError as error:
        raise BenchError(f"{path} is not the extension of examples/native: {error}") from None
    return module
