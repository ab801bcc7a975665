"""Builds the TLS library, once and in Release, whatever the variant of the rest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import tools
from .fetch import Archive, unpack
from .report import say

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


def build_aws_lc(source: Archive, output: Path, work: Path) -> None:
    cmake, ninja = tools.find_tool("cmake"), tools.find_tool("ninja")
    cc, cxx = tools.find_compiler(), tools.find_compiler(cplusplus=True)
    root = unpack(source, work / "src")
    build = work / "build"
    env = dict(os.environ, CC=cc.command, CXX=cxx.command)
    # The library's error records hold file names: keep this machine's folders out of them.
    flags = f"{HIDDEN} -ffile-prefix-map={root}=aws-lc -ffile-prefix-map={build}=aws-lc"
    say(f"configuring AWS-LC {source.version}")
    tools.run(
        [cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *AWS_LC_FLAGS, f"-DCMAKE_C_FLAGS={flags}",
         f"-DCMAKE_CXX_FLAGS={flags}", "-S", str(root), "-B", str(build)],
        "configuring AWS-LC", env=env,
    )  # fmt: skip
    say(f"compiling AWS-LC {source.version} (about a minute of processor time)")
    tools.run([ninja, "-C", str(build), f"-j{tools.jobs()}", "crypto", "ssl"], "compiling AWS-LC", env=env)
    _install(root / "include", [build / "crypto" / "libcrypto.a", build / "ssl" / "libssl.a"], output)


def _install(include: Path, libraries: list[Path], output: Path) -> None:
    shutil.copytree(include / "openssl", output / "include" / "openssl")
    (output / "lib").mkdir()
    for library in libraries:
        shutil.copy2(library, output / "lib" / library.name)


BUILDERS = {"aws-lc": build_aws_lc}
FLAGS = {"aws-lc": AWS_LC_FLAGS}
