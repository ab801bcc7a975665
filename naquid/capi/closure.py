"""Closures: in Python any callable is one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["nq_closure_call", "nq_closure_empty", "nq_closure_init", "nq_closure_is_empty"]


def nq_closure_init(proc: Callable[..., Any], arg: object = None) -> Callable[..., Any]:
    """A callable that calls proc with arg before its own arguments, for code that wants C's `void *arg`. Raises
    TypeError. Any thread. Original: nq_closure_init."""
    if not callable(proc):
        raise TypeError(f"a closure needs a callable, not {type(proc).__name__}")
    return functools.partial(proc, arg)


def nq_closure_empty() -> None:
    """The empty closure: None. Any thread. Original: nq_closure_empty."""
    return


def nq_closure_is_empty(closure: Callable[..., Any] | None) -> bool:
    """Whether it is the empty closure. Any thread. Original: nq_closure_is_empty."""
    return closure is None


def nq_closure_call(closure: Callable[..., Any], *args: Any) -> Any:
    """Calls the closure and returns its result. Raises TypeError for the empty one. Any thread.
    Original: nq_closure_call."""
    return closure(*args)
