"""`naquid ping`: round trips of QUIC PING frames."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .arguments import Commands, add_client, add_command, add_json, positive, seconds
from .client import connecting
from .errors import EXIT_FAILED, EXIT_OK
from .stdio import say

if TYPE_CHECKING:
    import naquid
    from naquid.client import Connecting

EPILOG = """\
Opens a connection, then measures the time from each PING frame to its acknowledgement. The time of the handshake is its
own: without the name's resolution and the reading of certificates. Any QUIC server that agrees on the application
protocol "nq/1" will do. A PING without an answer within --timeout counts as lost, although QUIC goes on
repeating it. The time includes how long the peer holds an acknowledgement back (RFC 9000 13.2.1), often a millisecond:
`naquid call` has no such delay. Ctrl-C ends it with the summary. Exit code 1 when nothing was answered or the
connection was lost.

examples:
  naquid ping game.test 8443
  naquid ping localhost 8443 --ca certs/ca.pem -c 5 -i 0.2
  naquid ping 192.0.2.7 8443 --insecure -c 10 --json
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = add_command(commands, "ping", "measure round trips to a server", run, EPILOG)
    add_client(command)
    command.add_argument("-c", "--count", type=positive(int), metavar="N", help="stop after N; default: until Ctrl-C")
    command.add_argument("-i", "--interval", type=seconds, default=1.0, metavar="S", help="between two; default: 1")
    command.add_argument("-W", "--timeout", type=seconds, default=2.0, metavar="S", help="for an answer; default: 2")
    command.add_argument("-q", "--quiet", action="store_true", help="only the summary")
    add_json(command, "print the summary as one JSON object")


class Summary:
    """Round trips in milliseconds."""

    def __init__(self) -> None:
        self.sent = 0
        self.rtts: list[float] = []
        self.error: str | None = None

    @property
    def loss(self) -> float:
        """In percent."""
        return 100 * (1 - len(self.rtts) / self.sent) if self.sent else 0.0

    def figures(self) -> dict[str, float] | None:
        """min, avg, max and mdev as ping has them; None without an answer."""
        rtts = self.rtts
        if not rtts:
            return None
        mean = math.fsum(rtts) / len(rtts)
        mdev = math.sqrt(max(0.0, math.fsum((rtt - mean) ** 2 for rtt in rtts) / len(rtts)))
        return {"min": min(rtts), "avg": mean, "max": max(rtts), "mdev": mdev}


def when_begun(attempt: Connecting) -> list[float]:
    """When its handshake began, as the last of these: the certificates are read by then, and the name is resolved."""
    begun = [time.perf_counter()]
    kind = type(attempt)

    class Timed(kind):  # type: ignore[misc, valid-type]
        __slots__ = ()

        async def _resolve(self) -> Any:
            addresses = await kind._resolve(self)
            begun.append(time.perf_counter())
            return addresses

    attempt.__class__ = Timed
    return begun


def run(options: argparse.Namespace) -> int:
    return asyncio.run(_ping(options))


async def _ping(options: argparse.Namespace) -> int:
    import naquid

    summary = Summary()
    quiet = options.quiet or options.json
    attempt = connecting(options, naquid.Limits(keep_alive=10.0))
    begun = when_begun(attempt)
    async with attempt as conn:
        handshake = (time.perf_counter() - begun[-1]) * 1e3
        stats, remote = conn.stats(), conn.remote_address
        address = f"{remote[0]} port {remote[1]}" if remote else options.host
        if not options.json:
            version = {1: "QUIC v1", 0x6B3343CF: "QUIC v2"}.get(stats.version, f"QUIC {stats.version:#x}")
            say(f"PING {options.host} ({address}): {version}, {stats.cipher}, handshake {_ms(handshake)}", flush=True)
        interrupted = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, interrupted.set)
        begin = time.perf_counter()
        try:
            await _pings(conn, options, summary, interrupted, address, quiet)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        elapsed = time.perf_counter() - begin
    figures = summary.figures()
    if options.json:
        fields = {
            "host": options.host,
            "address": remote[0] if remote else None,
            "port": options.port,
            "handshake_ms": round(handshake, 3),
            "sent": summary.sent,
            "received": len(summary.rtts),
            "loss_percent": round(summary.loss, 3),
            **{f"{name}_ms": round(value, 4) for name, value in (figures or {}).items()},
            "rtts_ms": [round(rtt, 4) for rtt in summary.rtts],
            **({"error": summary.error} if summary.error else {}),
        }
        print(json.dumps(fields))
    else:
        say(f"\n--- {options.host} ping statistics ---")
        say(f"{summary.sent} sent, {len(summary.rtts)} answered, {summary.loss:.3g}% loss, time {elapsed * 1e3:.0f} ms")
        if figures:
            say(f"rtt {'/'.join(figures)} = {'/'.join(f'{value:.3f}' for value in figures.values())} ms")
    if summary.error:
        say(f"naquid: {summary.error}", sys.stderr)
    return EXIT_OK if summary.rtts and not summary.error else EXIT_FAILED


async def _pings(
    conn: naquid.Connection,
    options: argparse.Namespace,
    summary: Summary,
    interrupted: asyncio.Event,
    address: str,
    quiet: bool,
) -> None:
    import naquid

    stop = asyncio.ensure_future(interrupted.wait())
    due = time.monotonic()
    try:
        while not interrupted.is_set() and (options.count is None or summary.sent < options.count):
            number = summary.sent = summary.sent + 1
            answer = asyncio.ensure_future(conn.ping())
            await asyncio.wait({answer, stop}, timeout=options.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                answer.cancel()
                with suppress(asyncio.CancelledError, naquid.Error):
                    await answer
                if interrupted.is_set():
                    summary.sent -= 1  # it had no chance
                elif not quiet:
                    say(f"no answer from {address}: seq={number}", flush=True)
            else:
                try:
                    rtt = answer.result() * 1e3
                except naquid.Error as error:
                    summary.error = str(error)
                    return
                summary.rtts.append(rtt)
                if not quiet:
                    say(f"answer from {address}: seq={number} time={_ms(rtt)}", flush=True)
            due = max(due + options.interval, time.monotonic())
            if summary.sent != options.count:
                await asyncio.wait({stop}, timeout=due - time.monotonic())
    finally:
        stop.cancel()


def _ms(value: float) -> str:
    return f"{value:.3f} ms" if value < 100 else f"{value:.1f} ms"
