"""Builds the TLS library, once and in Release, whatever the variant of the rest."""

from __future__ import annotations

import ast
import os
import shlex
import shutil
from pathlib import Path

from . import tools
from .fetch import Archive, unpack
from .report import VendorError, say

# Raised when the recipe itself changes in a way its flags do not show.
RECIPE = 1

AWS_LC_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_POSITION_INDEPENDENT_CODE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DBUILD_TESTING=OFF",
    "-DBUILD_TOOL=OFF",
    "-DBUILD_LIBSSL=ON",
    "-DDISABLE_GO=ON",
    "-DDISABLE_PERL=ON",
    # Its jitter source halts the first random number of a process by 30 ms; the kernel's stays.
    "-DDISABLE_CPU_JITTER_ENTROPY=ON",
)
HIDDEN = "-fvisibility=hidden"
# Its build makes every warning an error, those of compilers younger than itself too.
AWS_LC_C_FLAGS = (HIDDEN, "-w", "-Wno-unknown-warning-option")


def build_aws_lc(source: Archive, output: Path, work: Path) -> None:
    cmake, ninja = tools.find_tool("cmake"), tools.find_tool("ninja")
    cc, cxx = tools.find_compiler(), tools.find_compiler(cplusplus=True)
    root = unpack(source, work / "src")
    build = work / "build"
    env = dict(os.environ, CC=cc.command, CXX=cxx.command)
    # The library's error records hold file names: keep this machine's folders out of them.
    maps = (f"-ffile-prefix-map={path}=aws-lc" for path in (root, build))
    flags = shlex.join((*AWS_LC_C_FLAGS, *maps))
    say(f"configuring AWS-LC {source.version}")
    tools.run(
        [cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *AWS_LC_FLAGS, f"-DCMAKE_C_FLAGS={flags}",
         f"-DCMAKE_CXX_FLAGS={flags}", "-S", str(root), "-B", str(build)],
        "configuring AWS-LC", env=env,
    )  # fmt: skip
    say(f"compiling AWS-LC {source.version} (about a minute of processor time)")
    tools.run([ninja, "-C", str(build), f"-j{tools.jobs()}", "crypto", "ssl"], "compiling AWS-LC", env=env)
    _install(root / "include", [build / "crypto" / "libcrypto.a", build / "ssl" / "libssl.a"], output)


BORINGSSL_FLAGS = ("-O2", "-DNDEBUG", "-fPIC", "-w", "-D_GNU_SOURCE", "-DBORINGSSL_IMPLEMENTATION", HIDDEN)
BORINGSSL_CXX_FLAGS = ("-std=c++17", "-fno-exceptions", "-fno-rtti")


def build_boringssl(source: Archive, output: Path, work: Path) -> None:
    cc, cxx = tools.find_compiler(), tools.find_compiler(cplusplus=True)
    top = unpack(source, work / "src")
    root = top / "third_party" / "boringssl-with-bazel"
    shared = (*BORINGSSL_FLAGS, f"-ffile-prefix-map={root}=boringssl", f"-I{root / 'include'}")
    code, assembly = _boringssl_sources(top)
    say(f"compiling BoringSSL {source.version} ({len(code)} files, about two minutes of processor time)")
    libraries = [work / "libcrypto.a", work / "libssl.a"]
    for library, mine in zip(libraries, ([f for f in code if f.parent != root / "ssl"],
                                         [f for f in code if f.parent == root / "ssl"]), strict=True):  # fmt: skip
        objects = tools.compile_all(cxx, [*BORINGSSL_CXX_FLAGS, *shared], mine, work / library.stem, "BoringSSL")
        if library.stem == "libcrypto":
            # gas files guard themselves by platform, so all of them may be given to any compiler
            objects += tools.compile_all(cc, shared, assembly, work / "assembly", "BoringSSL")
        tools.archive(cxx, objects, library)
    _install(root / "include", libraries, output)


def _boringssl_sources(top: Path) -> tuple[list[Path], list[Path]]:
    """BoringSSL's C++ and assembly files, out of the lists its carrier is built from."""
    listing = top / "src" / "python" / "grpcio" / "grpc_core_dependencies.py"
    lists: dict[str, object] = {}
    for node in ast.parse(listing.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            lists[node.targets[0].id] = ast.literal_eval(node.value)
    code, assembly = lists.get("CORE_SOURCE_FILES"), lists.get("ASM_SOURCE_FILES")
    if not isinstance(code, list) or not isinstance(assembly, dict):
        raise VendorError(f"{listing.name} no longer lists its sources: adapt vendor/recipe/tls.py to it.")
    prefix = "third_party/boringssl-with-bazel/"

    def chosen(names: list[str]) -> list[Path]:
        return [top / name for name in names if name.startswith(prefix) and "/test_support/" not in name]

    return chosen(code), chosen(assembly["crypto_asm"])


def _install(include: Path, libraries: list[Path], output: Path) -> None:
    shutil.copytree(include / "openssl", output / "include" / "openssl")
    (output / "lib").mkdir()
    for library in libraries:
        shutil.copy2(library, output / "lib" / library.name)


BUILDERS = {"aws-lc": build_aws_lc, "boringssl": build_boringssl}
FLAGS = {"aws-lc": (*AWS_LC_FLAGS, *AWS_LC_C_FLAGS), "boringssl": (*BORINGSSL_CXX_FLAGS, *BORINGSSL_FLAGS)}
