"""`naquid versions`: what is running here, and what it was built from."""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

from .arguments import Commands, add_command, add_json
from .errors import EXIT_OK
from .stdio import say

EPILOG = """\
compiler, flags and variant are those of the extension module; pins are the sources of the native libraries in it, with
their SHA-256; patched is what the build changes in such a source.

examples:
  naquid versions
  naquid versions --json
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    about = "show versions: naquid, what is built into it, Python"
    add_json(add_command(commands, "versions", about, run, EPILOG))


def run(options: argparse.Namespace) -> int:
    found = collect()
    if options.json:
        print(json.dumps(found))
        return EXIT_OK
    pins = found.pop("pins")
    for name, version in found.items():
        say(f"{name:9} {version}")
    for name, pin in pins.items():
        loose = "" if pin.get("pinned", True) else " (not the pinned one)"
        say(f"{'source':9} {name} {pin['version']}{loose}, SHA-256 {pin['sha256']}")
        for change in pin.get("patched", ()):
            say(f"{'patched':9} {name}: {change}")
    return EXIT_OK


def collect() -> dict[str, Any]:
    """What --json prints."""
    import naquid

    return {
        "naquid": naquid.__version__,
        **naquid.versions(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
    }
