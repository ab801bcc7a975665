"""Writes docs/capi.md: every name of the original's header, its Python signature, its thread rule, its test.

    python scripts/gen_capi_docs.py           write it
    python scripts/gen_capi_docs.py --check   exit 1 when a name is missing, undocumented or uncovered, or it is old

The original's names stand in docs/capi_names.txt, ours in naquid.capi.extensions.__all__. The signatures come from the
annotations, the rules from the docstrings, the tests are found by the names that they use.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CAPI = ROOT / "naquid" / "capi"
STUB = ROOT / "naquid" / "_naquid.pyi"
TESTS = ROOT / "tests" / "capi"
NAMES = ROOT / "docs" / "capi_names.txt"
PAGE = ROOT / "docs" / "capi.md"
INTRO = ROOT / "docs" / "capi_intro.md"
EXTENSIONS = CAPI / "extensions.py"

RULES = (
    ("Any thread: queued", "any, queued"),
    ("Any other thread", "any but a worker"),
    ("Any thread", "any"),
    ("At once in the", "any; queued from others than the loop's"),
    ("Thread rule", "any; queued from others than the loop's"),
    ("thread rule as nq_rpc_call", "any; queued from others than the loop's"),
    ("thread rule as nq_stream_send", "any; queued from others than the loop's"),
    ("otherwise as nq_rpc_reply", "any; queued from others than the loop's"),
    ("Otherwise as nq_conn_stream", "any; queued from others than the loop's"),
    ("thread rule as nq_hdmap_stream_handler", "before start; a client's in its thread"),
    ("in the client's thread", "before start; a client's in its thread"),
    ("Bootstrap", "bootstrap"),
    ("The client's thread", "the client's"),
    ("Not while another", "the new owner"),
    ("Before other", "bootstrap"),
)


class Name:
    """One name of the header."""

    def __init__(self, name: str, kind: str, signature: str, doc: str) -> None:
        self.name = name
        self.kind = kind
        self.signature = signature
        self.doc = doc
        self.tests: list[str] = []

    @property
    def rule(self) -> str:
        """Which threads may call it."""
        if self.kind != "function":
            return ""
        text = " ".join(self.doc.split())
        return next((rule for words, rule in RULES if words in text), "")


def signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    text = f"{node.name}({ast.unparse(node.args)}){returns}"
    return text.replace("_Buffer", "Buffer")  # an alias of the stub alone has a name of its own


def first_sentence(doc: str) -> str:
    text = " ".join(doc.split())
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0]


def collect() -> dict[str, Name]:
    """Every public name that naquid.capi defines."""
    found: dict[str, Name] = {}
    for path in [*sorted(CAPI.glob("*.py")), STUB]:
        body = ast.parse(path.read_text()).body
        for at, node in enumerate(body):
            following = body[at + 1] if at + 1 < len(body) else None
            made: Name | None = None
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node) or ""
                made = Name(node.name, "function", signature(node), doc)
            elif isinstance(node, ast.ClassDef):
                doc = ast.get_docstring(node) or ""
                bases = [ast.unparse(base) for base in node.bases]
                kind = "enum" if bases == ["IntEnum"] else "handle" if path.suffix == ".pyi" else "struct"
                fields = ", ".join(
                    field.target.id
                    for field in node.body
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                )
                made = Name(node.name, kind, f"{node.name}({fields})" if kind != "enum" else node.name, doc)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                text = ""
                if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                    text = str(following.value.value)
                constant = name.isupper()
                shown = name if constant else f"{name} = {ast.unparse(node.value)}"
                made = Name(name, "constant" if constant else "type", shown, text)
            if made is not None and made.name not in found and (path != STUB or made.name.startswith("nq_")):
                found[made.name] = made
    return found


def cover(names: dict[str, Name]) -> None:
    """Notes for every name which tests use it."""
    for path in sorted(TESTS.glob("test_*.py")):
        tree = ast.parse(path.read_text())
        helpers: dict[str, set[str]] = {}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                used = set()
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Name):
                        used.add(inner.id)
                    elif isinstance(inner, ast.Attribute):
                        used.add(inner.attr)
                    elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                        used.update(re.findall(r"\bnq_\w+", inner.value))
                helpers[node.name] = used
        for test, used in helpers.items():
            if not test.startswith("test_"):
                continue
            reached, todo = set(used), [name for name in used if name in helpers]
            while todo:
                more = helpers[todo.pop()] - reached
                todo += [name for name in more if name in helpers]
                reached |= more
            for name in reached & names.keys():
                names[name].tests.append(f"{path.name}::{test}")


def best_test(name: Name) -> str:
    """The test that is about the name: one that uses little else comes first in its file."""
    words = name.name.removeprefix("nq_").removeprefix("NQ_").lower().split("_")

    def score(test: str) -> int:
        return -sum(word in test for word in words if len(word) > 2)

    return min(name.tests, key=score)


def extensions() -> list[str]:
    """The names that the original does not have."""
    for node in ast.parse(EXTENSIONS.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def table(title: str, rows: list[Name], thread: bool) -> list[str]:
    out = [f"## {title}", ""]
    out.append("| name | what | thread | test |" if thread else "| name | what | test |")
    out.append("|---|---|---|---|" if thread else "|---|---|---|")
    for row in rows:
        shown = row.signature.replace("|", "\\|")
        text = first_sentence(row.doc).replace("|", "\\|")
        cells = [f"`{shown}`", text, *([row.rule] if thread else []), f"`{best_test(row)}`"]
        out.append("| " + " | ".join(cells) + " |")
    return [*out, ""]


def page(wanted: list[str], ours: list[str], names: dict[str, Name]) -> str:
    """The text of docs/capi.md."""
    out = [INTRO.read_text().rstrip(), ""]
    for kind, title in (
        ("function", "Functions"),
        ("handle", "Handles"),
        ("struct", "Structs"),
        ("enum", "Enumerations"),
        ("constant", "Constants"),
        ("type", "Types"),
    ):
        out += table(title, [names[name] for name in wanted if names[name].kind == kind], kind == "function")
    out += table("Extensions: not in the original", [names[name] for name in ours], True)
    return "\n".join(out).rstrip() + "\n"


def problems(wanted: list[str], names: dict[str, Name]) -> list[str]:
    """What is missing, undocumented or uncovered."""
    found = []
    for name in wanted:
        if name not in names:
            found.append(f"{name}: missing")
            continue
        if not names[name].doc:
            found.append(f"{name}: undocumented")
        elif names[name].kind == "function" and not names[name].rule:
            found.append(f"{name}: its docstring does not say which threads may call it")
        if not names[name].tests:
            found.append(f"{name}: no test in tests/capi uses it")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    wanted = NAMES.read_text().split()
    names = collect()
    cover(names)
    ours = extensions()
    found = problems([*wanted, *ours], names)
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    text = page(wanted, ours, names)
    if not args.check:
        PAGE.write_text(text)
    elif not PAGE.is_file() or PAGE.read_text() != text:
        print("docs/capi.md is old: run scripts/gen_capi_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
