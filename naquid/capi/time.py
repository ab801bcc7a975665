"""Time: every nq_time_t is an int of nanoseconds."""

from __future__ import annotations

import time as _time

from ._native import capi_pause
from .check import need

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


def nq_time_sec(n: float) -> int:
    """n seconds in ns. Any thread. Original: nq_time_sec."""
    need(n, (int, float), "n")
    return round(n * 1_000_000_000)


def nq_time_msec(n: float) -> int:
    """n milliseconds in ns. Any thread. Original: nq_time_msec."""
    need(n, (int, float), "n")
    return round(n * 1_000_000)


def nq_time_usec(n: float) -> int:
    """n microseconds in ns. Any thread. Original: nq_time_usec."""
    need(n, (int, float), "n")
    return round(n * 1000)


def nq_time_nsec(n: float) -> int:
    """n nanoseconds. Any thread. Original: nq_time_nsec."""
    need(n, (int, float), "n")
    return round(n)


def nq_time_to_sec(n: int) -> float:
    """n ns in seconds, with their fraction. Any thread. Original: nq_time_to_sec."""
    need(n, (int, float), "n")
    return n / 1_000_000_000


def nq_time_to_msec(n: int) -> float:
    """n ns in milliseconds, with their fraction. Any thread. Original: nq_time_to_msec."""
    need(n, (int, float), "n")
    return n / 1_000_000


def nq_time_to_usec(n: int) -> float:
    """n ns in microseconds, with their fraction. Any thread. Original: nq_time_to_usec."""
    need(n, (int, float), "n")
    return n / 1000


def nq_time_to_nsec(n: int) -> float:
    """n ns as a float. Any thread. Original: nq_time_to_nsec."""
    need(n, (int, float), "n")
    return float(n)


def nq_time_now() -> int:
    """ns since 1970 by the system's real-time clock. Any thread. Original: nq_time_now."""
    return _time.time_ns()


def nq_time_unix() -> int:
    """Seconds since 1970. Any thread. Original: nq_time_unix."""
    return int(_time.time())


def nq_time_sleep(d: int) -> int:
    """Sleeps d ns, also when signals arrive meanwhile. Returns 0. Raises what a signal handler raises. Any thread.
    Original: nq_time_sleep."""
    need(d, int, "d")
    _time.sleep(d / 1_000_000_000)
    return 0


def nq_time_pause(d: int) -> int:
    """Sleeps at most d ns; a signal ends it early. Returns the ns that were left, 0 after a full sleep. Raises what a
    signal handler raises. Any thread; signals reach the main thread. Original: nq_time_pause."""
    need(d, int, "d")
    return capi_pause(d)
