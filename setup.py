"""Builds the one extension module, naquid._naquid: Cython, the engine's C files and the vendored libraries.

    NAQUID_VARIANT=release|debug|asan|tsan|coverage   (NAQUID_DEBUG=1 is short for debug)
    NAQUID_TLS=aws-lc|boringssl   NAQUID_JOBS=n   NAQUID_LTO=0   CC   CFLAGS   LDFLAGS   ARCHFLAGS

`setup.py build_ext --compdb` compiles nothing: it writes compile_commands.json, by which editors know the flags of each
C file. So does a build in place.

The compile is our own rather than setuptools': parallel, and limited to what changed, headers included.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":  # before anything that could fail for a lesser reason
    sys.exit("error: naquid does not support Windows yet: install it in WSL, on Linux or on macOS.")

import json
import os
import shlex
import shutil
import sysconfig
from pathlib import Path
from typing import Any, ClassVar

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "vendor"))

from recipe import incremental, ngtcp2, prefix, tools  # noqa: E402
from recipe.cache import locked  # noqa: E402
from recipe.incremental import Step  # noqa: E402
from recipe.report import VendorError, say  # noqa: E402

MODULE = "naquid._naquid"
CYTHON = Path("src_cython")
ENGINE = CYTHON / "engine"
ENGINE_TESTS = Path("tests/engine")
# An include of the engine names the floor it is from; its public headers stand in a folder of their own.
ENGINE_FOLDERS = (f"-I{ENGINE}", f"-I{ENGINE / 'include'}")
NATIVE_HEADER = "include/naquid_native.h"
# freethreading_compatible: tests/threads has passed under the thread sanitizer, on a CPython built with it.
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": "False",
    "wraparound": "False",
    "cdivision": "True",
    "embedsignature": "True",
    "freethreading_compatible": "True",
}
# Line tracing: sys.settrace, coverage and profilers see into the binding.
DEBUG_DIRECTIVES = {"linetrace": "True"}

VARIANT_FLAGS = {
    "release": ("-O3", "-DNDEBUG", *ngtcp2.HARDENING),
    "debug": ("-O1", "-g", "-DNQ_DEBUG"),
    "asan": ("-O1", "-g", "-DNQ_DEBUG", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"),
    "tsan": ("-O1", "-g", "-DNQ_DEBUG", "-fsanitize=thread", "-fno-omit-frame-pointer"),
    "coverage": ("-O0", "-g", "-DNQ_DEBUG"),
}
# Of the link, too. Lines are counted in the engine only: the binding's C is generated.
RUNTIME = {"asan": ("-fsanitize=address,undefined",), "tsan": ("-fsanitize=thread",), "coverage": ("--coverage",)}
NATIVE = {"coverage": "debug"}  # the variant of the native libraries, where it is another one


def variant() -> str:
    name = os.environ.get("NAQUID_VARIANT") or ("debug" if os.environ.get("NAQUID_DEBUG", "0") != "0" else "release")
    if name not in VARIANT_FLAGS:
        raise VendorError(f"NAQUID_VARIANT is {name!r}: set it to one of {', '.join(VARIANT_FLAGS)}.")
    return name


def words(name: str) -> list[str]:
    return shlex.split(os.environ.get(name, ""))


class BuildExtension(build_ext):
    """Makes naquid._naquid; every failure ends in one sentence."""

    user_options: ClassVar = [
        *build_ext.user_options,
        ("compdb", None, "only write compile_commands.json, for editors"),
    ]
    boolean_options: ClassVar = [*build_ext.boolean_options, "compdb"]

    def initialize_options(self) -> None:
        super().initialize_options()
        self.compdb = False

    def run(self) -> None:
        try:
            super().run()
        except VendorError as error:
            say(f"error: {error}")
            sys.exit(1)
        except PermissionError as error:
            say(f"error: {error.filename} cannot be written: run `make clean` as the user who built it.")
            sys.exit(1)

    def build_extension(self, ext: Extension) -> None:
        # Relative paths throughout: they keep this machine's folders out of the binary and the stamps.
        os.chdir(HERE)
        self.extension_file = Path(self.get_ext_fullpath(ext.name))
        kind = variant()
        with locked(Path("build"), "extension"):  # two builds in one tree would overwrite each other
            self._build(kind, prefix.build(NATIVE.get(kind, kind), os.environ.get("NAQUID_TLS") or None))

    def _build(self, kind: str, native: Path) -> None:
        compiler = tools.find_compiler()
        record = json.loads((native / "versions.json").read_text())
        optimise = kind == "release" and compiler.is_gcc and os.environ.get("NAQUID_LTO", "1") != "0"
        common = [
            "-fPIC", "-fvisibility=hidden", "-D_GNU_SOURCE", "-DNGTCP2_STATICLIB", "-pthread", *VARIANT_FLAGS[kind],
            *(["-flto"] if optimise else []), *words("ARCHFLAGS"),
        ]  # fmt: skip
        engine_steps = self._engine_steps(compiler, common, self._facts(record, common), native, kind)
        if self.compdb or self.inplace:
            tests = self._test_steps(compiler, native)
            write_compile_commands([*engine_steps, *tests])
        if self.compdb:
            return
        made = incremental.run(engine_steps)
        say(f"engine: {made} of {len(engine_steps)} files compiled")
        engine = [step.output for step in engine_steps]
        binding = self._binding(compiler, common, kind)
        self._link(compiler, common, [binding, *engine], native, record, kind, optimise)

    def _facts(self, record: dict[str, Any], flags: list[str]) -> str:
        """What `naquid versions` shows and the libraries cannot say themselves, as a literal in C."""
        facts = {
            "compiler": record["compiler"],
            "flags": " ".join(flag for flag in flags if "/" not in flag),  # no folders of this machine
            "variant": record["variant"],
            "pins": {
                part["name"]: {key: part[key] for key in ("version", "sha256", "pinned", "patched") if key in part}
                for part in record["parts"]
            },
        }
        return json.dumps(json.dumps(facts))

    def _engine_steps(
        self, compiler: tools.Compiler, common: list[str], facts: str, native: Path, kind: str
    ) -> list[Step]:
        """The engine's objects; they know no Python, so every Python version shares them."""
        folder = Path("build") / f"objects-{kind}"
        counted = RUNTIME[kind] if kind == "coverage" else ()
        flags = ["-std=c11", *common, *counted, "-Wall", "-Wextra", "-Wconversion", *ENGINE_FOLDERS,
                 "-isystem", str(native / "include"), *words("CFLAGS")]  # fmt: skip
        extra = {"version": [f"-DNQ_BUILD_FACTS={facts}"]}
        return [
            self._compile(
                compiler,
                [*flags, *extra.get(source.stem, ())],
                source,
                folder / source.relative_to(ENGINE).with_suffix(".o"),
            )
            for source in sorted(ENGINE.rglob("*.c"))
        ]

    def _test_steps(self, compiler: tools.Compiler, native: Path) -> list[Step]:
        """As tests/engine/Makefile compiles its files; only for compile_commands.json."""
        flags = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-g", "-D_GNU_SOURCE", "-DNQ_DEBUG",
                 "-DNGTCP2_STATICLIB", "-O1", *ENGINE_FOLDERS, f"-I{ENGINE_TESTS}", "-isystem", str(native / "include"),
                 *words("CFLAGS")]  # fmt: skip
        folder = Path("build/engine-none")
        return [
            self._compile(compiler, flags, source, folder / source.with_suffix(".o").name)
            for source in sorted(ENGINE_TESTS.glob("*.c"))
        ]

    def _binding(self, compiler: tools.Compiler, common: list[str], kind: str) -> Path:
        folder = Path(self.build_temp) / kind
        source = CYTHON / "_naquid.pyx"
        generated = folder / "_naquid.c"
        chosen = DIRECTIVES | (DEBUG_DIRECTIVES if kind == "debug" else {})
        directives = [word for name, value in chosen.items() for word in ("-X", f"{name}={value}")]
        lines = ["--line-directives"] if kind == "debug" else []  # a debugger shows the .pyx
        # Any .pyx, .pxd or .pxi may be part of the one module.
        parts = tuple(sorted(path for path in CYTHON.rglob("*.p*") if path.suffix in (".pyx", ".pxd", ".pxi")))
        cython = Step(
            (sys.executable, "-m", "cython", "-3", "--module-name", MODULE, f"-I{CYTHON}", *lines, *directives,
             "-o", str(generated), str(source)),
            generated, parts, "translating the binding with Cython",
        )  # fmt: skip
        if incremental.run([cython]):
            say("binding: translated")
        headers = dict.fromkeys(sysconfig.get_path(name) for name in ("include", "platinclude"))
        # Generated code: its warnings are nobody's to mend.
        trace = ["-DCYTHON_TRACE=1"] if kind == "debug" else []
        folders = [f"-I{CYTHON}", *ENGINE_FOLDERS, *(f"-I{path}" for path in headers)]
        flags = [*common, *trace, "-w", *folders, *words("CFLAGS")]
        step = self._compile(compiler, flags, generated, folder / "_naquid.o")
        if incremental.run([step]):
            say("binding: compiled")
        return step.output

    def _compile(self, compiler: tools.Compiler, flags: list[str], source: Path, target: Path) -> Step:
        depfile = target.with_suffix(".d")
        argv = (*compiler.argv, *flags, "-MMD", "-MF", str(depfile), "-c", str(source), "-o", str(target))
        return Step(argv, target, (source,), f"compiling {source.name}", depfile)

    def _link(self, compiler: tools.Compiler, common: list[str], objects: list[Path], native: Path,
              record: dict[str, Any], kind: str, optimise: bool) -> None:  # fmt: skip
        libraries = [native / "lib" / name for name in ("libngtcp2.a", "libcares.a", "libssl.a", "libcrypto.a")]
        folder = Path(self.build_temp) / kind
        folder.mkdir(parents=True, exist_ok=True)
        exports = folder / "exports"
        init = f"PyInit_{MODULE.rpartition('.')[2]}"
        if sys.platform == "darwin":
            text = f"_{init}\n"
            shared = ["-bundle", "-undefined", "dynamic_lookup", f"-Wl,-exported_symbols_list,{exports}"]
        else:
            text = f"{{ global: {init}; local: *; }};\n"
            # Another OpenSSL lives in the same process: not one of our symbols may be seen from outside.
            shared = ["-shared", f"-Wl,--version-script={exports}", "-Wl,--exclude-libs,ALL",
                      "-Wl,-z,relro,-z,now,-z,noexecstack,-z,text", "-Wl,--as-needed"]  # fmt: skip
        if not exports.is_file() or exports.read_text() != text:
            exports.write_text(text)
        # One unit of engine and ngtcp2: 15 to 22 % off the cost of a packet.
        # Its warnings come from inlining across ngtcp2's files; each of ours had its own already.
        lto = [*common, "-flto=auto", "-w"] if optimise else list(RUNTIME.get(kind, ()))
        standard = ["-lc++" if sys.platform == "darwin" else "-lstdc++"] if record["tls"] == "boringssl" else []
        linked = folder / self.extension_file.name
        argv = (*compiler.argv, *shared, *lto, *words("ARCHFLAGS"), "-o", str(linked), *map(str, objects),
                *map(str, libraries), *standard, "-lpthread", "-lm", *words("LDFLAGS"))  # fmt: skip
        step = Step(argv, linked, (*objects, *libraries, exports), "linking naquid._naquid")
        if incremental.run([step]):
            say("extension: linked")
        place(linked, self.extension_file)

    def copy_extensions_to_source(self) -> None:
        if self.compdb:
            return
        for ext in self.extensions:
            name = self.get_ext_filename(self.get_ext_fullname(ext.name))
            place(Path(self.build_lib) / name, HERE / name)


def write_compile_commands(steps: list[Step]) -> None:
    """The compilation database that editors and other tools for C look for: compile_commands.json at the root."""
    entries = [
        {"directory": str(HERE), "file": str(step.inputs[0]), "output": str(step.output), "arguments": list(step.argv)}
        for step in steps
    ]
    target, text = HERE / "compile_commands.json", json.dumps(entries, indent=1) + "\n"
    if not target.is_file() or target.read_text() != text:
        target.write_text(text)


def place(built: Path, target: Path) -> None:
    """Copies a module to where it belongs, in one move: a running Python may have the old one mapped."""
    if target.exists() and target.stat().st_mtime_ns == built.stat().st_mtime_ns:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    shutil.copy2(built, fresh)
    os.replace(fresh, target)
    say(f"ready: {os.path.relpath(target)}")


def copy_native_header() -> None:
    """The package carries a copy of the one header of the engine that users compile against."""
    source, target = HERE / ENGINE / NATIVE_HEADER, HERE / "naquid" / NATIVE_HEADER
    if not target.is_file() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)


copy_native_header()
setup(
    ext_modules=[Extension(MODULE, [str(CYTHON / "_naquid.pyx")])],
    cmdclass={"build_ext": BuildExtension},
)
