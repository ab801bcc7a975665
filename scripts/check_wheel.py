#!/usr/bin/env python3
"""Checks wheels: size, contents, and what their extension module links, exports and protects.

    scripts/check_wheel.py dist/*.whl

Needs pyelftools (which auditwheel brings along). Prints one line per wheel; ends with 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import zipfile
from pathlib import Path

from elftools.elf.constants import P_FLAGS
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

MAX_SIZE = 4_000_000
INIT = "PyInit__naquid"
# glibc's and musl's own parts; a wheel may ask a machine for nothing else.
LIBC = re.compile(r"(libc|libm|libpthread|libdl|librt)\.so\.\d+|ld-linux[-\w]*\.so\.\d+|(ld-|libc\.)musl-\w+\.so\.1")
# BoringSSL is C++. With it, a wheel may ask for these, too.
CPLUSPLUS = re.compile(r"libstdc\+\+\.so\.6|libgcc_s\.so\.1")
LICENCES = ("LICENSE", "NOTICE", "THIRD-PARTY-NOTICES.md", "vendor/licenses/ngtcp2.txt", "vendor/licenses/c-ares.txt",
            "vendor/licenses/aws-lc.txt",
            "vendor/licenses/Apache-2.0.txt", "vendor/licenses/fiat-crypto.txt")  # fmt: skip
DF_TEXTREL, DF_BIND_NOW, DF_1_NOW = 0x4, 0x8, 0x1


def extension_problems(data: bytes) -> list[str]:
    """What is wrong with an extension module for Linux."""
    elf = ELFFile(io.BytesIO(data))
    problems = []
    dynamic = elf.get_section_by_name(".dynamic")
    symbols = elf.get_section_by_name(".dynsym")
    if not isinstance(dynamic, DynamicSection) or not isinstance(symbols, SymbolTableSection):
        return ["it is no shared object"]
    tags = {tag.entry.d_tag: tag for tag in dynamic.iter_tags()}
    needed: list[str] = [getattr(tag, "needed") for tag in dynamic.iter_tags("DT_NEEDED")]  # noqa: B009 - it is set so
    boringssl = b"BoringSSL" in data and b"AWS-LC" not in data
    strange = [name for name in needed if not LIBC.fullmatch(name) and not (boringssl and CPLUSPLUS.fullmatch(name))]
    if strange:
        problems.append(f"it needs {', '.join(strange)}")
    if not needed:
        problems.append("it needs no libc")
    exported = sorted(s.name for s in symbols.iter_symbols()
                      if s.entry.st_shndx != "SHN_UNDEF" and s.entry.st_info.bind != "STB_LOCAL")  # fmt: skip
    if exported != [INIT]:
        problems.append(f"it exports {', '.join(exported[:10]) or 'nothing'}")
    flags = tags["DT_FLAGS"].entry.d_val if "DT_FLAGS" in tags else 0
    flags_1 = tags["DT_FLAGS_1"].entry.d_val if "DT_FLAGS_1" in tags else 0
    if not (flags & DF_BIND_NOW or flags_1 & DF_1_NOW):
        problems.append("no BIND_NOW")
    if "DT_TEXTREL" in tags or flags & DF_TEXTREL:
        problems.append("it has text relocations")
    problems += [f"it has {tag}" for tag in ("DT_RPATH", "DT_RUNPATH") if tag in tags]
    segments = {segment.header.p_type: segment.header.p_flags for segment in elf.iter_segments()}
    if "PT_GNU_RELRO" not in segments:
        problems.append("no RELRO")
    if segments.get("PT_GNU_STACK", P_FLAGS.PF_X) & P_FLAGS.PF_X:
        problems.append("its stack is executable")
    both = P_FLAGS.PF_W | P_FLAGS.PF_X
    if any(s.header.p_flags & both == both for s in elf.iter_segments("PT_LOAD")):
        problems.append("a segment is writable and executable")
    # A folder of whoever built it has no business in it.
    leaked = sorted({match.decode() for match in re.findall(rb"/(?:home|root|Users|project|tmp)/[\w./-]{3,60}", data)})
    if leaked:
        problems.append(f"it names {', '.join(leaked[:5])}")
    return problems


def wheel_problems(path: Path) -> list[str]:
    """What is wrong with a wheel."""
    problems = []
    size = path.stat().st_size
    if size > MAX_SIZE:
        problems.append(f"it has {size:,} bytes, more than {MAX_SIZE:,}")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = next((name.split("/")[0] for name in names if ".dist-info/" in name), "")
        modules = [name for name in names if re.search(r"\.(so|pyd|dylib)(\.|$)", name)]
        if len(modules) != 1 or not modules[0].startswith("naquid/_naquid."):
            problems.append(f"its binaries are {modules}")
        elif "linux" in path.name:
            problems += extension_problems(wheel.read(modules[0]))
        wanted = ["naquid/py.typed", "naquid/_naquid.pyi", *(f"{info}/licenses/{name}" for name in LICENCES)]
        problems += [f"{name} is missing" for name in wanted if name not in names]
        sources = [n for n in names if n.endswith((".c", ".h", ".pyx", ".pxd", ".pyc"))]
        strangers = [n for n in sources if not n.startswith("naquid/include/")]
        strangers += [n for n in names if n.split("/")[0] not in ("naquid", info)]
        if strangers:
            problems.append(f"it also holds {', '.join(strangers[:5])}")
        metadata = wheel.read(f"{info}/METADATA").decode()
        if re.search(r"^Requires-Dist: (?!.*extra ==)", metadata, re.MULTILINE):
            problems.append("it requires other packages")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description="Check wheels of naquid.")
    parser.add_argument("wheels", nargs="+", type=Path)
    failed = 0
    for path in parser.parse_args().wheels:
        problems = wheel_problems(path)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {'; '.join(problems) or 'ok'}")
        failed |= bool(problems)
    return failed


if __name__ == "__main__":
    sys.exit(main())
