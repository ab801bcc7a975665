"""scripts/gen_limits.py: what repeats the engine's limits is written from them, and what is old is found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import naquid

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import gen_limits  # noqa: E402


def changed(*rows: tuple[str, int, int, int, str, str]) -> list[tuple[str, int, int, int, str, str]]:
    """The engine's table with other rows, or more."""
    table = {row[0]: row for row in naquid.limits_table()}
    return list((table | {row[0]: row for row in rows}).values())


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (("keep_alive", 10**9, 0, 10**10, "ns", "send a PING"), "    keep_alive: float = 1.0\n"),
        (("send_high", 3 << 20, 1, 4 << 20, "bytes", "queued"), "    send_high: int = 3 << 20\n"),
        (("max_new", 7, 1, 9, "things", "things there may be"), "    max_new: int = 7\n"),
    ],
)
def test_a_changed_limit_is_found(
    monkeypatch: pytest.MonkeyPatch, row: tuple[str, int, int, int, str, str], field: str
) -> None:
    assert gen_limits.config() == gen_limits.CONFIG.read_text()
    assert gen_limits.page() == gen_limits.PAGE.read_text()
    table = changed(row)
    monkeypatch.setattr(naquid, "limits_table", lambda: table)
    assert field in gen_limits.config()
    assert f"| `{row[0]}` |" in gen_limits.page()
    monkeypatch.setattr(sys, "argv", ["gen_limits.py", "--check"])
    assert gen_limits.main() == 1


def test_what_is_said_besides_belongs_to_a_limit() -> None:
    assert gen_limits.MORE.keys() <= {row[0] for row in naquid.limits_table()}
