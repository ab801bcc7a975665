"""Every code block of README.md and of docs/ runs, with real servers on loopback. How: see blocks.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from blocks import ROOT, Block, Page, is_complete, not_run, pages, parse


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_page(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Page(path, tmp_path).run()


@pytest.mark.parametrize("block", list(not_run()), ids=lambda block: block.where)
def test_not_run(block: Block) -> None:
    """So that no block is left out unseen, and none has a fault of syntax."""
    if block.language == "python" and block.page != "README.md":
        assert is_complete(block.code)
    pytest.skip(block.not_run)


def test_no_other_code() -> None:
    """Blocks of code are marked such that they run."""
    for path in pages():
        for block in parse(path):
            assert block.language not in ("py", "pycon", "bash", "shell", "sh", "python3"), (
                f"{block.where}: use python or console, which run"
            )
