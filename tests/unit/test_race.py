"""What asyncio and the C API share of the network: the race of addresses, their order, certificates with keys."""

from __future__ import annotations

import errno

import naquid
from naquid._naquid import parse_address
from naquid._net.race import Race
from naquid._net.resolve import interleave, reachable_from


def race(addresses: str, **broken: BaseException) -> tuple[Race[str, str], list[tuple[str, bool]]]:
    """A race of addresses with one letter each, and what was started; attempts are capital letters."""
    started: list[tuple[str, bool]] = []

    def start(address: str, alone: bool) -> str:
        started.append((address, alone))
        if address in broken:
            raise broken[address]
        return address.upper()

    return Race(addresses, start), started


def test_addresses_are_started_in_order() -> None:
    r, started = race("abc")
    assert r.start_next()
    assert r.start_next()
    assert r.running == ["A", "B"]
    assert list(r.waiting) == ["c"]
    r.lost("A", naquid.ConnectionLost("a"))
    assert r.start_next()
    assert started == [("a", False), ("b", False), ("c", False)]
    assert r.won(r.running[1]) == ["B"]
    assert not r.start_next()
    assert not r.running


def test_the_last_one_is_alone() -> None:
    r, started = race("ab")
    r.start_next()
    r.lost("A", None)
    r.start_next()
    assert started == [("a", False), ("b", True)]
    assert race("a")[0].start_next()
    r, started = race("a")
    r.start_next()
    assert started == [("a", True)]


def test_what_cannot_be_started_is_passed_over() -> None:
    unreachable = OSError(errno.ENETUNREACH, "no route")
    r, started = race("abc", a=unreachable, b=ValueError("b"))
    assert r.start_next()
    assert r.running == ["C"]
    assert started[-1] == ("c", True)
    r, _ = race("ab", a=unreachable, b=ValueError("b"))
    assert not r.start_next()
    assert r.failure is unreachable


def test_the_failure_that_says_most_is_kept() -> None:
    unreachable, lost = OSError(errno.ENETUNREACH, "no route"), naquid.HandshakeFailed("no answer")
    for lack in (OSError(errno.EMFILE, "too many"), OSError(errno.ENFILE, "too many"), MemoryError()):
        r, _ = race("abcd", a=unreachable, c=lack)
        r.start_next()
        assert r.failure is unreachable
        r.lost("B", lost)
        assert r.failure is lost
        r.start_next()
        assert r.failure is lack
        r.lost("D", naquid.HandshakeFailed("no answer"))
        assert r.failure is lack
    r, _ = race("ab")
    r.start_next()
    r.start_next()
    r.lost("B", lost)
    r.lost("A", naquid.HandshakeFailed("a later one"))
    assert r.failure is lost


def test_families_take_turns() -> None:
    assert interleave(["::1", "::2", "::1", "::3", "10.0.0.1"]) == ["::1", "10.0.0.1", "::2", "::3"]
    assert interleave([]) == []
    pairs = [("10.0.0.1", 1), ("10.0.0.1", 2), ("::1", 1)]
    assert interleave(pairs, lambda pair: pair[0]) == [pairs[0], pairs[2], pairs[1]]


def test_what_a_socket_reaches() -> None:
    both = [("::1", 1), ("10.0.0.1", 1)]
    assert reachable_from(["0.0.0.0"], both) == both[1:]
    assert reachable_from(["::"], both) == [both[0], ("::ffff:10.0.0.1", 1)]


def test_numeric_addresses() -> None:
    assert parse_address("::ffff:10.0.0.1", 7) == ("::ffff:10.0.0.1", 7)  # the family of a socket is kept
    assert parse_address("10.0.0.1", 7) == ("10.0.0.1", 7)
    assert parse_address("10.0.0.1\0", 7) is None
