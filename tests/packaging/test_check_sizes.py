"""The guard of the bounds on files and functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_import import script

sizes = script("check_sizes")

C = """/* A file. */
#include <stdio.h>
#define SOME(x) \\
  do_it(x)

static const struct row table[] = {
    {1},
};

typedef struct pair {
  int a, b;
} pair;

int declared(int a,
             int b);
static int short_one(void) { return 1; }

static const char *
%s(int a,
   int b) { /* what it is for
             * is a long story */
  if (a) {
%s
  }
  return "x";
}

struct pair *next_one(void) {
  return 0;
}
"""

CYTHON = """
cdef struct Pair:
    int a

cdef class Thing:
    cdef int value
    def method(self):
        return 1

    cdef int %s(
        self, int b,
    ) except -1:
%s

        return 2


cpdef object last():
    return 3
"""

PYTHON = """
def outer():
    pass


class Thing:
    @decorated
    def %s(self):
        '''It has
        a text.'''
%s
        return 1
"""


def filled(template: str, name: str, body: int) -> str:
    """The text with a function of that name, which has so many lines more than its frame."""
    line = "    x = 1;" if template is C else "        x = 1"
    return template % (name, "\n".join([line] * body))


@pytest.mark.parametrize(
    ("template", "suffix", "frame", "others"),
    [
        (C, ".c", 8, {"next_one": 3}),
        (CYTHON, ".pyx", 5, {"method": 2, "last": 2}),
        (PYTHON, ".py", 4, {"outer": 2}),
    ],
)
def test_functions_are_found_with_their_lines(template: str, suffix: str, frame: int, others: dict[str, int]) -> None:
    found = sizes.READERS[suffix](filled(template, "the_long_one", 30))
    assert {function.name: function.lines for function in found} == {"the_long_one": frame + 30, **others}


@pytest.mark.parametrize(("template", "suffix", "frame"), [(C, ".c", 8), (CYTHON, ".pyx", 5), (PYTHON, ".py", 4)])
def test_a_function_of_81_lines_is_too_large(template: str, suffix: str, frame: int, tmp_path: Path) -> None:
    file = tmp_path / f"some{suffix}"
    file.write_text(filled(template, "fits", 80 - frame))
    assert sizes.too_large(file, "it") == []
    file.write_text(filled(template, "grew", 81 - frame))
    (sentence,) = sizes.too_large(file, "it")
    assert "grew has 81 lines" in sentence


def test_a_file_of_601_lines_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "some.h"
    file.write_text("int a;\n" * 600)
    assert sizes.too_large(file, "it") == []
    file.write_text("int a;\n" * 601)
    assert sizes.too_large(file, "it") == ["it: 601 lines, at most 600 please: split it by what its parts are for"]


def test_a_stub_is_counted_without_its_texts(tmp_path: Path) -> None:
    file = tmp_path / "some.pyi"
    texts = 'def f() -> int:\n    """A text\n\n    of four lines.\n    """\n\nX: int\n"""Another."""\n'
    file.write_text(texts * 300)
    assert sizes.too_large(file, "it") == []
    file.write_text(texts * 300 + "Y: int\n")
    assert sizes.too_large(file, "it") == ["it: 601 lines, at most 600 please: split it by what its parts are for"]


def test_what_was_generated_is_not_looked_at(tmp_path: Path) -> None:
    for name in ("kept/a.c", "kept/build/b.c", ".venv/c.py", "kept/notes.md", "kept/.hidden/d.h"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("\n")
    assert [path.relative_to(tmp_path).as_posix() for path in sizes.sources([tmp_path])] == ["kept/a.c"]


def test_every_function_of_the_engine_is_seen() -> None:
    """Layout is what functions of C are told by: one that is laid out otherwise would not be counted."""
    for file in sorted((sizes.ROOT / "src_cython" / "engine").rglob("*.c")):
        lines = file.read_text().splitlines()
        ends = {number for number, line in enumerate(lines, 1) if line == "}"}
        found = {function.last for function in sizes.functions_of_c(file.read_text())}
        assert found == ends, file.name
