"""`naquid call`: one request."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from .arguments import Commands, add_client, add_command, add_json, positive, seconds, stream_name
from .client import connecting
from .errors import EXIT_FAILED, EXIT_OK, CommandError, UsageError
from .stdio import standard_input

EPILOG = """\
The payload is the argument's text in UTF-8; "-" reads it from standard input, --hex takes hexadecimal digits. The reply
goes to standard output: text where it is text, otherwise hexadecimal digits; --output says what it shall be. An error
reply goes to standard error, and the exit code is 1.

examples:
  naquid call game.test 8443 lobby 1 "hello" --ca ca.pem
  naquid call localhost 8443 rpc 7 --hex 00ff10 --ca certs/ca.pem --json
  naquid call localhost 8443 rpc 7 - --output raw --ca certs/ca.pem < request.bin > reply.bin
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = add_command(commands, "call", "send one request and print the reply", run, EPILOG)
    add_client(command)
    command.add_argument("name", type=stream_name, metavar="NAME", help="name of the RPC stream")
    command.add_argument("type", type=positive(int), metavar="TYPE", help="type of the request, 1 to 32767")
    command.add_argument("payload", nargs="?", default="", metavar="PAYLOAD", help='text, or "-" for standard input')
    command.add_argument("--hex", action="store_true", help="PAYLOAD is hexadecimal digits")
    command.add_argument("--timeout", type=seconds, default=10.0, metavar="S", help="for the reply; default: 10")
    command.add_argument("--notify", action="store_true", help="send a notification: there is no reply")
    command.add_argument("--output", choices=["auto", "text", "hex", "raw"], default="auto", help="default: auto")
    add_json(command, "print the reply as one JSON object")


def run(options: argparse.Namespace) -> int:
    if options.type > 32767:
        raise UsageError("TYPE is 1 to 32767")
    return asyncio.run(_call(options, _payload(options)))


def _payload(options: argparse.Namespace) -> bytes:
    text: str = options.payload
    if text == "-":
        data = standard_input().read()
        if not options.hex:
            return data
        text = data.decode("ascii", "replace")
    if not options.hex:
        return text.encode(errors="surrogateescape")
    try:
        return bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        raise UsageError("with --hex, PAYLOAD is an even number of hexadecimal digits") from None


async def _call(options: argparse.Namespace, payload: bytes) -> int:
    import naquid

    async with connecting(options) as conn:
        rpc = await conn.open_rpc(options.name)
        if options.notify:
            rpc.notify(options.type, payload)
            if options.json:
                print(json.dumps({"sent": len(payload)}))
            return EXIT_OK
        begin = time.perf_counter()
        try:
            reply = await rpc.call(options.type, payload, timeout=options.timeout)
        except naquid.RpcError as error:
            took = time.perf_counter() - begin
            if options.json:
                print(json.dumps({"result": error.code, **_fields(error.payload, took)}))
            shown = f": {_shown(error.payload)}" if error.payload else ""
            print(f"naquid: the server answered with error {error.code}{shown}", file=sys.stderr)
            return EXIT_FAILED
        except naquid.CallTimeout:
            raise CommandError(f"no reply came within {options.timeout:g} s: --timeout allows more") from None
        took = time.perf_counter() - begin
    if options.json:
        print(json.dumps({"result": 0, **_fields(reply, took)}))
    elif options.output == "raw":
        sys.stdout.buffer.write(reply)
        sys.stdout.buffer.flush()
    elif options.output == "hex":
        print(reply.hex())
    elif options.output == "text":
        print(_printable(reply.decode(errors="replace")))
    else:
        print(_shown(reply))
    return EXIT_OK


def _text(data: bytes) -> str | None:
    """As text, when it is nothing but text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\n\t" for c in text) else None


def _printable(text: str) -> str:
    """What could move the cursor of a terminal is shown as a replacement character."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _shown(data: bytes) -> str:
    text = _text(data)
    return data.hex() if text is None else text


def _fields(data: bytes, took: float) -> dict[str, object]:
    return {"bytes": len(data), "text": _text(data), "hex": data.hex(), "milliseconds": round(took * 1e3, 3)}
