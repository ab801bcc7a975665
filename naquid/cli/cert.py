"""`naquid cert`: an authority and certificates for development."""

from __future__ import annotations

import argparse
import ipaddress
import json
from pathlib import Path

from .arguments import Commands, add_command, add_json, positive
from .errors import EXIT_OK
from .stdio import say

EPILOG = """\
Writes ca.pem (what clients trust), ca-key.pem, cert.pem and key.pem (for the server). An authority that is already in
the folder signs again. --client writes client.pem and client-key.pem instead of a server's, for servers that ask for
certificates (--client-ca). Nothing is replaced: --force lets a certificate and its key be, an authority never is. For
development only: nobody but you trusts it, and its key lies in the folder.

examples:
  naquid cert --out certs
  naquid cert --out game --name game.test --name '*.game.test' --ip 192.0.2.7 --days 7
  naquid cert --out certs --client player-1
  naquid cert --out certs --force
"""


def _name(text: str) -> str:
    if not text.isascii() or not text.strip() or any(c.isspace() for c in text) or len(text) > 64:
        raise argparse.ArgumentTypeError(f"{text!r}: a name is 1 to 64 ASCII characters without spaces")
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _days(text: str) -> int:
    days: int = positive(int)(text)
    if days > 36500:
        raise argparse.ArgumentTypeError("must be at most 36500")
    return days


_days.__name__ = "int"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = add_command(commands, "cert", "make certificates for development", run, EPILOG)
    command.add_argument("--out", type=Path, default=Path("certs"), metavar="FOLDER", help="default: certs")
    command.add_argument(
        "--name",
        action="append",
        type=_name,
        default=[],
        metavar="NAME",
        help="host name or address of the server, repeatable; default: localhost, 127.0.0.1 and ::1",
    )
    command.add_argument(
        "--ip", action="append", type=_address, default=[], metavar="IP", help="address of the server, repeatable"
    )
    command.add_argument("--days", type=_days, default=30, metavar="N", help="validity; default: 30")
    command.add_argument("--client", type=_name, metavar="NAME", help="a client's certificate with this name")
    command.add_argument("--force", action="store_true", help="replace a certificate and a key that are there already")
    add_json(command, "print the paths as one JSON object")


def run(options: argparse.Namespace) -> int:
    from .certificates import create, create_client

    if options.client is not None:
        files = create_client(options.out, options.client, options.days, force=options.force)
        names = [options.client]
        server = f"naquid serve ... --client-ca {files.ca}"
        lines = [f"client: --cert {files.cert} --key {files.key}", f"server: {server}"]
    else:
        names = list(dict.fromkeys([*options.name, *options.ip])) or ["localhost", "127.0.0.1", "::1"]
        files = create(options.out, names, options.days, force=options.force)
        lines = [f"server: --cert {files.cert} --key {files.key}", f"client: --ca {files.ca}"]
    if options.json:
        fields = {"cert": str(files.cert), "key": str(files.key), "ca": str(files.ca), "names": names}
        print(json.dumps({**fields, "days": options.days}))
    else:
        say("\n".join(lines))
        say(f"for {', '.join(names)}; valid {options.days} day{'s' if options.days > 1 else ''}")
    return EXIT_OK
