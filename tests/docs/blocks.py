"""Runs the code blocks of a page of documentation, from top to bottom, as a reader would.

What stands in a page:

    ```python                   runs; the blocks of a page share their names. `await` may be used at the top level, as
                                in `python -m asyncio`; such blocks share one event loop.
    ```python title="chat.py"   is written to that file in the page's folder; a later console block must use it. So is
                                ```c title="upper.c".
    ```console                  lines with "$ " run in bash, in the page's folder; what follows them is their output.
    ```text title="Output"      what the block before printed.

In expected output "..." stands for anything. UDP ports 8440 to 8449 are replaced by free ones. An HTML comment on a
line of its own before a block says what is special about it:

    <!-- test: preamble NAME -->        names from tests/docs/preambles.py, from here on
    <!-- test: background -->           the console block's program goes on running; the first line of its output is
                                        waited for, all of it when the page ends, then it gets Ctrl-C
    <!-- test: background ends -->      the same, but it ends by itself
    <!-- test: input TEXT -->           with background: a line typed at once, may be repeated
    <!-- test: raises NAME -->          the block ends with this exception
    <!-- test: numbers vary -->         numbers in the output are examples
    <!-- test: any order -->            so is the order of its lines
    <!-- test: not run: REASON -->      it is not run, and pytest reports that as a skip
    <!-- test: needs NAME NAME -->      the same where these modules are not installed; its syntax is looked at
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import preambles

ROOT = Path(__file__).resolve().parents[2]
LOGGER = logging.getLogger("naquid")
PATIENCE = 20.0  # seconds for what a program is to print
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[a-z]+.*)?$")
DIRECTIVE = re.compile(r"^ *<!-- test: (?P<text>.+?) -->$")
SNIPPET = re.compile(r'^--8<-- "(?P<path>[^":]+)(?::(?P<section>[\w-]+))?"$')
PORT = re.compile(r"\b844\d\b")


@dataclass
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    title: str
    code: str
    directives: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        return (self.language in ("python", "console") or self.is_c_file) and not self.not_run

    @property
    def is_c_file(self) -> bool:
        return self.language == "c" and bool(self.title)

    @property
    def not_run(self) -> str:
        """Why it is not run, "" when it is."""
        if self.page == "README.md" and self.language == "python" and not is_complete(self.code):
            return "an outline, not a program: it has `...` in places"
        if missing := [name for name in " ".join(self.values("needs")).split() if find_spec(name) is None]:
            return f"needs {', '.join(missing)}, which this Python does not have"
        return next((d.partition(":")[2].strip() for d in self.directives if d.startswith("not run:")), "")

    def values(self, name: str) -> list[str]:
        return [d[len(name) :].strip() for d in self.directives if d == name or d.startswith(f"{name} ")]


def pages() -> list[Path]:
    """README.md and the pages of the site. capi_intro.md is a part of capi.md."""
    found = [path for path in (ROOT / "docs").rglob("*.md") if "assets" not in path.parts]
    return [ROOT / "README.md", *sorted(path for path in found if path.name != "capi_intro.md")]


def parse(path: Path) -> list[Block]:
    """The blocks of a page, with snippets in their place."""
    blocks: list[Block] = []
    directives: list[str] = []
    lines = iter(enumerate(path.read_text().splitlines(), 1))
    for number, line in lines:
        if found := DIRECTIVE.match(line):
            directives.append(found["text"])
        elif (fence := FENCE.match(line)) and fence["info"]:
            indent, info = len(fence["indent"]), fence["info"]
            code: list[str] = []
            for _, text in lines:
                if text.strip() == "```":
                    break
                code += included(text[indent:])
            title = re.search(r'title="([^"]*)"', info)
            block = Block(str(path.relative_to(ROOT)), number, info.split()[0], title[1] if title else "", "")
            block.code = "\n".join(code) + "\n"
            block.directives, directives = directives, []
            blocks.append(block)
        elif line.strip():
            assert not directives, f"{path.name}:{number}: a test comment stands directly before its block"
    return blocks


def included(line: str) -> list[str]:
    """The line, or the file it includes."""
    found = SNIPPET.match(line)
    if not found:
        return [line]
    text = (ROOT / found["path"]).read_text()
    if found["section"]:
        begin, end = (f"# --8<-- [{word}:{found['section']}]\n" for word in ("start", "end"))
        text = text.split(begin, 1)[1].split(end, 1)[0]
    return [each for each in text.splitlines() if "--8<--" not in each]


def is_complete(code: str) -> bool:
    try:
        compile(code, "", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    except SyntaxError:
        return False
    return True


@dataclass
class Background:
    block: Block
    command: str
    expected: str
    process: subprocess.Popen[bytes]
    file: Path


MAKES_CERTIFICATES = re.compile(r"\$ naquid cert --out \.(?! --client)")


class Page:
    """One page while its blocks run in `folder`."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.blocks = parse(path)
        self.folder = folder
        self.ports: dict[str, str] = {}
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.background: list[Background] = []
        self.written: dict[str, Block] = {}
        self.printed = ""
        self.loop = asyncio.new_event_loop()
        self.stack = contextlib.AsyncExitStack()
        self.caught: list[sys.UnraisableHookArgs] = []

    def run(self) -> None:
        preambles.certificates(self.folder)
        self.environment = preambles.environment(self.folder)
        hook, sys.unraisablehook = sys.unraisablehook, self.caught.append
        handlers = list(LOGGER.handlers)
        try:
            for at, block in enumerate(self.blocks):
                for name in block.values("preamble"):
                    made = getattr(preambles, name)(self.folder, int(self.ours("8443")))
                    self.names.update(self.loop.run_until_complete(self.stack.enter_async_context(made)))
                if MAKES_CERTIFICATES.match(block.code):
                    preambles.no_certificates(self.folder)
                if block.not_run:
                    continue
                if block.language == "text" and block.title == "Output":
                    assert self.blocks[at - 1].is_run, f"{block.where}: the output of which block?"
                    compare(block, self.ours(block.code), self.printed)
                elif block.is_run:
                    self.one(block)
            self.end()
        finally:
            sys.unraisablehook = hook
            LOGGER.handlers[:] = handlers
            for each in self.background:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(each.process.pid, signal.SIGKILL)
                each.process.wait()
            self.loop.close()
        assert not [f"{item.exc_value!r} in {item.object!r}" for item in self.caught]

    def one(self, block: Block) -> None:
        if block.language == "console":
            self.console(block)
        elif block.title:
            (self.folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / block.title).write_text(self.ours(block.code))
            self.written[block.title] = block
        else:
            self.python(block)

    def ours(self, text: str) -> str:
        """With free ports."""

        def port(found: re.Match[str]) -> str:
            if found[0] not in self.ports:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind(("", 0))
                    self.ports[found[0]] = str(probe.getsockname()[1])
            return self.ports[found[0]]

        return PORT.sub(port, text)

    # ---- Python ----

    def python(self, block: Block) -> None:
        code = "\n" * block.line + self.ours(block.code)  # so that tracebacks have the page's lines
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        expected = block.values("raises")
        output = io.StringIO()
        try:
            program = compile(code, block.page, "exec", flags=flags, dont_inherit=True)
            with contextlib.redirect_stdout(output):
                if program.co_flags & inspect.CO_COROUTINE:
                    self.loop.run_until_complete(asyncio.wait_for(eval(program, self.names), PATIENCE))
                else:
                    exec(program, self.names)
        except Exception as error:
            name = type(error).__name__
            if not expected or expected[0].rpartition(".")[2] != name:
                text = "".join(traceback.format_exception(error))
                raise AssertionError(f"{block.where} failed:\n{text}\noutput:\n{output.getvalue()}") from None
        else:
            assert not expected, f"{block.where}: did not raise {expected[0]}"
        self.printed = output.getvalue()

    # ---- console ----

    def console(self, block: Block) -> None:
        in_background = bool(block.values("background"))
        for command, expected in self.commands(block):
            if in_background:
                self.start(block, command, expected)
                continue
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
            self.printed = done.stdout.decode()
            raises = block.values("raises")
            assert str(done.returncode) == (raises[0] if raises else "0"), f"{block.where}: {command}: {self.printed}"
            if expected.strip():
                compare(block, expected, self.printed)

    def commands(self, block: Block) -> list[tuple[str, str]]:
        """Commands with the output that is shown; a "> " line goes on with the one before."""
        found: list[tuple[str, str]] = []
        for line in self.ours(block.code).splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
            elif line.startswith("> ") and found and not found[-1][1]:
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", "")
            else:
                assert found, f"{block.where}: a console block begins with a command"
                found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
        return found

    def start(self, block: Block, command: str, expected: str) -> None:
        typed = [self.ours(text) for text in block.values("input")]
        # What was typed is in the expected output, as on a terminal, but not in the program's.
        shown = [line for line in expected.splitlines() if line not in typed]
        expected = "\n".join(shown) + "\n"
        file = self.folder / f".output-{len(self.background)}"
        with file.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=preambles.heed_interrupts,
            )
        each = Background(block, command, expected, process, file)
        self.background.append(each)
        if shown:
            self.wait(each, shown[0])
        assert process.stdin is not None
        for line in typed:
            process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()

    def wait(self, each: Background, expected: str) -> None:
        """Waits until the output begins with what is expected, for as long as the program runs."""
        end = time.monotonic() + PATIENCE
        lines = set(varied(expected, each.block).splitlines())
        pattern = pattern_of(expected, each.block)
        while True:
            printed = varied(each.file.read_text(), each.block)
            if pattern.match(printed) or ("any order" in each.block.directives and lines <= set(printed.splitlines())):
                return
            if each.process.poll() is not None:
                return
            assert time.monotonic() < end, (
                f"{each.block.where}: waited in vain\n--- for ---\n{expected}\n--- really ---\n{printed}"
            )
            time.sleep(0.02)

    def end(self) -> None:
        for each in reversed(self.background):
            self.wait(each, each.expected)
            if each.process.poll() is None and "ends" not in each.block.values("background"):
                os.killpg(each.process.pid, signal.SIGINT)
            code = each.process.wait(PATIENCE)
            text = each.file.read_text()
            allowed = ["0", *each.block.values("raises")]
            assert str(code) in allowed, f"{each.block.where} ended with {code}: {text}"
            compare(each.block, each.expected.strip() or "...", text)
        self.loop.run_until_complete(self.stack.aclose())
        leftover = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        for task in leftover:
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0.01))
        commands = " ".join(block.code for block in self.blocks if block.language == "console" and block.is_run)
        sources = " ".join(block.code for block in self.written.values())
        for name, block in self.written.items():
            stem = Path(name).stem
            run = name in commands or re.search(rf"\b{stem}:\w", commands)
            assert run or re.search(rf"(import|from) {stem}\b", sources), f"{block.where}: nothing runs {name}"


def varied(text: str, block: Block) -> str:
    if "numbers vary" in block.directives:
        text = re.sub(r"\d[\d,]*(\.\d+)?", "#", text)
        text = re.sub(r" +", " ", text)
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "\n".join(sorted(lines) if "any order" in block.directives else lines)


def pattern_of(expected: str, block: Block) -> re.Pattern[str]:
    parts = varied(expected, block).split("...")
    return re.compile(r"[\s\S]*?".join(re.escape(part) for part in parts))


def compare(block: Block, expected: str, printed: str) -> None:
    """Fails when the output is not what the page says."""
    got = varied(printed, block)
    assert pattern_of(expected, block).fullmatch(got), (
        f"{block.where}: the output differs\n--- shown ---\n{varied(expected, block)}\n--- really ---\n{got}"
    )


def not_run() -> Iterator[Block]:
    for path in pages():
        yield from (block for block in parse(path) if block.not_run)
