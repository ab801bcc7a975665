"""Why the extension module is not there. Loaded only when it is not."""

from __future__ import annotations

import re
import shlex
import sys
import sysconfig
from pathlib import Path

EXTENSION = re.compile(r"\.cpython-3(?P<minor>\d+)(?P<threads>t?)(?P<debug>d?)(-(?P<system>.+))?\.so$")


def interpreter(suffix: str) -> str:
    """Whom an extension with this suffix is for, as "CPython 3.13 (x86_64-linux-gnu)"; else the suffix itself."""
    found = EXTENSION.match(suffix)
    if not found:
        return suffix
    kind = (" free-threaded" if found["threads"] else "") + (" debug" if found["debug"] else "")
    return f"CPython 3.{found['minor']}{kind} ({found['system'] or sys.platform})"


def why(error: ImportError) -> str:
    """One sentence: what is wrong with the extension module here, and what to do."""
    folder = Path(__file__).resolve().parent
    root = folder.parent
    if root.is_file():
        return (
            "naquid cannot be imported out of an archive: Python loads no extension module (naquid._naquid) from one; "
            f"install {root.name} by `python -m pip`"
        )
    this = interpreter(sysconfig.get_config_var("EXT_SUFFIX") or ".so")
    is_source = (root / "setup.py").exists() and (root / "src_cython").is_dir()
    make = f"make -C {shlex.quote(str(root))} build"
    again = f"run `{make}`" if is_source else "install naquid again, by `python -m pip` of this very Python"
    if not isinstance(error, ModuleNotFoundError):
        return f"naquid's extension module cannot be loaded here ({error}): {again}"
    others = sorted(path.name.removeprefix("_naquid") for path in folder.glob("_naquid.*.so"))
    if others:
        made_for = ", ".join(interpreter(suffix) for suffix in others)
        if is_source:
            again = f"run `PYTHON={shlex.quote(sys.executable)} {make}`"
        return f"naquid in {folder} was built for {made_for}, and this is {this}: use that Python, or {again}"
    if is_source:
        return (
            f"{root} is the source folder of naquid, where its extension module is not built: {again}, or start Python "
            "in another folder, with naquid installed (`pip install` of this folder, or of a wheel)"
        )
    return f"naquid in {folder} lacks its extension module for {this}: {again}"
