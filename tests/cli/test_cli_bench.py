"""bench and demo, with little to do: what is printed, and the documented keys."""

from __future__ import annotations

import importlib.util
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from cli_command import Start, on_terminal, run

from naquid.bench.load import Snapshot
from naquid.cli.bench import Monitor

RPC = """requests seconds requests_per_second p50_us p99_us percentiles_us errors handshake_seconds client_cpu_s
    server_cpu_s client_rss_kb server_rss_kb gso gro naquid_version"""
SMALL: dict[str, tuple[list[Any], list[str]]] = {
    "rpc": (["--connections", 3, "--requests", 50, "--window", 4], RPC.split()),
    "bulk": (["--seconds", 0.2], ["bytes", "seconds", "gbit_per_second", "verified"]),
    "handshake": (["--count", 20], ["count", "seconds", "handshakes_per_second"]),
}


@pytest.mark.parametrize("workload", SMALL)
def test_keys(workload: str) -> None:
    arguments, keys = SMALL[workload]
    found = run("bench", workload, *arguments, "--json").fine().json
    assert sorted(found) == sorted(keys)


@pytest.mark.parametrize("mode", ["python", "asyncio", "capi"])
def test_modes(mode: str) -> None:
    done = run("bench", "rpc", *SMALL["rpc"][0], "--mode", mode, "--payload", 100, "--json").fine()
    assert (done.json["requests"], done.json["errors"]) == (150, 0)
    assert 0 < done.json["p50_us"] <= done.json["p99_us"]
    assert not done.err, "nothing but the result, where there is no terminal"


@pytest.mark.parametrize("mode", ["asyncio", "capi"])
def test_busy_poll(mode: str) -> None:
    arguments = ["--connections", 1, "--requests", 200, "--window", 1, "--mode", mode, "--busy-poll", 50]
    done = run("bench", "rpc", *arguments, "--json").fine()
    assert (done.json["requests"], done.json["errors"]) == (200, 0)
    for workload in ("bulk", "handshake"):
        run("bench", workload, *SMALL[workload][0], "--busy-poll", 50, "--json").fine()


def test_bulk_is_verified() -> None:
    found = run("bench", "bulk", "--seconds", 0.2, "--json").fine().json
    assert found["verified"] is True
    assert found["bytes"] > 0


def test_idle() -> None:
    found = run("bench", "idle", "--connections", 20, "--json").fine().json
    assert found["connections"] == 20


@pytest.mark.parametrize("workload", SMALL)
def test_tables(workload: str) -> None:
    done = run("bench", workload, *SMALL[workload][0]).fine()
    assert "result" in done.out
    assert "100 %" in done.err


def test_live_table_on_a_terminal() -> None:
    code, written = on_terminal("bench", "bulk", "--seconds", 1)
    assert code == 0
    assert "Gbit/s now" in written
    assert "every byte compared" in written


def test_errors_are_counted_and_end_with_1() -> None:
    done = run("bench", "rpc", "--connections", 2, "--requests", 200_000, "--window", 1, "--limit", 0.3, "--json")
    assert done.code == 1
    assert done.json["errors"] > 0
    assert "wrong or missing" in done.err


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="no matplotlib here")
@pytest.mark.parametrize("workload", SMALL)
def test_plot(workload: str, tmp_path: Path) -> None:
    run("bench", workload, *SMALL[workload][0], "--plot", tmp_path / "out.png").fine()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_plot_that_cannot_be(tmp_path: Path) -> None:
    done = run("bench", "bulk", "--seconds", 3600, "--plot", tmp_path / "none" / "out.png")  # it is said before the run
    done.failed("none" if importlib.util.find_spec("matplotlib") else "pip install matplotlib")


def test_rates() -> None:
    monitor = Monitor("requests", 2.0)
    with monitor.shown("title", True) as see:
        for tenth in range(1, 21):
            see(Snapshot(tenth / 10, 50 * tenth, tenth / 20, [1000, 3000]))
    rates = monitor.rates()
    assert 9 <= len(rates) <= 20
    assert all(rate == pytest.approx(1000) for _, rate in rates)


def test_demo() -> None:
    done = run("demo", "--connections", 4, "--requests", 100, "--window", 8).fine()
    assert "All 1,200 replies" in done.out
    found = run("demo", "--connections", 4, "--requests", 100, "--window", 8, "--no-more", "--json").fine().json
    assert [one["requests"] for one in found["runs"]] == [400]


def test_interrupted(start: Start) -> None:
    bench = start("bench", "bulk", "--seconds", 60, "--json", ready=False)
    time.sleep(2)
    done = bench.end(signal.SIGINT)
    assert (done.code, done.err) == (130, "")
    assert done.json == {"error": "interrupted", "exit_code": 130}
