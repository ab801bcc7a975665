"""scripts/check_binding.py: the floors of the binding, and that a fault is found."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import check_binding  # noqa: E402


@pytest.fixture
def binding(tmp_path: Path) -> Path:
    """A copy of the binding to spoil."""
    for floor in check_binding.FLOORS:
        shutil.copytree(ROOT / "src_cython" / floor, tmp_path / floor)
    return tmp_path


def spoil(path: Path, line: str) -> None:
    path.write_text(path.read_text() + f"\n\n{line}\n")


def test_the_binding_is_in_order(binding: Path) -> None:
    assert check_binding.check() == []
    assert check_binding.check(binding) == []


@pytest.mark.parametrize(
    ("part", "line", "used", "of"),
    [
        ("core/stream.pyx", "cdef object spoiled = BaseRpc", "BaseRpc", "aio/rpc"),
        ("core/loop.pyx", "cdef object spoiled = nq_conn_t", "nq_conn_t", "capi/handles"),
        ("aio/conn.pyx", "cdef uint64_t spoiled = monotonic_ns()", "monotonic_ns", "capi/clock"),
        ("capi/rpc.pxd", "cdef class Spoiled(AioStream)", "AioStream", "aio/stream"),
    ],
)
def test_an_arrow_up_or_across_is_a_fault(binding: Path, part: str, line: str, used: str, of: str) -> None:
    (binding / part).touch()
    spoil(binding / part, line)
    faults = check_binding.check(binding)
    assert any(f"uses {used} of {of}" in fault for fault in faults), faults


def test_what_is_needed_is_said(binding: Path) -> None:
    spoil(binding / "core" / "address.pyx", "cdef object spoiled = Calls")
    assert any("core/address.pyx does not say" in fault for fault in check_binding.check(binding))


def test_comments_strings_and_attributes_are_no_use(binding: Path) -> None:
    spoil(binding / "core" / "stream.pyx", '# BaseRpc\ncdef object fine = "BaseRpc" + str.BaseRpc')
    assert check_binding.check(binding) == []
