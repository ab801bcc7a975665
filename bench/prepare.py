"""Makes what the comparison needs: the peers' own virtual environments, ENet's and the ceiling's program.

Nothing of it is needed by naquid, and nothing outside `bench/` is changed. What cannot be had raises Missing with the
reason; the caller names it and goes on without it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / ".build"
PEERS = HERE / "peers"
TOOLS = ["cryptography>=42", "matplotlib>=3.8"]


class Missing(Exception):
    """A peer that is not there, and why."""


def run(command: Sequence[str | Path], what: str, cwd: Path | None = None) -> str:
    """Output of a command; Missing with its last line when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise Missing(f"{what} failed: {lines[-1]}")
    return done.stdout


def environment(name: str, packages: Sequence[str], python: str = sys.executable) -> Path:
    """The interpreter of the virtual environment `bench/.venv<name>`, made when it is not there or not current."""
    folder = HERE / f".venv{name}"
    interpreter = folder / "bin" / "python"
    stamp = folder / "stamp"
    wanted = hashlib.sha256("\n".join([str(folder), python, *packages]).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return interpreter
    run([python, "-m", "venv", "--clear", folder], "making a virtual environment")
    install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    run(install, f"installing {', '.join(packages)}")
    stamp.write_text(wanted)
    return interpreter


def peer_python() -> Path:
    """For the peers that run on every Python, and for the plots."""
    return environment("", [*TOOLS, "uvloop>=0.19", "aioquic>=1.2", "grpcio>=1.60"])


def aiopquic_python() -> Path:
    """aiopquic needs 3.12: the running Python, BENCH_PYTHON or one on the path."""
    for python in [os.environ.get("BENCH_PYTHON"), sys.executable, "python3.14", "python3.13", "python3.12"]:
        path = shutil.which(python) if python else None
        check = "import sys; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 14))"
        if path and subprocess.run([path, "-c", check], capture_output=True, check=False).returncode == 0:
            return environment("-aiopquic", [*TOOLS[:1], "aiopquic>=0.6"], path)
    raise Missing("aiopquic needs Python 3.12 to 3.14, and none was found (BENCH_PYTHON names one)")


def _current(program: Path, sources: Sequence[Path]) -> bool:
    return program.exists() and program.stat().st_mtime >= max(source.stat().st_mtime for source in sources)


def _compiler() -> str:
    return os.environ.get("CC", "cc")


def enet() -> Path:
    """ENet's program, against the system's libenet or Debian's package unpacked in `bench/.build`."""
    source, program = PEERS / "enet_rpc.c", BUILD / "enet_rpc"
    if _current(program, [source, HERE / "clock.h"]):
        return program
    BUILD.mkdir(exist_ok=True)
    compile_it = [_compiler(), "-O3", "-DNDEBUG", str(source), "-o", str(program)]
    try:
        run([*compile_it, "-lenet"], "compiling against libenet")
        return program
    except Missing:
        root = _debian_enet()
    library = next(root.rglob("libenet.so.*"), None)
    if library is None:
        raise Missing("ENet's library was not found: install libenet-dev")
    flags = [f"-I{root}/usr/include", str(library), f"-Wl,-rpath,{library.parent}"]
    run([*compile_it, *flags], "compiling against libenet")
    return program


def _debian_enet() -> Path:
    root = BUILD / "enet"
    if not (root / "usr/include/enet/enet.h").exists():
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise Missing("ENet's library was not found: install libenet-dev")
        packages = BUILD / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        run(["apt-get", "download", "libenet-dev", "libenet7"], "downloading libenet-dev", cwd=packages)
        for package in packages.glob("libenet*.deb"):
            run(["dpkg-deb", "-x", package, root], "unpacking libenet-dev")
    return root


def ceiling() -> Path:
    """The ceiling's program, against the native libraries that naquid itself is built with."""
    folder, program = HERE / "ceiling", BUILD / "ceiling"
    sources = sorted(folder.glob("*.c"))
    prefix = Path(
        run([sys.executable, HERE.parent / "vendor" / "build.py", "--variant", "release"], "vendor/build.py").split()[
            -1
        ]
    )
    libraries = [prefix / "lib" / name for name in ("libngtcp2.a", "libssl.a", "libcrypto.a")]
    if _current(program, [*sources, *folder.glob("*.h"), HERE / "clock.h", *libraries]):
        return program
    BUILD.mkdir(exist_ok=True)
    flags = ["-std=gnu11", "-O3", "-DNDEBUG", "-D_GNU_SOURCE", "-DNGTCP2_STATICLIB", "-w", f"-I{prefix}/include"]
    link = [*libraries, "-lpthread", "-ldl", "-lm"]
    for lto in (["-flto=auto"], ["-flto"], []):
        try:
            run([_compiler(), *flags, *lto, *sources, "-o", program, *link], "compiling the ceiling")
            return program
        except Missing:
            if not lto:
                raise
    raise AssertionError
