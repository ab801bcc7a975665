"""The package in unusual surroundings: strict, optimised, isolated, homeless, with other OpenSSLs in the process."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import types
from pathlib import Path

import pytest

import naquid
from naquid import _naquid

ROOT = Path(__file__).resolve().parents[2]
SMOKE = str(Path(__file__).with_name("smoke.py"))


def script(name: str) -> types.ModuleType:
    """One of scripts/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def python(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What a fresh interpreter prints; it must succeed and complain of nothing."""
    done = subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, encoding="utf-8", errors="replace", timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def without(*names: str, **more: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in names} | more


def test_no_warnings() -> None:
    python("-W", "error", "-X", "dev", "-c", "import naquid")
    python("-W", "error", "-c", "import naquid.capi, naquid.cli.main")


def test_nothing_but_the_standard_library_is_imported() -> None:
    told = python(
        "-c",
        "import sys; before = set(sys.modules); import naquid, naquid.capi\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})",
    )
    made_by_cython = {"cython_runtime"}
    assert set(told.split()) - sys.stdlib_module_names - made_by_cython == {"naquid"}


HEAVY = ["asyncio", "ssl", "logging", "inspect", "dataclasses", "typing", "socket", "json", "enum", "re", "concurrent"]
HEAVY += ["selectors", "random", "traceback", "contextlib", "ipaddress", "pathlib", "importlib.metadata", "subprocess"]


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import naquid", HEAVY),
        (
            "import naquid; naquid.versions(), naquid.limits_table(), naquid.Error, naquid.get_include()",
            ["asyncio", "ssl"],
        ),
        ("import naquid.capi", ["asyncio", "ssl", "logging", "concurrent"]),
    ],
)
def test_nothing_is_loaded_before_it_is_needed(code: str, absent: list[str]) -> None:
    """The time of an import is that of the modules under it; -S: without what the environment has in .pth files."""
    path = f"import sys; sys.path[:] = {sys.path!r}; before = set(sys.modules)"
    loaded = python("-S", "-c", f"{path}\n{code}\nprint(*set(sys.modules) - before)").split()
    assert "naquid._naquid" in loaded
    assert [name for name in absent if name in loaded] == []


def test_every_public_name_can_be_the_first() -> None:
    """The package as it is before any of its names was asked for, and one of them then."""
    spec = importlib.util.spec_from_file_location("naquid", naquid.__file__, submodule_search_locations=naquid.__path__)
    assert spec is not None
    assert spec.loader is not None
    for name in naquid.__all__:
        fresh = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fresh)
        assert getattr(fresh, name) is getattr(naquid, name), name


def test_names_are_known_before_they_are_loaded() -> None:
    told = python(
        "-c",
        "import sys, naquid; known = set(dir(naquid)); assert 'asyncio' not in sys.modules\n"
        "assert not hasattr(naquid, 'nothing'); assert 'asyncio' not in sys.modules\n"
        "from naquid import *; print(set(naquid.__all__) <= known, set(naquid.__all__) <= {*globals()})",
    )
    assert told.split() == ["True", "True"]


def test_threads_may_load_it_at_once() -> None:
    told = python(
        "-c",
        "import threading, naquid; names, got = ['connect', 'Limits', 'Handlers', 'client'] * 4, []\n"
        "start = threading.Barrier(len(names)); work = lambda name: (start.wait(), got.append(getattr(naquid, name)))\n"
        "threads = [threading.Thread(target=work, args=(name,)) for name in names]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
        "print(len(got), len(set(map(id, got))))",
    )
    assert told.split() == ["16", "4"]


@pytest.mark.parametrize(
    ("module", "extra", "needed"),
    [
        ("metrics", "metrics", "prometheus_client"),
        ("otel", "otel", "opentelemetry"),
        ("grpc", "grpc", "grpc"),
    ],
)
def test_an_extra_that_is_missing_is_named(module: str, extra: str, needed: str) -> None:
    hide = f"import sys; sys.modules[{needed!r}] = None"
    code = f"{hide}\ntry:\n import naquid.{module}\nexcept ImportError as error:\n print(error)"
    assert f'pip install "naquid[{extra}]"' in python("-c", code)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras[extra]


class Copy:
    """The package's Python files in a folder of their own, without an extension module."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = root / "naquid"
        shutil.copytree(ROOT / "naquid", self.package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))

    def make_source_folder(self) -> None:
        (self.root / "setup.py").touch()
        (self.root / "src_cython").mkdir()

    def refusal(self, code: str = "import naquid") -> str:
        """What the import says: the last line of its one traceback."""
        env = without("PYTHONPATH", "PYTHONSAFEPATH")
        done = subprocess.run([sys.executable, "-c", code], cwd=self.root, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        lines = done.stderr.splitlines()
        assert sum(line.startswith("Traceback") for line in lines) == 1
        return lines[-1]


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path.resolve())


def this_python() -> str:
    version = f"3.{sys.version_info[1]}{' free-threaded' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''}"
    debug = " debug" if hasattr(sys, "gettotalrefcount") else ""
    return f"CPython {version}{debug}"


@pytest.mark.parametrize("code", ["import naquid", "import naquid.capi", "from naquid import connect"])
def test_a_source_folder_that_is_not_built_says_what_it_is(copy: Copy, code: str) -> None:
    copy.make_source_folder()
    told = copy.refusal(code)
    assert told == (
        f"ImportError: {copy.root} is the source folder of naquid, where its extension module is not built: run "
        f"`make -C {copy.root} build`, or start Python in another folder, with naquid installed (`pip install` of this "
        "folder, or of a wheel)"
    )


@pytest.mark.parametrize(
    ("tag", "named"),
    [
        ("cpython-399-x86_64-linux-gnu", "CPython 3.99 (x86_64-linux-gnu)"),
        ("cpython-399t-darwin", "CPython 3.99 free-threaded (darwin)"),
        ("cpython-399d-aarch64-linux-musl", "CPython 3.99 debug (aarch64-linux-musl)"),
        ("pypy311-pp73-x86_64-linux-gnu", ".pypy311-pp73-x86_64-linux-gnu.so"),
    ],
)
@pytest.mark.parametrize("is_source", [True, False])
def test_an_extension_for_another_python_names_both(copy: Copy, tag: str, named: str, is_source: bool) -> None:
    (copy.package / f"_naquid.{tag}.so").touch()
    if is_source:
        copy.make_source_folder()
    told = copy.refusal()
    assert told.startswith(f"ImportError: naquid in {copy.package} ")
    assert f"was built for {named}, and this is {this_python()} (" in told
    assert ("make -C" in told and f"PYTHON={sys.executable}" in told) == is_source
    assert ("install naquid again" in told) != is_source


def test_an_installation_without_its_extension_says_so(copy: Copy) -> None:
    told = copy.refusal()
    assert told.startswith(f"ImportError: naquid in {copy.package} lacks its extension module for {this_python()} (")
    assert told.endswith("install naquid again, by `python -m pip` of this very Python")


def test_an_extension_that_does_not_load_says_why(copy: Copy) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    (copy.package / f"_naquid{suffix}").write_bytes(b"no machine code")
    told = copy.refusal()
    assert told.startswith("ImportError: naquid's extension module cannot be loaded here (")
    assert f"_naquid{suffix}" in told
    assert "install naquid again" in told


def test_what_else_cannot_be_imported_is_not_blamed_on_the_extension(copy: Copy) -> None:
    shutil.copy(_naquid.__file__, copy.package)
    (copy.package / "errors.py").write_text("import no_such_module_of_errors\n")
    assert copy.refusal() == "ModuleNotFoundError: No module named 'no_such_module_of_errors'"


def test_optimised() -> None:
    assert "ok" in python(SMOKE, env=without(PYTHONOPTIMIZE="2"))


def test_isolated() -> None:
    assert "ok" in python("-I", SMOKE)


def test_without_docstrings_and_asserts_the_command_line_explains_itself() -> None:
    assert "versions" in python("-m", "naquid", "--help", env=without(PYTHONOPTIMIZE="2"))


@pytest.mark.parametrize("home", [None, "/dev/null", "/nowhere/at/all"])
def test_no_home_directory(home: str | None) -> None:
    env = without("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    assert "ok" in python(SMOKE, env=env if home is None else env | {"HOME": home})


@pytest.mark.parametrize("settings", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONIOENCODING": "latin-1"}])
def test_a_locale_that_is_not_utf_8(settings: dict[str, str]) -> None:
    env = without("LANG", "LC_CTYPE", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", **settings)
    assert "ok" in python(SMOKE, env=env)
    assert python("-m", "naquid", "--help", env=env)
    assert naquid.__version__ in python("-m", "naquid", "versions", env=env)


@pytest.mark.parametrize("order", list(itertools.permutations(["ssl", "cryptography", "naquid"])), ids="-".join)
def test_other_openssls_in_the_process(order: tuple[str, ...]) -> None:
    assert "ok" in python(SMOKE, "--import", ",".join(order))


def test_windows_is_refused_in_one_sentence() -> None:
    code = f"import runpy, sys; sys.platform = 'win32'; runpy.run_path({str(ROOT / 'setup.py')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: naquid does not support Windows yet: install it in WSL, on Linux or on macOS.\n"


def test_versions_tell_how_it_was_built() -> None:
    told = naquid.versions()
    pins = told["pins"]
    assert pins["ngtcp2"]["version"] == told["ngtcp2"]
    assert pins["c-ares"]["version"].partition("-")[0] == told["c-ares"]
    assert {"ngtcp2", "c-ares"} < set(pins) <= {"ngtcp2", "c-ares", "aws-lc", "boringssl"}
    assert all(len(bytes.fromhex(pin["sha256"])) == 32 for pin in pins.values())
    assert told["variant"] in ("release", "debug", "asan", "tsan", "fuzz")
    assert "-fvisibility=hidden" in told["flags"]
    assert told["compiler"]
    json.dumps(told)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads ELF")
def test_what_the_extension_module_links_exports_and_protects() -> None:
    if naquid.versions()["variant"] != "release":
        pytest.skip("only releases are hardened")
    data = Path(_naquid.__file__).read_bytes()
    assert script("check_wheel").extension_problems(data) == []
    assert str(ROOT).encode() not in data


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads ELF")
def test_what_is_wrong_with_an_extension_module_is_seen(tmp_path: Path) -> None:
    """The checks can fail."""
    source, target = tmp_path / "bad.c", tmp_path / "bad.so"
    in_text = '__asm__(".text\\n.quad leak\\n");\n'  # an address that must be written into the code
    source.write_text("int PyInit__naquid(void) { return 0; } int leak(void) { return 1; }\n" + in_text)
    cc = os.environ.get("CC", "cc").split()
    wrong = "-Wl,-z,lazy,-z,norelro,-z,execstack,-z,notext,-rpath,/opt"
    argv = [*cc, "-shared", "-fPIC", wrong, "-Wl,--no-as-needed", "-lm"]
    made = subprocess.run([*argv, "-o", str(target), str(source)], capture_output=True)
    if made.returncode:
        pytest.skip("this linker knows other options")
    problems = " ".join(script("check_wheel").extension_problems(target.read_bytes()))
    for word in ("leak", "BIND_NOW", "RELRO", "stack", "PATH", "text relocations"):
        assert word in problems
    target.write_bytes(Path(_naquid.__file__).read_bytes().replace(b"libc.so.6\0", b"liba.so.6\0"))
    assert "it needs liba.so.6" in script("check_wheel").extension_problems(target.read_bytes())
