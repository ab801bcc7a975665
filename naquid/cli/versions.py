"""`naquid versions`: what is running here, and what it was built from."""

from __future__ import annotations

import argparse
import json
import mmap
import platform
import re
from pathlib import Path
from typing import Any

from .arguments import Commands, add_command, add_json
from .errors import EXIT_OK

EPILOG = """\
"pins" are the SHA-256 of the native libraries' sources; they are told in a clone of the repository, where the table of
pins is. "compiler" is what the extension module says of itself.

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
        print(f"{name:9} {version if version is not None else 'unknown'}")
    for name, pin in pins.items():
        print(f"{'pin':9} {name} {pin['version']}, SHA-256 {pin['sha256']}")
    return EXIT_OK


def collect() -> dict[str, Any]:
    """What --json prints. compiler and flags are None where the extension does not tell."""
    import naquid

    built: dict[str, Any] = dict(naquid.versions())
    pins = built.pop("pins", None)
    return {
        "naquid": naquid.__version__,
        "ngtcp2": built.pop("ngtcp2"),
        "tls": built.pop("tls"),
        "compiler": built.pop("compiler", None) or _compiler(),
        "flags": built.pop("flags", None),
        **built,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "pins": pins or _pins(),
    }


def _compiler() -> str | None:
    """As compilers leave it in what they make."""
    from naquid import _naquid

    path = getattr(_naquid, "__file__", None)
    if not path:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = re.search(rb"(?:GCC: \([^)\0]{0,100}\) [0-9.]+|(?:\w+ )?clang version [0-9.]+)", content)
        return found.group().decode(errors="replace") if found else None


def _pins() -> dict[str, dict[str, str]]:
    """Of the libraries that are built in, from the table of a clone."""
    import tomllib

    import naquid

    table = Path(naquid.__file__).parent.parent / "vendor" / "pins.toml"
    try:
        pins = tomllib.loads(table.read_text())
    except (OSError, ValueError):
        return {}
    tls = naquid.versions()["tls"].lower()
    names = ["ngtcp2", "boringssl" if tls.startswith("boringssl") else "aws-lc"]
    return {
        name: {"version": str(pins[name]["version"]), "sha256": str(pins[name]["sha256"])}
        for name in names
        if name in pins
    }
