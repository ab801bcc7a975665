"""Python handlers that need the processor, on one worker thread, on several, and in several processes.

    python -m bench.scaling_handlers [--quick] [--python NAME=PYTHON ...] [--out FOLDER]

Each run is a server (naquid.capi) and one client that keeps every connection busy for a while; each request makes the
handler compute for about 100 µs. Interleaved passes over every interpreter given by --python (default: this one), which
needs naquid and its bench installed. A machine that does other things meanwhile spoils the ratios: the load average
before each pass is reported with them. Writes scaling_handlers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from naquid import capi

from .compare import run_once
from .prepare import HERE, Missing

CERTS = HERE.parent / "tests" / "packaging" / "certs"
CONNECTIONS = 16
WINDOW = 8
WORK = 2500  # turns of the handler's loop: about 100 µs
KINDS = (("thread", 1), ("threads", 2), ("threads", 4), ("processes", 2), ("processes", 4))


def handler(rpc: Any, type: int, msgid: int, data: bytes) -> None:
    total = 0
    for i in range(WORK):
        total += i * i & 7
    capi.nq_rpc_reply(rpc, msgid, total.to_bytes(8, "big"))


def expected() -> bytes:
    return sum(i * i & 7 for i in range(WORK)).to_bytes(8, "big")


def interpreter() -> dict[str, Any]:
    """Of this process, now that naquid is imported."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {
        "python": sys.version.split()[0],
        "free_threaded_build": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "gil": gil,
    }


def serve(workers: int) -> None:
    """Until standard input ends. Says its port, then the processor time it has used."""
    capi.nq_log_config(capi.nq_logconf_t(callback=lambda text: print(text, file=sys.stderr)))
    server = capi.nq_server_create(workers)
    assert server is not None
    address = capi.nq_addr_t("127.0.0.1", port=0, cert=CERTS / "cert.pem", key=CERTS / "key.pem")
    hdmap = capi.nq_server_listen(server, address, capi.nq_svconf_t(idle_timeout=capi.nq_time_sec(60)))
    if hdmap is None or hdmap.address is None:
        sys.exit("the server could not listen; the log says why")
    capi.nq_hdmap_rpc_handler(hdmap, "work", capi.nq_rpc_handler_t(on_rpc_request=handler))
    capi.nq_server_start(server, False)
    print(json.dumps({"port": hdmap.address[1], **interpreter()}), flush=True)
    sys.stdin.read()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime}), flush=True)
    os._exit(0)


class Client:
    """Keeps WINDOW requests outstanding on each of its connections."""

    def __init__(self, ports: list[int]) -> None:
        self.answered = 0
        self.errors = 0
        self.stopping = False
        self.opened = 0
        self.reply = expected()
        client = capi.nq_client_create(CONNECTIONS, CONNECTIONS)
        assert client is not None
        self.client = client
        hdmap = capi.nq_client_hdmap(self.client)
        capi.nq_hdmap_rpc_handler(hdmap, "work", capi.nq_rpc_handler_t(on_rpc_open=self._open))
        conf = capi.nq_clconf_t(
            insecure=True, handshake_timeout=capi.nq_time_sec(30), idle_timeout=capi.nq_time_sec(60),
            on_open=lambda conn, pctx: capi.nq_conn_rpc(conn, "work"),
        )  # fmt: skip
        for number in range(CONNECTIONS):
            capi.nq_client_connect(self.client, capi.nq_addr_t("127.0.0.1", port=ports[number % len(ports)]), conf)

    def _open(self, rpc: Any, pctx: Any) -> None:
        self.opened += 1
        for _ in range(WINDOW):
            capi.nq_rpc_call(rpc, 1, b"", self._replied)

    def _replied(self, rpc: Any, result: int, data: bytes) -> None:
        if result != capi.NQ_OK or data != self.reply:
            self.errors += not self.stopping
            return
        self.answered += 1
        if not self.stopping:
            capi.nq_rpc_call(rpc, 1, b"", self._replied)

    def poll_for(self, seconds: float, enough: int = 0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (enough and self.opened >= enough):
            capi.nq_client_poll(self.client)


def run(kind: str, count: int, seconds: float) -> dict[str, Any]:
    """One run: the server's processes, and the client here."""
    each = [1] * count if kind == "processes" else [count]
    command = [sys.executable, "-m", "bench.scaling_handlers", "--serve"]
    servers = [
        subprocess.Popen([*command, str(workers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for workers in each
    ]
    try:
        said = [json.loads(server.stdout.readline()) for server in servers if server.stdout]
        client = Client([one["port"] for one in said])
        client.poll_for(30.0, CONNECTIONS)
        if client.opened < CONNECTIONS:
            raise SystemExit(f"only {client.opened} of {CONNECTIONS} connections opened")
        client.poll_for(0.3)
        before, begin = client.answered, time.monotonic()
        client.poll_for(seconds)
        rate = (client.answered - before) / (time.monotonic() - begin)
        client.stopping = True
        return {"requests_per_second": rate, "errors": client.errors, **said[0]}
    finally:
        for server in servers:
            server.communicate()


def measure(pythons: dict[str, str], passes: int, seconds: float) -> list[dict[str, Any]]:
    runs: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    loads = []
    for number in range(passes):
        loads.append(os.getloadavg()[0])
        for name, python in pythons.items():
            for kind, count in KINDS:
                print(f"pass {number + 1}: {name}, {count} {kind}", file=sys.stderr)
                command = [python, "-m", "bench.scaling_handlers", "--one", kind, "--count", str(count)]
                one = run_once([*command, "--seconds", str(seconds)])
                if one["errors"]:
                    raise Missing(f"{one['errors']} replies were wrong or missing")
                runs.setdefault((name, kind, count), []).append(one)
    rows = []
    for (name, kind, count), found in runs.items():
        rates = [one["requests_per_second"] for one in found]
        alone = [one["requests_per_second"] for one in runs[name, "thread", 1]]
        rows.append({
            "interpreter": name, "gil": found[0]["gil"], "python": found[0]["python"], "kind": kind, "count": count,
            "requests_per_second": statistics.median(rates),
            # Of the same pass: what the machine does meanwhile changes from one pass to the next.
            "ratio": statistics.median(rate / one for rate, one in zip(rates, alone, strict=True)),
            "ratios": [round(rate / one, 2) for rate, one in zip(rates, alone, strict=True)],
            "loads": [round(load, 1) for load in loads],
        })  # fmt: skip
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    text = ["| interpreter | server | requests/s | to 1 thread | of each pass |", "|---|---|---:|---:|---|"]
    for row in rows:
        lock = "global lock" if row["gil"] else "free-threaded"
        text.append(
            f"| CPython {row['python']}, {lock} | {row['count']} {row['kind']} | {row['requests_per_second']:,.0f} "
            f"| {row['ratio']:.2f} | {', '.join(map(str, row['ratios']))} |"
        )
    return "\n".join(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.scaling_handlers", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--passes", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve)
    if options.one:
        print(json.dumps(run(options.one, options.count, options.seconds)))
        return 0
    pythons = dict(word.partition("=")[::2] for word in options.python) or {"this": sys.executable}
    rows = measure(pythons, options.passes or (1 if options.quick else 5), options.seconds or 2.0)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling_handlers.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    print("\nload average before each pass: " + ", ".join(map(str, rows[0]["loads"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
