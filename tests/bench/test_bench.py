"""The benches run, answer rightly and say what they should, with next to nothing to do. No time is asserted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as everything
from bench import compare, contenders, counts, games, prepare, scaling, tail, targets
from naquid.bench.points import PERCENTILES

ROOT = Path(__file__).parents[2]
KEYS = """requests seconds requests_per_second p50_us p99_us percentiles_us errors handshake_seconds client_cpu_s
    server_cpu_s client_rss_kb server_rss_kb gso gro naquid_version"""


def check_percentiles(found: dict[str, Any]) -> None:
    """They are those of the points they should be at, of one run."""
    values = dict(zip(PERCENTILES, found["percentiles_us"], strict=True))
    assert [*values.values()] == sorted(values.values())
    assert 0 < values[50] == found["p50_us"]
    assert values[99] == found["p99_us"]


def quiet(text: str) -> None:
    """Shows nothing."""


def naquid(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "naquid", "bench", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="session")
def native() -> Path:
    try:
        return prepare.native()
    except prepare.Missing as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(
    "flags",
    [
        "--mode batch --window 30",
        "--mode batch --window 7 --payload 1000",
        "--streams 20 --window 2",
        "--mode capi --workers 2",
    ],
)
def test_modes(flags: str) -> None:
    found = naquid("rpc", "--connections", 3, "--requests", 30, *flags.split())
    streams = 20 if "--streams" in flags else 1
    assert sorted(found) == sorted(KEYS.split())
    assert (found["requests"], found["errors"]) == (90 * streams, 0)
    check_percentiles(found)


@pytest.mark.parametrize("window", [1, 50])
def test_native(native: Path, window: int) -> None:
    flags = ["--connections", 3, "--requests", 1000, "--window", window, "--mode", "native", "--native", native]
    found = naquid("rpc", *flags)
    assert (found["requests"], found["errors"]) == (3000, 0)
    assert (found["p50_us"], found["p99_us"], found["percentiles_us"]) == (None, None, None), "nothing is timed"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("--mode native", "--native FILE"),
        ("--mode native --native x.so --payload 9", "8 bytes"),
        ("--mode capi --streams 2", "one stream"),
        ("--workers 2", "--mode capi"),
    ],
)
def test_what_does_not_go_together(flags: str, why: str) -> None:
    command = [sys.executable, "-m", "naquid", "bench", "rpc", *flags.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert why in done.stderr


def test_native_that_is_none(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.so"
    wrong.write_text("no library")
    command = [sys.executable, "-m", "naquid", "bench", "rpc", "--mode", "native", "--native", str(wrong)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "examples/native" in done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-1]


def test_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "plot", lambda folder: None)
    flags = ["--part", "compare", "--only", "naquid,naquid batch", "--rounds", "1", "--scale", "0.01"]
    assert everything.main([*flags, "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "results.json").read_text())
    assert set(report["results"]["rpc W=16"]) == {"naquid", "naquid batch"}
    assert report["percentiles"] == [*PERCENTILES]
    assert all(len(row["percentiles_us"]) == len(PERCENTILES) for row in report["results"]["rpc W=1"].values())
    text = (tmp_path / "results.md").read_text()
    assert "| Python handlers, W = 1 |" in text
    assert "not measured" in text
    assert str(ROOT) not in text


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (everything.main, ["--only", "nobody"]),
        (everything.main, ["--part", "nothing"]),
        (scaling.main, ["--only", "nobody"]),
        (counts.main, ["--only", "nobody"]),
        (tail.main, ["--only", "nobody"]),
    ],
)
def test_wrong_names(main: Callable[[list[str]], int], flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(flags)
    assert caught.value.code == 2
    assert flags[1] in capsys.readouterr().err


def test_memory_is_of_all_connections() -> None:
    assert contenders.naquid("asyncio")("memory", contenders.FULL) == [
        *contenders.NAQUID,
        *["idle", "--connections", "10000", "--json"],
    ]
    assert contenders.ceiling(Path("ceiling"))("memory", 0.25)[-1] == "3125"  # type: ignore[index]


def test_what_the_compiler_did_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(command: list[Any], what: str) -> str:
        command[-1].write_text("half")
        raise prepare.Missing("stopped")

    monkeypatch.setattr(prepare, "run", stopped)
    program = tmp_path / "program"
    program.write_text("of yesterday")
    with pytest.raises(prepare.Missing):
        prepare.compile_to(program, ["cc"], "compiling")
    assert [program] == [*tmp_path.iterdir()]
    assert program.read_text() == "of yesterday"


def test_a_peer_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise prepare.Missing("no ENet here")

    monkeypatch.setattr(prepare, "enet", missing)
    assert contenders.contenders(quiet, ["ENet"]) == ([], {"ENet": "no ENet here"})


def enet() -> contenders.Command:
    """Skipped where it cannot be had; that its program does not compile is a failure."""
    try:
        return contenders.enet(prepare.enet())
    except prepare.Missing as reason:
        if str(reason).startswith("compiling"):
            raise
        pytest.skip(str(reason))


PEERS = {
    "plain UDP": lambda: contenders.udp(prepare.udp()),
    "ENet": enet,
    "ceiling": lambda: contenders.ceiling(prepare.ceiling()),
    "asyncio TLS": lambda: contenders.peer(Path(sys.executable), "tls_rpc.py", (60e3, 600e3, 1e6)),
}


@pytest.mark.parametrize("window", [1, 16])
@pytest.mark.parametrize("peer", PEERS)
def test_percentiles_of_a_peer(peer: str, window: int) -> None:
    command = PEERS[peer]()(f"rpc W={window}", 0.01)
    found = compare.run_once(command)  # type: ignore[arg-type]
    assert found["errors"] == 0
    check_percentiles(found)


def test_percentiles_of_c() -> None:
    listed = re.search(r"percentiles\[\] = \{(.*)\}", (ROOT / "bench" / "clock.h").read_text())
    assert listed
    assert tuple(map(float, listed[1].split(","))) == PERCENTILES


def test_percentiles_are_medians_of_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(requests_per_second: float, percentiles: list[float] | None) -> dict[str, Any]:
        return {"requests_per_second": requests_per_second, "errors": 0, "percentiles_us": percentiles}

    runs = iter([run(1, [1.0, 7.0]), run(1, None), run(1, [3.0, 3.0]), run(1, None), run(1, [2.0, 9.0]), run(1, None)])
    monkeypatch.setattr(compare, "run_once", lambda command: next(runs))
    found = [contenders.Contender(name, lambda w, scale: [w] if w == "rpc W=1" else None) for name in ("timed", "not")]
    rows = compare.measure(found, 3, 1.0, 60.0, quiet)["rpc W=1"]
    assert rows["timed"].as_dict()["percentiles_us"] == [2.0, 7.0]
    assert rows["not"].as_dict()["percentiles_us"] is None


def report_with(percentiles: dict[str, list[float] | None]) -> dict[str, Any]:
    """results.json, with nothing but rates and these percentiles of contenders at W = 16."""
    rates = {"median": 2.0, "min": 1.0, "max": 3.0, "errors": 0}
    rows = {name: rates | {"percentiles_us": values} for name, values in percentiles.items()}
    workloads = {w.name: {"title": w.title, "unit": w.unit, "better": w.better} for w in contenders.WORKLOADS}
    results: dict[str, Any] = {name: {} for name in workloads}
    machine = everything.machine() | {"rounds": "1"}
    return {
        "machine": machine,
        "workloads": workloads,
        "percentiles": [*PERCENTILES],
        "results": results | {"rpc W=16": rows},
    }


def draw(report: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plots of a report; the module that drew them."""
    plot = pytest.importorskip("bench.plot", exc_type=ImportError)
    (folder / "results.json").write_text(json.dumps(report))
    monkeypatch.setattr(sys, "argv", ["plot.py", str(folder / "results.json"), str(folder)])
    return plot


def test_curves_of_latency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "naquid": [100.0 + p for p in PERCENTILES],
        "ENet": [500.0 + p for p in PERCENTILES],
        "ours, untimed": None,
    }
    plot = draw(report_with(values), tmp_path, monkeypatch)
    drawn: dict[str, Any] = {}
    finish = plot.finish

    def seen(figure: Any, file: Path, heading: str, footer: str, **more: Any) -> None:
        drawn[file.name] = figure, footer
        finish(figure, file, heading, footer, **more)

    monkeypatch.setattr(plot, "finish", seen)
    plot.main()
    figure, footer = drawn["latency.png"]
    assert "ours, untimed" in footer
    (axes,) = figure.axes
    ours, other = axes.get_lines()
    assert [*ours.get_ydata()] == values["naquid"]
    assert [*other.get_ydata()] == values["ENet"]
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"{p:g}" for p in PERCENTILES]
    assert ours.get_linewidth() > other.get_linewidth()
    assert {text.get_text() for text in axes.texts} == {"naquid", "ENet"}
    assert (tmp_path / "latency.png").stat().st_size > 0


def test_results_without_percentiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded before there were any is drawn without their curves."""
    report = report_with({"naquid": None})
    del report["percentiles"], report["results"]["rpc W=16"]["naquid"]["percentiles_us"]
    draw(report, tmp_path, monkeypatch).main()
    assert {file.name for file in tmp_path.glob("*.png")} == {"throughput.png"}


def test_names_beside_curves_do_not_overlap(tmp_path: Path) -> None:
    plot = pytest.importorskip("bench.plot", exc_type=ImportError)
    for places in ([], [0.5], [0.0, 0.0, 0.0], [0.98, 0.99, 1.0], [0.1, 0.5, 0.51, 0.52, 0.9], [0.5] * 16):
        found = plot.spread(places, 0.0625)
        assert all(above - below >= 0.0625 - 1e-9 for below, above in pairwise(found))
        assert all(-1e-9 <= place <= 1 + 1e-9 for place in found)
    assert plot.spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])


def test_target_rows() -> None:
    def series(median: float, **more: float) -> dict[str, Any]:
        return {"median": median, "errors": 0, "with_handshakes": None, **more}

    rows = {
        "rpc W=1": {"naquid": series(90.0), "ceiling": series(100.0), "ENet": series(10.0, errors=3)},
        "rpc W=5000": {"naquid": series(3e6, with_handshakes=2.1e6)},
        "handshake": {"naquid asyncio": series(3e3), "ceiling": series(4e3), "ceiling (verifying)": series(3e3)},
        "memory": {"naquid asyncio": series(50.0)},
    }
    found = {(row.work, row.against): row for row in targets.from_comparison(rows)}
    assert found["Python handlers, W = 1", "ceiling"].met is True
    assert found["Python handlers, W = 1", "ENet"].met is None, "one that lost replies is no measure"
    assert found["Python handlers, W = 1", "aiopquic"].ratio is None
    assert found["Python handlers, W = 5,000", "the original"].met is True
    assert found["handshakes", "ceiling"].met is False
    beside = found["handshakes", "ceiling (verifying)"]
    assert (beside.ratio, beside.met) == (1, None)
    assert found["memory of an idle connection", "45 KiB"].met is False
    assert len(targets.table(list(found.values()))) == len(found) + 3
    curve = {
        "connections": {"points": [{"x": 1, "cpu_us": 2.0}, {"x": 100, "cpu_us": 1.0}, {"x": 1000, "cpu_us": 1.1}]}
    }
    flat = list(targets.from_curves(curve))
    assert [row.met for row in flat] == [True, None]
    grown = targets.from_counts({"values": {"timers, 1": 10, "timers, 10,000": 13}})
    assert next(grown).met is False


def test_scaling() -> None:
    curves = scaling.measure(200, 1, quiet, most=10, names=["connections", "streams", "workers"])
    assert [point["x"] for point in curves["connections"]["points"]] == [1, 10]
    assert [point["x"] for point in curves["workers"]["points"]] == [1, 2, 4]
    assert not any(curve["trouble"] for curve in curves.values())
    assert "16 requests outstanding" in "\n".join(scaling.tables(curves))


def test_game() -> None:
    report = games.play(0.5, quiet, players=4, loss=0.01, delay=0.01, only=["naquid"])
    assert "trouble" not in report["naquid"]
    assert report["naquid"]["errors"] == 0
    assert report["naquid"]["events"] >= 16
    assert report["naquid"]["position_p50_ms"] >= 20
    assert "| event delay p99, ms |" in "\n".join(games.table(report))
    assert not games.failed(report)
    assert games.failed({"naquid": {"errors": 1}})
    assert games.failed({"naquid": {"trouble": "none"}})


@pytest.mark.parametrize(("now", "code"), [(100.0, 0), (104.0, 0), (106.0, 1), (50.0, 0)])
def test_counts(
    now: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = tmp_path / "counts.json"
    recorded.write_text(json.dumps({"for": {"compiler": "cc"}, "values": {"request": 100.0}}))
    monkeypatch.setattr(counts, "RECORDED", recorded)
    monkeypatch.setattr("bench.counts.shutil.which", lambda name: name)
    monkeypatch.setattr(counts, "surroundings", lambda: {"compiler": "cc"})
    monkeypatch.setattr(counts, "measure", lambda names: {"request": now})
    assert counts.main([]) == code
    assert ("FAILED" in capsys.readouterr().out) == bool(code)
    monkeypatch.setattr(counts, "surroundings", lambda: {"compiler": "another"})
    assert counts.main([]) == 0
    assert "another compiler" in capsys.readouterr().out


@pytest.mark.parametrize(("many", "code"), [(104.0, 0), (106.0, 1)])
def test_counts_beside_idle_connections(
    many: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bounded with any compiler, recorded or not."""
    monkeypatch.setattr(counts, "RECORDED", tmp_path / "none.json")
    monkeypatch.setattr("bench.counts.shutil.which", lambda name: name)
    monkeypatch.setattr(counts, "surroundings", lambda: {"compiler": "cc"})
    monkeypatch.setattr(counts, "measure", lambda names: {"beside 100 idle": 100.0, "beside 10,000 idle": many})
    assert counts.main([]) == code
    assert ("FAILED" in capsys.readouterr().out) == bool(code)


def test_counts_without_valgrind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("bench.counts.shutil.which", lambda name: None)
    assert counts.main([]) == 0
    assert "skipped" in capsys.readouterr().out


def test_tail() -> None:
    report = tail.measure(0.3, quiet, rate=200.0)
    assert [*report["cases"]] == [*tail.CASES]
    for name, case in report["cases"].items():
        assert not case.get("trouble")
        assert case["errors"] == 0
        assert case["sent"] == case["answered"] > 0
        assert case["ms"]["50"] <= case["ms"]["99"] <= case["ms"]["100"] == case["curve"][-1][1]
        assert name == "alone" or case["done"] > 0
    assert not tail.failed(report)
    text = "\n".join(tail.table(report))
    assert all(f"| {title} |" in text for title in tail.CASES.values())
    rows = list(targets.from_tail(report))
    assert len(rows) == len(tail.CASES)
    assert all(row.measured for row in rows)
