"""Memory that is short for a while: what was promised comes whole, or ends with an error; nothing waits for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = Path(__file__).parent / "memory_child.py"


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS bounds an address space on Linux only")
def test_short_memory_loses_nothing_in_silence(ca: Any, leaf: Any, tmp_path: Path) -> None:
    for name, blob in (("ca.pem", ca.ca), ("cert.pem", leaf.cert), ("key.pem", leaf.key)):
        (tmp_path / name).write_bytes(Path(blob).read_bytes())
    child = subprocess.run([sys.executable, CHILD, tmp_path], capture_output=True, text=True, timeout=240, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    found = json.loads(child.stdout)
    assert set(found) == {"raw", "record", "call", "call_many", "call_soon", "notify"}
    for name, outcomes in found.items():
        assert set(outcomes) <= {"right", "error", "right at the end"}, (name, outcomes)
        assert outcomes["right at the end"] == 1, "with memory the next exchange is right"
        assert outcomes["right"] > 0
    assert sum(outcomes.get("error", 0) for outcomes in found.values()) > 10, "memory was short at no time"
