"""A game: players in a room behind a network that loses and delays, over naquid and over ENet.

    python -m bench.games [--players 64] [--seconds 10] [--loss 0.01] [--delay 0.05]

Each player sends its position 30 times a second as a datagram (ENet: an unreliable packet) and 10 events a second as
RPC calls (ENet: reliable packets that are echoed). 30 times a second the server sends everyone the positions of all, 16
bytes each, in one datagram. All of it passes a `naquid.testing.Relay` in a process of its own: `loss` and `delay` each
way.
Position delay: from one player's sending to another's receiving, through the server. Event delay: from call to reply.
Server, relay and all players are one process each. naquid's two are Python (`game_naquid.py`), ENet's two are C.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from naquid.cli.certificates import create
from naquid.testing import Relay

from . import prepare
from .prepare import HERE, Missing


def _talk(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("{"):
        raise Missing(f"{process.args[0]} ended with exit code {process.wait()}")  # type: ignore[index, str-bytes-safe]
    answer = json.loads(line)
    assert isinstance(answer, dict)
    return answer


def one(command: list[str], players: int, seconds: float, loss: float, delay: float) -> dict[str, Any]:
    """A game over one library; its program is called as `server PLAYERS` and as `client PORT PLAYERS SECONDS`."""
    server = _talk([*command, "server", str(players)])
    assert server.stdin is not None
    try:
        port = int(_line(server)["port"])
        with Relay(port, loss=loss, delay=delay, seed=1) as relay:
            client = _talk([*command, "client", str(relay.port), str(players), str(seconds)])
            assert client.stdin is not None
            result = _line(client)
            client.stdin.close()
            client.wait(10)
            up, down = relay.to_server.counters, relay.to_client.counters
        server.stdin.close()
        result |= _line(server)
        share = players * seconds
        return result | {
            "bytes_up": up.received_bytes / share,
            "bytes_down": down.received_bytes / share,
            "datagrams_up": up.received / share,
            "datagrams_down": down.received / share,
            "client_cpu_us": result["client_cpu_s"] / share * 1e6,
            "server_cpu_us": result["server_cpu_s"] / share * 1e6,
        }
    finally:
        server.kill()
        server.wait()


def play(
    seconds: float,
    say: Callable[[str], None],
    players: int = 64,
    loss: float = 0.01,
    delay: float = 0.05,
    only: Sequence[str] = ("naquid", "ENet"),
) -> dict[str, Any]:
    """The game over each library; "trouble" when it could not be."""
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="naquid-") as folder:
        files = create(Path(folder))
        names = [str(files.ca), str(files.cert), str(files.key)]
        commands: dict[str, Callable[[], list[str]]] = {
            "naquid": lambda: [sys.executable, "-m", "bench.game_naquid", *names],
            "ENet": lambda: [str(prepare.enet("enet_game"))],
        }
        for name in only:
            say(f"game: {players} players over {name}, {seconds:g} s")
            try:
                report[name] = one(commands[name](), players, seconds, loss, delay)
            except Missing as reason:
                report[name] = {"trouble": str(reason)}
    report["about"] = {"players": players, "seconds": seconds, "loss": loss, "delay": delay}
    return report


ROWS = [
    ("bytes to the server, for each player and second", "bytes_up", "{:,.0f}"),
    ("bytes to the player, for each player and second", "bytes_down", "{:,.0f}"),
    ("datagrams to the server, for each player and second", "datagrams_up", "{:,.1f}"),
    ("datagrams to the player, for each player and second", "datagrams_down", "{:,.1f}"),
    ("CPU of the server, µs for each player and second", "server_cpu_us", "{:,.0f}"),
    ("CPU of the players' process, the same", "client_cpu_us", "{:,.0f}"),
    ("position delay p50, ms", "position_p50_ms", "{:.1f}"),
    ("position delay p90, ms", "position_p90_ms", "{:.1f}"),
    ("position delay p99, ms", "position_p99_ms", "{:.1f}"),
    ("event delay p50, ms", "event_p50_ms", "{:.1f}"),
    ("event delay p90, ms", "event_p90_ms", "{:.1f}"),
    ("event delay p99, ms", "event_p99_ms", "{:.1f}"),
    ("snapshots that arrived", "snapshots", "{:,.0f}"),
    ("events answered", "events", "{:,.0f}"),
    ("events missing or wrong", "errors", "{:,.0f}"),
]


def table(report: dict[str, Any]) -> list[str]:
    """Markdown."""
    about = report["about"]
    names = [name for name in report if name != "about" and "trouble" not in report[name]]
    text = [
        f"{about['players']} players in a room for {about['seconds']:g} s: 30 positions a second by datagram, 10"
        f" events a second by RPC, {about['loss']:.0%} loss and {1e3 * about['delay']:g} ms delay each way. ENet"
        " does not encrypt; its processes are C, naquid's are Python.",
        "",
        f"| | {' | '.join(names)} |",
        "|---|" + "---:|" * len(names),
    ]
    text += [f"| {title} | {' | '.join(form.format(report[n][key]) for n in names)} |" for title, key, form in ROWS]
    text += ["", *(f"* {n}: {r['trouble']}" for n, r in report.items() if "trouble" in r), ""]
    return text


def failed(report: dict[str, Any]) -> bool:
    """naquid's game could not be, or its events had missing or wrong replies."""
    return "trouble" in report["naquid"] or bool(report["naquid"]["errors"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.games", description=__doc__)
    parser.add_argument("--players", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--loss", type=float, default=0.01)
    parser.add_argument("--delay", type=float, default=0.05)
    options = parser.parse_args(arguments)
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    report = play(options.seconds, say, options.players, options.loss, options.delay)
    print("\n".join(table(report)))
    return 1 if failed(report) else 0


if __name__ == "__main__":
    sys.exit(main())
