"""Code of the user's that runs inside a function of the library: a buffer's, and the garbage collector's finalizers.

What is tested with it may end in a crash, so the tests run it in processes of their own: `child` in the test, `report`
in the process.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def build(folder: Path) -> None:
    """Makes ready what `buffer` needs: nothing since Python 3.12, a C extension before."""
    if sys.version_info >= (3, 12):
        return
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None
    headers = sysconfig.get_path("include")
    target = folder / "user_buffer.so"
    how = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    command = [compiler, *how, "-fPIC", f"-I{headers}", str(HERE / "user_buffer.c"), "-o", str(target)]
    subprocess.run(command, check=True)


def buffer(get: Callable[[], object] | None = None, release: Callable[[], object] | None = None) -> Any:
    """A bytes-like object of b"x" that calls `get` when its buffer is asked for and `release` when it is given back."""
    if sys.version_info >= (3, 12):

        class Buffer:
            def __len__(self) -> int:
                return 1

            def __buffer__(self, flags: int) -> memoryview:
                if get is not None:
                    get()
                return memoryview(b"x")

            def __release_buffer__(self, view: memoryview) -> None:
                if release is not None:
                    release()

        return Buffer()
    import user_buffer

    return user_buffer.Buffer(get or str, release or str, b"x")


def at_allocation(k: int, fn: Callable[[], object], call: Callable[..., object], *args: object) -> None:
    """call(*args), within which the garbage collector starts at the k-th object that is made and finalizes one whose
    __del__ is fn. Since Python 3.12 the collector waits for the next instruction of Python code."""

    thread = threading.get_ident()
    finalized: list[int] = []

    class Dying:
        def __del__(self) -> None:
            finalized.append(threading.get_ident())
            if finalized == [thread]:
                fn()

    gc.disable()
    gc.collect()
    dying: Any = Dying()
    dying.itself = dying
    del dying
    before = gc.get_threshold()
    try:
        gc.set_threshold(gc.get_count()[0] + k)
        gc.enable()
        call(*args)
    finally:
        gc.disable()
        gc.set_threshold(*before)
        while not finalized:
            gc.collect()  # when it did not start: now
        gc.enable()
        if finalized != [thread]:  # it started in another thread, which has no business with what fn uses
            fn()


def report(name: str, outcome: object) -> None:
    """Of a case, to the test."""
    print(json.dumps([name, outcome]), flush=True)


def child(script: Path, folder: Path, *arguments: object) -> dict[str, Any]:
    """The outcomes of the cases that the script runs. A crash fails the test with the last case that ended well."""
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(HERE), str(HERE.parent)])},
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    last = outcomes[-1][0] if outcomes else "no case"
    assert done.returncode == 0, f"ended with {done.returncode} after {last}: {done.stderr[-3000:]}"
    assert outcomes, done.stderr
    return dict(outcomes)
