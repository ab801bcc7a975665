"""Reads pins.toml."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .report import VendorError

PINS_FILE = Path(__file__).resolve().parent.parent / "pins.toml"


@dataclass(frozen=True)
class Pin:
    """One archive: what it is, and where to look for it."""

    name: str
    version: str
    sha256: str
    file: str
    root: str
    keep: tuple[str, ...] = ()
    accept: str = ""
    tried: dict[str, Any] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    debian: dict[str, Any] = field(default_factory=dict)
    pypi: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Changes whenever the pinned bytes or the part of them that is used change."""
        inputs = (self.name, self.version, self.sha256, self.root, *self.keep)
        return hashlib.sha256("\0".join(inputs).encode()).hexdigest()


def load_pins(path: Path = PINS_FILE) -> dict[str, Pin]:
    try:
        with path.open("rb") as stream:
            table = tomllib.load(stream)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise VendorError(f"Cannot read the pins ({error}): restore {path} from version control.") from error
    pins: dict[str, Pin] = {}
    for name, entry in table.items():
        known = {key: value for key, value in entry.items() if key != "licence"}
        known |= {key: tuple(known.get(key, ())) for key in ("keep", "urls")}
        try:
            pins[name] = Pin(name=name, **known)
        except TypeError as error:
            raise VendorError(f"The entry [{name}] in {path} is not a pin ({error}): mend it.") from error
    return pins


def version_key(version: str) -> tuple[int, ...]:
    """The leading dotted numbers of a version, trailing zeros dropped, for comparing."""
    numbers: list[int] = []
    for piece in version.split("."):
        digits = ""
        for char in piece:
            if not char.isdigit():
                break
            digits += char
        if not digits:
            break
        numbers.append(int(digits))
        if digits != piece:
            break
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def accepts(spec: str, version: str) -> bool:
    """Whether version lies in a spec such as ">=1.22.1,<2". An empty spec accepts nothing."""
    if not spec:
        return False
    have = version_key(version)
    for clause in spec.split(","):
        clause = clause.strip()
        if clause.startswith(">="):
            if have < version_key(clause[2:]):
                return False
        elif clause.startswith("<"):
            if have >= version_key(clause[1:]):
                return False
        else:
            raise VendorError(f"Cannot read the version clause {clause!r} in pins.toml: use >= and <.")
    return True
