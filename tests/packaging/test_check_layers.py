"""The guard of the engine's floors, on a small engine that was made up for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_import import script

layers = script("check_layers")
pytestmark = pytest.mark.skipif(not shutil.which("cc") or not shutil.which("nm"), reason="no compiler here")

FLOORS = {"base": (), "tls": ("base",), "dns": ("base",), "include": ("tls", "dns"), "quic": ("include",)}

# Every arrow of this one points down.
SOUND = {
    "include/face.h": '#include "base/table.h"\nint face(void);\n',
    "base/table.h": "int table_get(void);\n",
    "base/table.c": '#include "base/table.h"\nint table_get(void) { return 1; }\n',
    "tls/session.c": '#include "base/table.h"\nint session(void);\nint session(void) { return table_get(); }\n',
    "quic/conn.h": '#include "face.h"\nint conn_get(void);\n',
    "quic/conn.c": '#include "quic/conn.h"\nint session(void);\nint conn_get(void) { return session(); }\n',
    "quic/stream.c": '#include "conn.h"\nint stream(void);\nint stream(void) { return conn_get(); }\n',
}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    folder = tmp_path / "engine"
    write(folder, SOUND)
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def check(engine: Path, allowed: dict[frozenset[str], str] | None = None) -> list[str]:
    """What the guard says of this tree, whose objects are made first."""
    objects = engine.parent / "objects"
    for source in engine.rglob("*.c"):
        target = objects / source.relative_to(engine).with_suffix(".o")
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-c", f"-I{engine}", f"-I{engine}/include", "-o", target, source], check=True)
    found = layers.check(engine, objects, FLOORS, allowed or {})
    assert isinstance(found, list)
    return found


def test_arrows_that_point_down(engine: Path) -> None:
    assert check(engine) == []


def test_an_include_that_points_up(engine: Path) -> None:
    write(engine, {"base/table.h": '#include "quic/conn.h"\nint table_get(void);\n'})
    # Not a word of tls/session.c, which has the arrow only because it includes that header.
    write(engine, {"quic/conn.h": "int conn_get(void);\n"})
    assert check(engine) == ["base/table.h includes quic/conn.h: an arrow up"]


def test_an_include_whose_name_the_preprocessor_makes(engine: Path) -> None:
    write(engine, {"base/table.c": '#define UP "tls/up.h"\n#include UP\nint table_get(void) { return 1; }\n'})
    write(engine, {"tls/up.h": "int up(void);\n"})
    assert check(engine) == ["base/table.c includes tls/up.h: an arrow up"]


def test_a_call_that_points_up(engine: Path) -> None:
    write(engine, {"base/table.c": "int conn_get(void);\nint table_get(void) { return conn_get(); }\n"})
    assert check(engine) == ["base/table.c calls conn_get of quic/conn.c: an arrow up"]


def test_data_is_as_good_as_a_call(engine: Path) -> None:
    write(
        engine,
        {
            "quic/conn.c": "int conns = 1;\nint conn_get(void) { return conns; }\n",
            "base/table.c": "extern int conns;\nint table_get(void) { return conns; }\n",
        },
    )
    assert check(engine) == ["base/table.c calls conns of quic/conn.c: an arrow up"]


def test_floors_side_by_side_do_not_know_each_other(engine: Path) -> None:
    write(engine, {"dns/resolve.c": "int session(void);\nint resolve(void) { return session(); }\n"})
    assert check(engine) == ["dns/resolve.c calls session of tls/session.c: an arrow aside, dns may not know tls"]


def test_the_public_face_is_above_what_it_is_made_of(engine: Path) -> None:
    write(engine, {"tls/session.c": '#include "face.h"\nint session(void);\nint session(void) { return 1; }\n'})
    assert check(engine) == ["tls/session.c includes include/face.h: an arrow up"]


def test_a_seam_stands_on_the_floor_that_calls(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(engine, {"quic/ops.h": "struct ops { int (*get)(void); };\n", "tls/user.c": '#include "quic/ops.h"\n'})
    assert check(engine) == ["tls/user.c includes quic/ops.h: an arrow up"]
    monkeypatch.setitem(layers.SEAMS, "quic/ops.h", "tls")
    assert check(engine) == []
    write(engine, {"quic/ops.h": '#include "quic/conn.h"\nstruct ops { int (*get)(void); };\n'})
    assert check(engine) == ["quic/ops.h includes quic/conn.h: an arrow up"]


def test_a_circle_inside_a_floor(engine: Path) -> None:
    write(
        engine,
        {
            "quic/conn.c": "int write_it(void);\nint conn_get(void) { return write_it(); }\n",
            "quic/write.c": "int stream(void);\nint write_it(void) { return stream(); }\n",
        },
    )
    (found,) = check(engine)
    assert found.splitlines() == [
        "quic/conn.c, quic/stream.c, quic/write.c call each other in a circle:",
        "    quic/conn.c calls write_it of quic/write.c",
        "    quic/stream.c calls conn_get of quic/conn.c",
        "    quic/write.c calls stream of quic/stream.c",
    ]
    circle = frozenset({"quic/conn.c", "quic/stream.c", "quic/write.c"})
    assert check(engine, {circle: "named, with its reason"}) == []


def test_an_exception_that_is_no_longer_needed(engine: Path) -> None:
    allowed = {frozenset({"quic/conn.c", "quic/stream.c"}): "they were one once"}
    assert check(engine, allowed) == ["quic/conn.c, quic/stream.c: no circle any more, take it out of CIRCLES"]


def test_a_folder_that_is_no_floor(engine: Path) -> None:
    write(engine, {"attic/old.c": "int old;\n"})
    assert check(engine) == ["attic/old.c: attic is no floor: add it to FLOORS in check_layers.py"]


def test_every_folder_of_the_engine_is_a_floor_and_every_floor_is_a_folder() -> None:
    assert {path.name for path in layers.ENGINE.iterdir() if path.is_dir()} == set(layers.FLOORS)
