"""`naquid doctor`: what this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from .arguments import Commands, add_command, add_json
from .console import table
from .errors import EXIT_FAILED, EXIT_OK
from .stdio import say

EPILOG = """\
Asks the system rather than tables: sends datagrams in batches, asks for socket buffers, steers datagrams between two
sockets, makes a connection over loopback. ok: as good as it gets; note: worth knowing; warn: costs speed or datagrams;
bad: naquid does not work here, and the exit code is 1. Changes nothing.

examples:
  naquid doctor
  naquid doctor --json
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = add_command(commands, "doctor", "look at what this machine can do, and what to change", run, EPILOG)
    add_json(command, "print checks and conclusions as one JSON object")


def run(options: argparse.Namespace) -> int:
    from . import machine

    found = machine.checks()
    worst = [status for status in (machine.BAD, machine.WARN) if any(check.status == status for check in found)]
    verdict = {machine.BAD: "naquid does not work here", machine.WARN: "naquid works here, and could be faster"}
    conclusion = verdict[worst[0]] if worst else "naquid works here at its best"
    advice = [check for check in found if check.advice]
    works = machine.BAD not in worst
    if options.json:
        checks = [asdict(check) for check in found]
        print(json.dumps({"works": works, "conclusion": conclusion, "checks": checks}))
    else:
        rows = [[check.status, check.name, check.value] for check in found]
        table("What this machine can do", ["", "check", "found"], rows, text_columns=(0, 1, 2))
        say(f"{conclusion}." + (" What to do:" if advice else ""))
        for check in advice:
            say(f"  {check.status}: {check.name}: {check.advice}")
    return EXIT_OK if works else EXIT_FAILED
