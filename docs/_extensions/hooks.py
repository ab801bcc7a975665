"""What is put into pages when the site is built, because it exists elsewhere:

* `<!-- results -->`: the newest comparison, which `make bench ARGS="--out docs/assets/bench"` has written;
* `<!-- help COMMAND -->`: what `naquid COMMAND --help` prints.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

MARK = "<!-- results -->"
MISSING = "No comparison has been recorded in this tree yet.\n"


HELP = re.compile(r"^<!-- help ?(.*?) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, *, page: Any, config: Any, **kwargs: Any) -> str:
    markdown = HELP.sub(lambda found: f"```text\n{help_of(found[1].split())}```", markdown)
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


def help_of(command: list[str]) -> str:
    from naquid.cli.main import main

    os.environ["COLUMNS"] = "100"
    with contextlib.redirect_stdout(io.StringIO()) as text:
        code = main([*command, "--help"])
    assert code == 0, f"naquid {' '.join(command)} --help ended with {code}"
    return text.getvalue()
