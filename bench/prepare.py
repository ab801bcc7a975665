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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / ".build"
PEERS = HERE / "peers"
TOOLS = ["cryptography>=42", "matplotlib>=3.8"]


class Missing(Exception):
    """A peer that is not there, and why."""


def run(command: Sequence[object], what: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Output of a command; Missing with its last line when it fails."""
    words = [str(part) for part in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=environ, check=False)
    except OSError as error:
        raise Missing(f"{what} failed: {error}") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise Missing(f"{what} failed: {lines[-1]}")
    return done.stdout


def compile_to(program: Path, command: Sequence[object], what: str) -> None:
    """Runs the compiler with `-o program`. The program is there whole or not at all: what was stopped midway is no file
    that looks current."""
    BUILD.mkdir(exist_ok=True)
    part = program.with_name(f".{program.name}.{os.getpid()}")
    try:
        run([*command, "-o", part], what)
        part.replace(program)
    finally:
        part.unlink(missing_ok=True)


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


def peer_python_with(package: str, module: str) -> Path:
    """The same interpreter with one package more; those that may fail to install are asked for one by one."""
    python = peer_python()
    if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode:
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        run(install, f"installing {package}")
        run([python, "-c", f"import {module}"], f"importing {module}")
    return python


def newer_pythons() -> Iterator[str]:
    """Interpreters that may be 3.12 or newer: BENCH_PYTHON, the running one, those on the path and pyenv's."""
    names = ["python3.14", "python3.13", "python3.12"]
    yield from filter(None, [os.environ.get("BENCH_PYTHON"), sys.executable])
    yield from filter(None, map(shutil.which, names))
    if shutil.which("pyenv"):
        try:
            versions = Path(run(["pyenv", "root"], "pyenv root").strip()) / "versions"
        except Missing:
            return
        yield from (str(path) for name in names for path in sorted(versions.glob(f"*/bin/{name}"), reverse=True))


def aiopquic_python() -> Path:
    """aiopquic needs 3.12; the first interpreter with which it can be installed."""
    check = "import sys; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 14))"
    why = "none was found (BENCH_PYTHON names one)"
    for python in newer_pythons():
        path = shutil.which(python)
        if path and subprocess.run([path, "-c", check], capture_output=True, check=False).returncode == 0:
            try:
                return environment("-aiopquic", [*TOOLS[:1], "aiopquic>=0.6"], path)
            except Missing as reason:
                why = str(reason)
    raise Missing(f"aiopquic needs Python 3.12 to 3.14: {why}")


def _current(program: Path, sources: Sequence[Path]) -> bool:
    return program.exists() and program.stat().st_mtime >= max(source.stat().st_mtime for source in sources)


def compiler() -> str:
    """The C compiler that is used here."""
    return os.environ.get("CC", "cc")


def udp() -> Path:
    """The program of plain UDP."""
    source, program = PEERS / "udp_rpc.c", BUILD / "udp_rpc"
    if not _current(program, [source, HERE / "clock.h"]):
        compile_to(program, [compiler(), "-O3", "-DNDEBUG", "-D_GNU_SOURCE", source], "compiling plain UDP")
    return program


def native() -> Path:
    """The extension of examples/native, built for the running Python."""
    source, folder = HERE.parent / "examples" / "native", BUILD / f"native-{sys.implementation.cache_tag}"
    include = HERE.parent / "naquid" / "include"
    if not shutil.which(compiler().split()[0]):
        raise Missing(f"there is no compiler ({compiler()})")
    built = next(folder.glob("echo_native*.so"), None)
    if built is None or not _current(built, [*source.iterdir(), *include.iterdir()]):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("echo_native.pyx", "setup.py"):
            shutil.copy(source / name, folder)
        environ = os.environ | {"PYTHONPATH": str(HERE.parent)}
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--force"]
        run(command, "building examples/native", folder, environ)
        built = next(folder.glob("echo_native*.so"), None)
    if built is None:
        raise Missing("building examples/native made no extension")
    return built


def enet(name: str = "enet_rpc") -> Path:
    """A program over ENet, against the system's libenet or Debian's package unpacked in `bench/.build`."""
    source, program = PEERS / f"{name}.c", BUILD / name
    if _current(program, [source, HERE / "clock.h"]):
        return program
    compile_it = [compiler(), "-O3", "-DNDEBUG", str(source)]
    try:
        compile_to(program, [*compile_it, "-lenet"], "compiling against libenet")
        return program
    except Missing:
        root = _debian_enet()
    library = next(root.rglob("libenet.so.*"), None)
    if library is None:
        raise Missing("ENet's library was not found: install libenet-dev")
    flags = [f"-I{root}/usr/include", str(library), f"-Wl,-rpath,{library.parent}"]
    compile_to(program, [*compile_it, *flags], "compiling against libenet")
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


def native_libraries() -> Path:
    """Where ngtcp2 and the TLS library are that naquid itself is built with."""
    command = [sys.executable, HERE.parent / "vendor" / "build.py", "--variant", "release"]
    return Path(run(command, "vendor/build.py").strip().splitlines()[-1])


def ceiling() -> Path:
    """The ceiling's program, against the native libraries that naquid itself is built with."""
    folder, program = HERE / "ceiling", BUILD / "ceiling"
    sources = sorted(folder.glob("*.c"))
    prefix = native_libraries()
    libraries = [prefix / "lib" / name for name in ("libngtcp2.a", "libssl.a", "libcrypto.a")]
    if _current(program, [*sources, *folder.glob("*.h"), HERE / "clock.h", *libraries]):
        return program
    flags = ["-std=gnu11", "-O3", "-DNDEBUG", "-D_GNU_SOURCE", "-DNGTCP2_STATICLIB", "-w", f"-I{prefix}/include"]
    link = [*libraries, "-lpthread", "-ldl", "-lm"]
    for lto in (["-flto=auto"], ["-flto"], []):
        try:
            compile_to(program, [compiler(), *flags, *lto, *sources, *link], "compiling the ceiling")
            return program
        except Missing:
            if not lto:
                raise
    raise AssertionError


HOT_PATH_FLAGS = ["-std=gnu11", "-O3", "-DNDEBUG", "-D_GNU_SOURCE", "-DNGTCP2_STATICLIB", "-w", "-g1"]


def hot_path(shared: bool = False) -> Path:
    """The engine's hot path over the simulated network: a program, or a library for ctypes."""
    root = HERE.parent
    engine = root / "src_cython" / "engine"
    prefix = native_libraries()
    tests = [root / "tests" / "engine" / name for name in ("world.c", "certs.c")]
    sources = [HERE / "engine" / "hot_path.c", *sorted(engine.rglob("*.c")), *tests]
    headers = [*engine.rglob("*.h"), *(root / "tests" / "engine").glob("*.h")]
    libraries = [prefix / "lib" / name for name in ("libngtcp2.a", "libcares.a", "libssl.a", "libcrypto.a")]
    program = BUILD / ("hot_path.so" if shared else "hot_path")
    if not _current(program, [*sources, *headers, *libraries]):
        include = [f"-I{engine}", f"-I{engine}/include", f"-I{root}/tests/engine", f"-I{prefix}/include"]
        kind = ["-fPIC", "-fvisibility=hidden", "-shared", "-Wl,--exclude-libs,ALL"] if shared else []
        link = [*libraries, "-lpthread", "-ldl", "-lm"]
        command = [compiler(), *HOT_PATH_FLAGS, *kind, *include, *sources, *link]
        compile_to(program, command, "compiling the hot path")
    return program
