"""Code of the user's that a method calls closes the engine of the event loop under that method.

A buffer's own code, __float__, an iterator, an on_error handler, a finalizer that the garbage collector runs, another
thread: the method finds out, and nothing of what is gone is touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import user_code

import naquid

CHILD = Path(__file__).parent / "user_code_child.py"
GONE = ("StreamClosed", "ConnectionLost")
METHODS = [
    "call",
    "call_soon",
    "call_many",
    "notify",
    "reply",
    "send_nowait",
    "write",
    "send_datagram",
    "open",
    "other",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("user_code")
    user_code.build(made)
    return made


@pytest.mark.parametrize("method", METHODS)
def test_what_code_of_the_users_closes(leaf: Any, ca: Any, folder: Path, method: str) -> None:
    """It raises that the stream is gone, or has done its work; a call that was made ends once."""
    outcomes = user_code.child(CHILD, folder, leaf.cert, leaf.key, ca.ca, method)
    assert len(outcomes) >= 3
    for case, (raised, later, replies, acted, closed) in outcomes.items():
        way = case.split()[1]
        assert acted, case
        assert closed, case
        assert raised is None or raised in GONE, case
        if way in ("get", "float", "iterator", "name") and method != "reply":
            assert raised is not None, case
        if way in ("release", "hook") or (method == "reply" and way == "get"):
            assert raised is None or case == "call_many release 0", case  # there are more payloads
        if method == "call" and raised is None:
            assert later == "ConnectionLost", case
        if method == "call_soon":
            assert replies == ([] if raised else [naquid.EGOAWAY]), case
        if method == "call_many" and raised is None:
            assert later == "[]" if "none" in case else later == "ConnectionLost", case


def test_another_thread_closes(leaf: Any, ca: Any, folder: Path) -> None:
    for case, outcome in user_code.child(CHILD, folder, leaf.cert, leaf.key, ca.ca, "race").items():
        assert outcome[0] in GONE, case
        assert outcome[1:] == [True, True, True], (case, outcome)
