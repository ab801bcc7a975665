"""compile_commands.json, by which editors read the C files: complete, and with the flags that are really used."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "compile_commands.json"


@pytest.fixture(scope="module")
def commands() -> dict[str, list[str]]:
    """The compiler's arguments by the file they are for, as written anew."""
    FILE.unlink(missing_ok=True)
    argv = [sys.executable, "setup.py", "--quiet", "build_ext", "--compdb"]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    entries = json.loads(FILE.read_text())
    assert {entry["directory"] for entry in entries} == {str(ROOT)}
    return {entry["file"]: entry["arguments"] for entry in entries}


def test_every_c_file_is_in_it(commands: dict[str, list[str]]) -> None:
    folders = ("src_cython/engine", "tests/engine")
    files = {str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.c")}
    assert set(commands) == files


@pytest.mark.parametrize("file", ["src_cython/engine/base/table.c", "tests/engine/test_table.c"])
def test_a_tool_that_follows_it_can_read_the_file(commands: dict[str, list[str]], file: str) -> None:
    argv = commands[file]
    assert argv[-4:-2] == ["-c", file]
    done = subprocess.run(
        [*argv[: argv.index("-MMD")], "-fsyntax-only", file], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_flags_of_tests_are_those_of_their_makefile(commands: dict[str, list[str]], tmp_path: Path) -> None:
    argv = commands["tests/engine/test_table.c"]
    prefix = Path(argv[argv.index("-isystem") + 1]).parent
    asked = ["make", "-C", "tests/engine", "-n", f"B={tmp_path}", f"PREFIX={prefix}", f"{tmp_path}/test_table.o"]
    printed = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (line,) = (line for line in printed.splitlines() if line.endswith(" test_table.c"))

    def flags(words: list[str]) -> set[str]:
        return {word for word in words if word.startswith(("-W", "-D", "-O", "-std", "-g")) and word != "-Werror"}

    assert flags(argv) == flags(shlex.split(line))
