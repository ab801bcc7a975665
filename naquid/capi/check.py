"""Checks of arguments: what C's compiler would refuse raises TypeError at the call."""

from __future__ import annotations

from .._naquid import need_callable, need_flag

__all__ = ["need", "need_callable", "need_flag", "need_range"]


def need(value: object, kind: type | tuple[type, ...], name: str) -> None:
    """Raises TypeError unless value is of that type. A bool is no int."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join("None" if each is type(None) else each.__name__ for each in kinds)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def need_range(value: float, least: int, most: int, name: str) -> None:
    """Raises ValueError unless value is from least to most, where C would cut bits off."""
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}: it must be from {least} to {most}")
