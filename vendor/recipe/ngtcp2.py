"""Builds ngtcp2 and its TLS glue, straight from the C files: it needs no configure step of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import patch, tools
from .cache import sha256_of
from .fetch import Archive, unpack
from .report import say
from .tools import Compiler

OURS = Path(__file__).resolve().parents[1] / "ngtcp2"

# Changes of the library's own files, each with the report that upstream gets.
PATCHES = patch.series(OURS / "patches")

# What is added: compiled beside the library's files, with their internal headers, and installed with its public ones.
EXT = (OURS / "ext" / "ngtcp2_ext.c", OURS / "ext" / "ngtcp2_ext.h")
EXT_WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wcast-qual")  # no const is cast away

# The number is raised when the recipe itself changes in a way its flags and config.h do not show.
RECIPE = f"2 {PATCHES} {[sha256_of(path) for path in EXT]}"


def patched() -> list[str]:
    """What is not as upstream ships it, a line each."""
    return [item.why for item in PATCHES]


# The engine is compiled with the same, or link-time optimisation could not inline across the two.
HARDENING = ("-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2")

_VARIANTS = {
    "release": ("-O3", "-DNDEBUG", *HARDENING),
    "debug": ("-O1", "-g"),
    "asan": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"),
    "fuzz": ("-O1", "-g", "-fsanitize=address,undefined,fuzzer-no-link", "-fno-omit-frame-pointer"),  # clang only
    "tsan": ("-O1", "-g", "-fsanitize=thread", "-fno-omit-frame-pointer"),
}
VARIANTS = tuple(_VARIANTS)

# Fat: the objects serve a link with and without link-time optimisation, and a different linker.
_GCC_RELEASE = ("-flto", "-ffat-lto-objects")
_COMMON = (
    "-std=gnu11", "-fPIC", "-fvisibility=hidden", "-w", "-D_GNU_SOURCE", "-DHAVE_CONFIG_H", "-DNGTCP2_STATICLIB",
)  # fmt: skip

_LINUX = """\
#define HAVE_ENDIAN_H 1
#define HAVE_BYTESWAP_H 1
#define HAVE_ASM_TYPES_H 1
#define HAVE_LINUX_NETLINK_H 1
#define HAVE_LINUX_RTNETLINK_H 1
#define HAVE_EXPLICIT_BZERO 1
#define HAVE_DECL_BE64TOH 1
#define HAVE_DECL_BSWAP_64 1
"""
_OTHER = """\
#define HAVE_DECL_BE64TOH 0
#define HAVE_DECL_BSWAP_64 0
"""
_CONFIG = """\
#define HAVE_ARPA_INET_H 1
#define HAVE_NETINET_IN_H 1
#define HAVE_NETINET_IP_H 1
#define HAVE_UNISTD_H 1
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define WORDS_BIGENDIAN 1
#endif
"""


def config_h() -> str:
    return _CONFIG + (_LINUX if sys.platform.startswith("linux") else _OTHER)


def flags(variant: str, compiler: Compiler) -> tuple[str, ...]:
    extra = _GCC_RELEASE if variant == "release" and compiler.is_gcc else ()
    return (*_COMMON, *_VARIANTS[variant], *extra)


def prepare(root: Path) -> None:
    """Patches an unpacked source and puts our files into it. Raises VendorError when a patch does not fit."""
    patch.apply(root, PATCHES)
    source, header = EXT
    (root / "ext").mkdir()
    shutil.copyfile(source, root / "ext" / source.name)
    shutil.copyfile(header, root / "lib" / "includes" / "ngtcp2" / header.name)


def folders(root: Path, generated: Path, tls: Path) -> list[Path]:
    """Where the library's files look for headers."""
    lib, crypto = root / "lib", root / "crypto"
    return [generated, lib / "includes", lib, crypto / "includes", crypto, tls / "include"]


def ext_flags(given: Sequence[str]) -> list[str]:
    """given, with warnings: ours are looked at, those of the library's headers are not."""
    return [*(flag for flag in given if flag != "-w"), *EXT_WARNINGS]


def build(source: Archive, tls: Path, variant: str, compiler: Compiler, output: Path, work: Path) -> None:
    """Puts include/ngtcp2 and lib/libngtcp2.a (with the TLS glue) into output."""
    root = unpack(source, work / "src")
    prepare(root)
    generated = work / "config"
    generated.mkdir()
    (generated / "config.h").write_text(config_h())
    lib, crypto = root / "lib", root / "crypto"
    sources = [*sorted(lib.glob("*.c")), crypto / "shared.c", crypto / "boringssl" / "boringssl.c"]
    includes = folders(root, generated, tls)
    say(f"compiling ngtcp2 {source.version} ({variant}, {len(sources)} files)")
    common = [*flags(variant, compiler), f"-ffile-prefix-map={root}=ngtcp2"]
    objects = tools.compile_all(
        compiler, [*common, *(f"-I{path}" for path in includes)], sources, work / "objects", "ngtcp2"
    )
    objects += tools.compile_all(
        compiler, [*ext_flags(common), *(f"-isystem{path}" for path in includes)],
        [root / "ext" / EXT[0].name], work / "ext-objects", "what is added to ngtcp2",
    )  # fmt: skip
    (output / "lib").mkdir(parents=True, exist_ok=True)
    tools.archive(compiler, objects, output / "lib" / "libngtcp2.a")
    headers = output / "include" / "ngtcp2"
    headers.mkdir(parents=True)
    for header in (*lib.glob("includes/ngtcp2/*.h"), *crypto.glob("includes/ngtcp2/*.h")):
        if not header.stem.startswith("ngtcp2_crypto_") or header.stem == "ngtcp2_crypto_boringssl":
            shutil.copy2(header, headers / header.name)
