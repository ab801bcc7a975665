"""Puts the newest comparison into performance.md: what `make bench ARGS="--out docs/assets/bench"` has written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

MARK = "<!-- results -->"
MISSING = "No comparison has been recorded in this tree yet.\n"


def on_page_markdown(markdown: str, *, page: Any, config: Any, **kwargs: Any) -> str:
    if MARK not in markdown:
        return markdown
    folder = Path(config.docs_dir) / "assets" / "bench"
    results = folder / "results.md"
    if not results.exists():
        return markdown.replace(MARK, MISSING)
    lines = [line for line in results.read_text().splitlines() if not line.startswith("# ")]
    text = re.sub(r"^##", "###", "\n".join(lines), flags=re.MULTILINE)
    for plot in sorted([*folder.glob("*.png"), *folder.glob("*.svg")]):
        text += f"\n![{plot.stem}](assets/bench/{plot.name})\n"
    return markdown.replace(MARK, text)
