"""Time: every nq_time_t is an int of nanoseconds."""

from __future__ import annotations

import time as _time

from .._naquid import capi_pause
from .check import need, need_range

__all__ = [
    "nq_time_msec",
    "nq_time_now",
    "nq_time_nsec",
    "nq_time_pause",
    "nq_time_sec",
    "nq_time_sleep",
    "nq_time_to_msec",
    "nq_time_to_nsec",
    "nq_time_to_sec",
    "nq_time_to_usec",
    "nq_time_unix",
    "nq_time_usec",
]


_LEAST, _MOST = -(2**63), 2**64 - 1  # differences may be negative


def _to_ns(n: float, unit: int) -> int:
    need(n, (int, float), "n")
    need_range(n * unit, _LEAST, _MOST, "the time in ns")
    return round(n * unit)


def _from_ns(n: int, unit: int) -> float:
    need(n, (int, float), "n")
    need_range(n, _LEAST, _MOST, "n")
    return n / unit


def nq_time_sec(n: float) -> int:
    """n seconds in ns. Raises TypeError, ValueError above 64 bits. Any thread. Original: nq_time_sec."""
    return _to_ns(n, 1_000_000_000)


def nq_time_msec(n: float) -> int:
    """n milliseconds in ns. Raises TypeError, ValueError above 64 bits. Any thread. Original: nq_time_msec."""
    return _to_ns(n, 1_000_000)


def nq_time_usec(n: float) -> int:
    """n microseconds in ns. Raises TypeError, ValueError above 64 bits. Any thread. Original: nq_time_usec."""
    return _to_ns(n, 1000)


def nq_time_nsec(n: float) -> int:
    """n nanoseconds. Raises TypeError, ValueError above 64 bits. Any thread. Original: nq_time_nsec."""
    return _to_ns(n, 1)


def nq_time_to_sec(n: int) -> float:
    """n ns in seconds, with their fraction. Raises as nq_time_sec. Any thread. Original: nq_time_to_sec."""
    return _from_ns(n, 1_000_000_000)


def nq_time_to_msec(n: int) -> float:
    """n ns in milliseconds, with their fraction. Raises as nq_time_sec. Any thread. Original: nq_time_to_msec."""
    return _from_ns(n, 1_000_000)


def nq_time_to_usec(n: int) -> float:
    """n ns in microseconds, with their fraction. Raises as nq_time_sec. Any thread. Original: nq_time_to_usec."""
    return _from_ns(n, 1000)


def nq_time_to_nsec(n: int) -> float:
    """n ns as a float. Raises as nq_time_sec. Any thread. Original: nq_time_to_nsec."""
    return _from_ns(n, 1)


def nq_time_now() -> int:
    """ns since 1970 by the system's real-time clock. Any thread. Original: nq_time_now."""
    return _time.time_ns()


def nq_time_unix() -> int:
    """Seconds since 1970. Any thread. Original: nq_time_unix."""
    return int(_time.time())


def nq_time_sleep(d: int) -> int:
    """Sleeps d ns, also when signals arrive meanwhile. Returns 0. Raises TypeError, ValueError, and what a signal
    handler raises. Any thread. Original: nq_time_sleep."""
    need(d, int, "d")
    need_range(d, 0, 2**63 - 1, "d")
    _time.sleep(d / 1_000_000_000)
    return 0


def nq_time_pause(d: int) -> int:
    """Sleeps at most d ns; a signal ends it early. Returns the ns that were left, 0 after a full sleep. Raises
    TypeError, ValueError, and what a signal handler raises. Any thread; signals reach the main thread.
    Original: nq_time_pause."""
    need(d, int, "d")
    need_range(d, 0, 2**63 - 1, "d")
    return capi_pause(d)
