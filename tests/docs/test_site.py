"""The site builds without warnings, loads nothing from other hosts, and documents every public name."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blocks import ROOT

import naquid

EXTERNAL = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//|url\(["']?https?:"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    if importlib.util.find_spec("material") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("the extra `docs` is not installed: make docs")
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()
    return folder


def test_nothing_is_loaded_from_other_hosts(site: Path) -> None:
    loaded = [
        f"{path.relative_to(site)}: {found[0]}"
        for path in site.rglob("*")
        if path.suffix in (".html", ".css", ".svg")
        for found in EXTERNAL.finditer(path.read_text())
    ]
    assert not loaded


def test_the_index_of_the_search_needs_no_server(site: Path) -> None:
    """Pages that are opened as files may load scripts, but fetch nothing and start no worker."""
    script = (site / "search" / "search_index.js").read_text()
    index = json.loads(script.removeprefix("var __index = "))
    assert index == json.loads((site / "search" / "search_index.json").read_text())
    assert any(page["location"].startswith("howto/backpressure.html") for page in index["docs"])
    for page in site.rglob("*.html"):
        if page.name != "404.html":
            (worker,) = re.findall(r'<script src="([^"]*iframe-worker.js)"', page.read_text())
            assert (page.parent / worker).is_file()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium")
def test_pages_that_are_opened_as_files_can_be_searched(site: Path, tmp_path: Path) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path}"]
    page = f"{(site / 'howto' / 'scaling.html').as_uri()}?q=backpressure"
    done = subprocess.run(
        ["chromium", *options, "--virtual-time-budget=20000", "--dump-dom", page],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=100,
        check=True,
    )
    results = re.findall(r'href="([^"]*)" class="md-search-result__link"', done.stdout.decode())
    assert any("howto/backpressure.html" in found for found in results)


def test_every_public_name_has_its_place() -> None:
    reference = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    missing = [
        name
        for name in naquid.__all__
        if name != "__version__"
        and not re.search(rf"^::: naquid\.{name}$", reference, re.MULTILINE)
        and not re.search(rf"\bnaquid\.{name}\b", reference)
        and getattr(naquid, name).__module__ != "naquid.errors"  # all of errors.py is in errors.md
    ]
    assert not missing


@pytest.mark.parametrize("module", ["config", "reconnect"])
def test_every_field_of_a_configuration_is_explained(module: str) -> None:
    tree = ast.parse((ROOT / "naquid" / f"{module}.py").read_text())
    for made in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.decorator_list):
        for field, after in zip(made.body, [*made.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                obvious = field.target.id == "limits"
                assert explained or obvious, f"{made.name}.{field.target.id} has no text"


def test_every_exception_has_a_cause_and_a_remedy() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    section = page.split("## What each error means\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    exceptions = [name for name in naquid.errors.__all__ if issubclass(getattr(naquid.errors, name), Exception)]
    assert sorted(name for name, _, _ in rows) == sorted(exceptions)
    for name, cause, remedy in rows:
        assert len(cause) > 20, name
        assert len(remedy) > 5, name


def test_the_ends_of_connections_are_all_explained() -> None:
    """Every text by which a connection ends has its row in the table, and the table has no other."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (?:HandshakeFailed|ConnectionLost|IdleTimeout)", page, re.MULTILINE)
    explained = set()
    for why in range(1, 9):
        for code in (0, 0x100 + 48) if why == 3 else (0, 2):
            for remote in (False, True):
                for established in (False, True):
                    text = str(naquid.errors.from_close(why, code, "", remote, established))
                    found = [row for row in rows if row in text]
                    assert len(found) == 1, f"{text}: {found}"
                    explained.update(found)
    assert explained == set(rows)


def test_screens() -> None:
    """Every picture of the command line is shown, and there is one for each that is."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    shown = set(re.findall(r"assets/cli/([\w-]+\.\w+)", page))
    assert shown == {path.name for path in (ROOT / "docs" / "assets" / "cli").iterdir()}


@pytest.mark.parametrize(
    ("page", "field", "shown"),
    [
        ("concepts.md", "idle_timeout", "30 s by default"),
        ("concepts.md", "max_streams_bidi", "1024 by default"),
        ("concepts.md", "datagram_queue", "`Limits.datagram_queue` (256)"),
        ("concepts.md", "send_high", "while it is above 1 MiB"),
        ("howto/backpressure.md", "send_high", "`send_high` (1 MiB)"),
        ("howto/backpressure.md", "send_low", "`send_low` (256 KiB)"),
        ("howto/backpressure.md", "stream_window", "`stream_window` (16 MiB)"),
        ("howto/backpressure.md", "connection_window", "`connection_window` (24 MiB)"),
        ("howto/backpressure.md", "max_pending_calls", "`max_pending_calls` (1,048,576"),
        ("howto/backpressure.md", "max_send_queue", "`max_send_queue` (128 MiB"),
        ("howto/backpressure.md", "max_handler_tasks", "`max_handler_tasks` (1024)"),
        ("howto/backpressure.md", "max_connections", "`max_connections` (1,048,576)"),
        ("howto/backpressure.md", "max_half_open", "`max_half_open` (4096)"),
        ("howto/from-enet.md", "max_connections", "`Limits.max_connections`, 1,048,576"),
        ("howto/from-enet.md", "max_message_size", "up to 16 MiB"),
        ("howto/from-tcp.md", "idle_timeout", "after 30 s of silence"),
        ("howto/testing.md", "shutdown_timeout", "`shutdown_timeout` (5 s)"),
        ("tutorials/chat.md", "max_message_size", "The default, 16 MiB"),
        ("tutorials/files.md", "stream_window", "window (at most 16 MiB)"),
        ("tutorials/files.md", "max_send_queue", "`max_send_queue` (128 MiB)"),
    ],
)
def test_defaults_in_the_text(page: str, field: str, shown: str) -> None:
    """The text says what the configuration is."""
    text = " ".join((ROOT / "docs" / page).read_text().split())
    assert shown in text
    numbers = re.findall(r"([\d,]+)(?: (MiB|KiB))?", shown)
    units = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}
    values = [int(number.replace(",", "")) * units[unit] for number, unit in numbers if number.strip(",")]
    assert getattr(naquid.Limits(), field) in values
