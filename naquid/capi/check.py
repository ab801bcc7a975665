"""Checks of arguments: what C's compiler would refuse raises TypeError at the call."""

from __future__ import annotations


def need(value: object, kind: type | tuple[type, ...], name: str) -> None:
    """Raises TypeError unless value is of that type. A bool is no int."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join("None" if each is type(None) else each.__name__ for each in kinds)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
