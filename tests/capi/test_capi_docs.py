"""Every name of the header exists, is documented, and is used by a test; the table in docs/capi.md is up to date."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import naquid.capi as capi

ROOT = Path(__file__).parents[2]


def test_every_name_is_there() -> None:
    names = (ROOT / "docs" / "capi_names.txt").read_text().split()
    assert len(names) == 160
    assert sorted(capi.__all__) == sorted(names)
    assert [name for name in names if not hasattr(capi, name)] == []


def test_the_table_is_complete() -> None:
    script = ROOT / "scripts" / "gen_capi_docs.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_functions_and_classes_have_docstrings_at_run_time() -> None:
    found = {name: getattr(capi, name) for name in capi.__all__}
    documented = {name: thing for name, thing in found.items() if inspect.isroutine(thing) or inspect.isclass(thing)}
    assert len(documented) > 80
    assert [name for name, thing in documented.items() if not thing.__doc__] == []
