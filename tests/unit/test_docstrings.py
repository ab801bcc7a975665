"""Everything that is public says what it is: at run time, and where an editor looks for it."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import gen_stubs_docs  # noqa: E402

MODULES = ["naquid", "naquid.capi", "naquid.grpc", "naquid.testing"]


def loaded(module: str) -> ModuleType:
    if module == "naquid.grpc":
        pytest.importorskip("grpc")
    return importlib.import_module(module)


@functools.cache
def texts_of_fields(file: Path) -> dict[str, str]:
    """The strings that stand behind the names of a module, and behind those of its classes, by name with dots."""
    found: dict[str, str] = {}

    def look(body: list[ast.stmt], inside: str) -> None:
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.ClassDef):
                look(node.body, f"{inside}{node.name}.")
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    found[inside + ast.unparse(target)] = str(after.value.value)

    look(ast.parse(file.read_text()).body, "")
    return found


def names_of(module: ModuleType) -> list[str]:
    return [name for name in module.__all__ if name != "__version__"]


@functools.cache
def texts_of_package() -> dict[str, str]:
    files = [*(ROOT / "naquid").rglob("*.py"), gen_stubs_docs.STUB]
    return {name: text for file in files for name, text in texts_of_fields(file).items()}


def said_of_field(cls: type, name: str) -> bool:
    """A field has its text behind it, or in its class's docstring. The engine's fields have it in the stub."""
    if cls.__module__ == "naquid._naquid":
        return any(place.name.endswith(f".{name}") and place.wanted for place in stub())
    in_class = re.search(rf"\b{name}\b", inspect.getdoc(cls) or "") is not None
    return in_class or f"{cls.__qualname__}.{name}" in texts_of_package()


@functools.cache
def stub() -> list[gen_stubs_docs.Place]:
    return list(gen_stubs_docs.places(ast.parse(gen_stubs_docs.STUB.read_text()).body))


def members(cls: type) -> Iterator[tuple[type, str, object]]:
    """The public attributes that naquid's own classes give to a class."""
    for base in cls.__mro__:
        if base.__module__.startswith("naquid"):
            for name in sorted({*vars(base), *vars(base).get("__annotations__", {})}):
                if not name.startswith("_"):
                    yield base, name, inspect.getattr_static(base, name, None)


def is_field(value: object) -> bool:
    """Data: a slot, a default, or a field of a compiled class, which cannot have a text at run time."""
    if isinstance(value, property | staticmethod | classmethod | functools.cached_property):
        return False
    return not callable(value) and not (inspect.isdatadescriptor(value) and value.__doc__)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring(module: str) -> None:
    here = loaded(module)
    silent = []
    for name in names_of(here):
        value = getattr(here, name)
        own = getattr(value, "__doc__", None) if isinstance(value, type) or inspect.isroutine(value) else None
        if not own and name not in texts_of_package():
            silent.append(name)
    assert silent == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_attribute_of_a_class_has_a_docstring(module: str) -> None:
    """The structs and enumerations of naquid.capi have the original's names, and one text each."""
    here = loaded(module)
    silent = set()
    for cls in (getattr(here, name) for name in names_of(here)):
        for base, name, value in members(cls) if isinstance(cls, type) else ():
            if module == "naquid.capi" and is_field(value) and base.__module__ != "naquid._naquid":
                continue
            if not (said_of_field(base, name) if is_field(value) else inspect.getdoc(value)):
                silent.add(f"{base.__qualname__}.{name}")
    assert sorted(silent) == []


def test_the_stub_has_the_texts_of_the_compiled_module() -> None:
    """scripts/gen_stubs_docs.py --write puts them there."""
    assert gen_stubs_docs.troubles(gen_stubs_docs.STUB.read_text()) == []


STUB_BEFORE = """
@final
class Deferred:
    def reply(
        self, payload: bytes = b""
    ) -> None: ...
    @property
    def _hidden(self) -> int: ...
    def error(self, payload: bytes = b"", code: int = -7) -> None:
        \"\"\"An old
        text.
        \"\"\"

class BaseRpc:
    request_handler: object
    notify_handler: object
    \"\"\"An old text.\"\"\"
    def call(self) -> bytes: ...

def versions() -> dict[str, str]: ...
"""


def test_texts_are_put_and_renewed() -> None:
    pytest.importorskip("ruff")
    renewed = gen_stubs_docs.renewed(STUB_BEFORE)
    assert gen_stubs_docs.troubles(renewed) == []
    assert gen_stubs_docs.renewed(renewed) == renewed
    tree = ast.parse(renewed)
    deferred, rpc, versions = tree.body
    assert isinstance(deferred, ast.ClassDef)
    assert isinstance(rpc, ast.ClassDef)
    assert isinstance(versions, ast.FunctionDef)
    reply, hidden, error = deferred.body[1:]
    for node, name in (
        (deferred, "Deferred"),
        (reply, "Deferred.reply"),
        (error, "Deferred.error"),
        (versions, "versions"),
    ):
        assert isinstance(node, ast.ClassDef | ast.FunctionDef)
        assert ast.get_docstring(node) == gen_stubs_docs.said(name)
    assert isinstance(hidden, ast.FunctionDef)
    assert ast.get_docstring(hidden) is None
    assert "An old" not in renewed
    assert renewed.count("def ") == STUB_BEFORE.count("def ")
    assert ast.unparse(rpc.body[1]) == "request_handler: object"


@pytest.mark.parametrize(
    ("declared", "trouble"),
    [
        ("def versions() -> dict[str, str]: ...", "versions: the stub has not the text of the compiled module"),
        ("OK: int", "OK: no docstring, neither in the compiled module nor in the stub"),
        ("class Deferred:\n    new: int", "Deferred.new: no docstring, neither in the compiled module nor in the stub"),
    ],
)
def test_what_is_old_or_missing_is_found(declared: str, trouble: str) -> None:
    assert trouble in gen_stubs_docs.troubles(textwrap.dedent(declared))
