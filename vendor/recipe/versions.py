"""The versions of a patched library, to try its patches on each of them: which there are, and their pristine sources.

A build takes the pinned one. Another may take its place (`accept`), so the patches have to fit that, too. What is got
here is for trying only: but for the pinned version there is no hash to compare with.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import fetch
from .cache import scratch, sha256_of
from .debian import Apt, upstream
from .pins import Pin, accepts, version_key
from .report import PlaceError, VendorError


def in_order(versions: set[str]) -> list[str]:
    """The oldest first."""
    return sorted(versions, key=version_key)


def spec_of(versions: list[str]) -> str:
    """The `accept` that says what was tried: from the oldest version to the last of the newest one's minor series."""
    major, minor = (*version_key(versions[-1]), 0)[:2]
    return f">={versions[0]},<{major}.{minor + 1}"


def at(pin: Pin, version: str) -> Pin:
    """The pin as it would be for another version; its hash is not known."""
    whole = re.compile(rf"(?<![\d.]){re.escape(pin.version)}(?!\d)")
    return dataclasses.replace(
        pin, version=version, sha256="", file=whole.sub(version, pin.file), root=whole.sub(version, pin.root),
        urls=tuple(whole.sub(version, url) for url in pin.urls),
    )  # fmt: skip


@dataclass
class Versions:
    """Where versions of pin are looked for: the cache, upstream's releases, Debian, and a clone of upstream's git
    repository, if there is one."""

    pin: Pin
    cache: Path
    apt: Apt
    git: Path | None = None
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _offers: dict[str, tuple[str, str]] | str | None = None

    def offers(self) -> dict[str, tuple[str, str]]:
        """What Debian has of the accepted versions: suite and Debian version of each. PlaceError: it was not asked."""
        if self._offers is None:
            try:
                if self.env.get("NAQUID_VENDOR_OFFLINE"):
                    raise PlaceError("NAQUID_VENDOR_OFFLINE is set")
                found = self.apt.offers(self.pin)
                self._offers = {upstream(version): (suite, version) for suite, version in reversed(found)}
            except PlaceError as error:
                self._offers = str(error)
        if isinstance(self._offers, str):
            raise PlaceError(f"Debian: {self._offers}")
        return {version: offer for version, offer in self._offers.items() if accepts(self.pin.accept, version)}

    def tags(self) -> set[str]:
        """The releases in the git repository."""
        if self.git is None:
            return set()
        return set(re.findall(r"^v(\d+\.\d+\.\d+)$", self._git("tag").decode(), re.MULTILINE))

    def get(self, version: str) -> fetch.Archive:
        """The pristine source of a version. Raises PlaceError, with every reason, when it cannot be had here."""
        if version == self.pin.version:
            return fetch.get(self.pin, self.cache, self.apt, self.env)
        wanted = at(self.pin, version)
        kept = self.cache / "tried" / wanted.file
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            with scratch(self.cache) as work:
                os.replace(self._from_places(wanted, work), kept)
        return fetch.Archive(wanted.name, version, sha256_of(kept), kept, wanted.root, wanted.keep, pinned=False)

    def _from_places(self, wanted: Pin, work: Path) -> Path:
        failed: list[str] = []
        if not self.env.get("NAQUID_VENDOR_OFFLINE"):
            for url in wanted.urls:
                try:
                    return fetch.from_url(url, work / wanted.file)
                except PlaceError as error:
                    failed.append(f"{url}: {error}")
        try:
            offer = self.offers().get(wanted.version)
            if offer is not None:
                return self.apt.download(offer[0], self.pin.debian["package"], offer[1])
            failed.append("Debian: not in its suites")
        except PlaceError as error:
            failed.append(str(error))
        if wanted.version in self.tags():
            return self._from_git(wanted, work)
        raise PlaceError("; ".join(failed))

    def _git(self, *arguments: str) -> bytes:
        argv = ["git", "-C", str(self.git), *arguments]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            raise VendorError(f"`{' '.join(argv)}` failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def _from_git(self, wanted: Pin, work: Path) -> Path:
        """A tag as upstream's release would pack it: with the one header that its configure script makes."""
        tree = work / "tree"
        with tarfile.open(
            fileobj=io.BytesIO(self._git("archive", f"--prefix={wanted.root}/", f"v{wanted.version}"))
        ) as tar:
            tar.extractall(tree, filter="data")
        numbers = [*map(int, wanted.version.split("."))]
        values = {
            "@PACKAGE_VERSION@": wanted.version,
            "@PACKAGE_VERSION_NUM@": "0x" + "".join(f"{number:02x}" for number in numbers),
        }
        for template in tree.rglob("version.h.in"):
            text = template.read_text()
            for name, value in values.items():
                text = text.replace(name, value)
            template.with_suffix("").write_text(text)
        packed = shutil.make_archive(str(work / "packed"), "gztar", tree)
        return Path(packed)
