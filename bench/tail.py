"""How long a client's calls take while others keep the server busy.

    python -m bench.tail [--seconds 10] [--rate 1000] [--only busy,upload] [--out FOLDER]

A server with one event loop, one client that calls it at a steady rate, and beside it, in a process of its own, one
load at a time, on connections of its own. A call is made when it is due, whether or not those before it were answered,
and its latency is from the call to the reply. --out writes tail.json and, with the peers' Python, tail.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from naquid.cli.certificates import create

from .games import _line, _talk
from .prepare import HERE, Missing, peer_python, run

SHARES = (50.0, 90.0, 99.0, 99.9, 100.0)  # percent
CURVE = [100 * (1 - 10 ** (-k / 8)) for k in range(33)]  # 0 to 99.99 %, evenly on the axis of the plot

CASES = {
    "alone": "nothing else",
    "busy": "a connection with 5,000 requests outstanding",
    "slow": "a handler of 1 ms, called 300 times a second",
    "slow_queue": "the same, 16 calls of one connection always outstanding",
    "upload": "an upload of 1 GiB after another",
    "handshakes": "64 clients that connect, leave, and connect again",
}


def _at(ordered: Sequence[int], share: float) -> float:
    """ms"""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] / 1e6


def one(command: list[str], case: str, rate: float, seconds: float) -> dict[str, Any]:
    """A case; the program is called as `server`, `probe PORT RATE SECONDS` and `KIND PORT`."""
    running = []
    try:
        running.append(server := _talk([*command, "server"]))
        port = str(_line(server)["port"])
        load = None
        if case != "alone":
            running.append(load := _talk([*command, case, port]))
        running.append(probe := _talk([*command, "probe", port, str(rate), str(seconds)]))
        result = _line(probe)
        if load is not None:
            assert load.stdin is not None
            load.stdin.close()
            result |= _line(load)
        latencies = sorted(result.pop("latencies"))
        if not latencies:
            raise Missing("no call was answered")
        return result | {
            "ms": {f"{share:g}": _at(latencies, share) for share in SHARES},
            "curve": [[share, _at(latencies, share)] for share in CURVE],
            "errors": result["wrong"] + result["sent"] - result["answered"],
        }
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(
    seconds: float, say: Callable[[str], None], rate: float = 1000.0, only: Sequence[str] = tuple(CASES)
) -> dict[str, Any]:
    """Each case; "trouble" when it could not be."""
    cases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="naquid-") as folder:
        files = create(Path(folder))
        command = [sys.executable, "-m", "bench.tail_naquid", str(files.ca), str(files.cert), str(files.key)]
        for case in only:
            say(f"tail: {rate:g} calls/s for {seconds:g} s beside {CASES[case]}")
            try:
                cases[case] = one(command, case, rate, seconds)
            except Missing as reason:
                cases[case] = {"trouble": str(reason)}
    return {"rate": rate, "seconds": seconds, "cases": cases, "titles": {name: CASES[name] for name in only}}


def table(report: dict[str, Any]) -> list[str]:
    """Markdown."""
    text = [
        f"One client makes {report['rate']:,.0f} calls a second for {report['seconds']:g} s, beside one load at a time;"
        " server, client and load are a process each. Milliseconds from call to reply.",
        "",
        "| beside | p50 | p90 | p99 | p99.9 | longest | load's count, in a second | errors |",
        "|---|" + "---:|" * 7,
    ]
    cases = report["cases"]
    for name, case in cases.items():
        if "trouble" not in case:
            values = " | ".join(f"{case['ms'][f'{share:g}']:.2f}" for share in SHARES)
            done = f"{case['done'] / report['seconds']:,.0f}" if "done" in case else ""
            text.append(f"| {CASES[name]} | {values} | {done} | {case['errors']} |")
    text += ["", *(f"* {CASES[name]}: {case['trouble']}" for name, case in cases.items() if "trouble" in case), ""]
    return text


def failed(report: dict[str, Any]) -> bool:
    return any(case.get("trouble") or case["errors"] for case in report["cases"].values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.tail", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="calls in a second")
    parser.add_argument("--only", default=",".join(CASES), help=f"of {','.join(CASES)}")
    parser.add_argument("--out", type=Path, help="folder for tail.json and tail.png")
    options = parser.parse_args(arguments)
    only = [name.strip() for name in options.only.split(",")]
    if unknown := set(only) - set(CASES):
        parser.error(f"no case is called {', '.join(sorted(unknown))}")
    report = measure(options.seconds, lambda text: print(text, file=sys.stderr), options.rate, only)
    print("\n".join(table(report)))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        file = options.out / "tail.json"
        file.write_text(json.dumps(report, indent=1) + "\n")
        try:
            run([peer_python(), HERE / "plot.py", file, options.out], "drawing the plot")
        except Missing as reason:
            print(reason, file=sys.stderr)
    return 1 if failed(report) else 0


if __name__ == "__main__":
    sys.exit(main())
