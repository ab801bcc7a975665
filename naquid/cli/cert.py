"""`naquid cert`: an authority and a certificate for development."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .console import positive
from .errors import EXIT_OK

EPILOG = """\
Writes ca.pem (what clients trust), ca-key.pem, cert.pem and key.pem (for the server). An authority that is already in
the folder signs again. For development only: nobody but you trusts it.

examples:
  naquid cert --out certs
  naquid cert --out certs --name game.test --name 192.0.2.7 --days 7
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = commands.add_parser(
        "cert",
        help="make a development authority and a server certificate",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--out", type=Path, default=Path("certs"), metavar="FOLDER", help="default: certs")
    command.add_argument(
        "--name",
        action="append",
        metavar="NAME",
        help="host name or address of the server, repeatable; default: localhost, 127.0.0.1 and ::1",
    )
    command.add_argument("--days", type=positive(int), default=30, help="validity of the certificate; default: 30")
    command.add_argument("--json", action="store_true", help="print the paths as one JSON object")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from .certificates import create

    names = options.name or ["localhost", "127.0.0.1", "::1"]
    files = create(options.out, names, options.days)
    if options.json:
        print(json.dumps({"cert": str(files.cert), "key": str(files.key), "ca": str(files.ca), "names": names}))
    else:
        print(f"server: --cert {files.cert} --key {files.key}")
        print(f"client: --ca {files.ca}")
        print(f"for {', '.join(names)}; valid {options.days} days")
    return EXIT_OK
