"""`naquid versions`: what is running here."""

from __future__ import annotations

import argparse
import json
import platform
import sys

from .errors import EXIT_OK


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = commands.add_parser("versions", help="versions of naquid, of what is built into it, and of Python")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import naquid

    versions = {
        "naquid": naquid.__version__,
        **naquid.versions(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
    }
    if options.json:
        json.dump(versions, sys.stdout)
        print()
    else:
        for name, version in versions.items():
            print(f"{name:10} {version}")
    return EXIT_OK
