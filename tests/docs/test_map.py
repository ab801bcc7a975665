"""ARCHITECTURE.md is the map: each file of the engine and each part of the binding is on it once, and nothing else. So
are the folders of tests."""

from __future__ import annotations

import re

from blocks import ROOT

MAP = (ROOT / "ARCHITECTURE.md").read_text()
ENGINE = ROOT / "src_cython" / "engine"


def section(title: str) -> str:
    return MAP.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    table = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def named(title: str) -> list[str]:
    """Floor and stem of each file that a table of floors has; headers of their own are written with their suffix."""
    found, floor = [], ""
    for cells in rows(title):
        floor = cells[0].strip("`/") or floor
        found += [f"{floor}/{name.removesuffix('.h')}" for name in re.findall(r"`([\w.]+)`", cells[1])]
    return found


def there() -> set[str]:
    """Floor and stem of each file of the engine. A header that two files share privately belongs to them."""
    files = {path.relative_to(ENGINE).with_suffix("").as_posix() for path in ENGINE.rglob("*.[ch]")}
    return {file for file in files - {"base/poison"} if not file.endswith("_impl")}


def test_every_file_of_the_engine_is_on_the_map_once() -> None:
    names = named("Floors of the engine")
    assert sorted(names) == sorted(set(names))
    assert set(names) - there() == set(), "on the map, and not in the tree"
    assert there() - set(names) == set(), "in the tree, and not on the map"


def test_every_part_of_the_binding_is_on_the_map_once() -> None:
    names = named("The binding and the facade")
    parts = (ROOT / "src_cython").glob("*/*.pyx")
    assert sorted(names) == sorted(f"{path.parent.name}/{path.stem}" for path in parts)


def test_every_module_of_the_facade_is_on_the_map() -> None:
    text = section("The binding and the facade")
    paths = [*(ROOT / "naquid").glob("*.py"), *(ROOT / "naquid" / "_net").glob("*.py")]
    modules = {path.stem for path in paths if not path.stem.startswith("__")} - {"_version"}
    assert {name for name in modules if f"`{name}`" not in text} == set()


def test_every_folder_of_tests_is_on_the_map() -> None:
    listed = {name for cells in rows("Tests") for name in re.findall(r"`tests/(\w+)`", cells[0])}
    folders = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").glob("*/*test_*.*")}
    assert listed == folders


def test_pages_of_internals_name_files_that_exist() -> None:
    for page in sorted((ROOT / "docs" / "internals").glob("*.md")):
        for name in re.findall(r"`([\w/]+/[\w/.]+\.(?:c|h|py|pyx|pxd|pyi|md))`", page.read_text()):
            folders = (ROOT, ENGINE, ROOT / "src_cython")
            assert any((folder / name).exists() for folder in folders), f"{page.name}: {name}"
