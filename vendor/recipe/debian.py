"""Debian as a place: source packages by apt itself, in a configuration of its own.

The mirror is the one this machine already uses; only the suite is replaced. Signatures are checked
against the installed Debian keyring. No root is needed, and the machine's apt state stays untouched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .pins import Pin, accepts, version_key
from .report import PlaceError, say

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = "oldoldstable oldstable stable testing unstable bullseye bookworm trixie forky duke sid"
_SUITE = re.compile(rf"({'|'.join(SUITES.split())})(-updates|-backports)?")
_TIMEOUT = 300.0


@dataclass(frozen=True)
class Entry:
    """One line of an apt source list."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


def parse_one_line(text: str) -> Iterator[Entry]:
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        match = re.fullmatch(r"deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)", line)
        if match is None:
            continue
        options, uri, suite, components = match.groups()
        signed = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
        yield Entry(uri, suite, tuple(components.split()), signed.group(1) if signed else "")


def parse_deb822(text: str) -> Iterator[Entry]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = tuple(fields.get("components", "").split())
                yield Entry(uri, suite, components, fields.get("signed-by", "").strip())


def mirrors(etc_apt: Path = Path("/etc/apt")) -> list[str]:
    """The Debian mirrors this machine uses, in the order of its source lists."""
    lists = [etc_apt / "sources.list"]
    parts = etc_apt / "sources.list.d"
    if parts.is_dir():
        lists += sorted(parts.iterdir())
    found: list[str] = []
    for path in lists:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if path.suffix not in (".list", ".sources"):
            continue
        for entry in parse_deb822(text) if path.suffix == ".sources" else parse_one_line(text):
            foreign = entry.signed_by and "debian-archive" not in entry.signed_by and "-----" not in entry.signed_by
            archive = _SUITE.fullmatch(entry.suite) and "main" in entry.components
            if archive and not foreign and not entry.uri.startswith("cdrom:") and entry.uri not in found:
                found.append(entry.uri)
    return found


@dataclass
class Apt:
    """apt with its own lists and cache below a work folder; one per build."""

    work: Path
    etc_apt: Path = Path("/etc/apt")
    keyring: Path = KEYRING
    _ready: dict[str, Path] = field(default_factory=dict)

    def fetch(self, pin: Pin, pinned_only: bool) -> tuple[Path, str]:
        """The package's original archive and its version: the pinned one, else the newest accepted."""
        self._check()
        package, wanted, suites = pin.debian["package"], pin.debian["version"], pin.debian["suites"]
        offers: list[tuple[str, str]] = []
        for suite in suites:
            versions = self._versions(suite, package)
            if wanted in versions:
                return self.download(suite, package, wanted), wanted
            offers += [(suite, version) for version in versions]
        if pinned_only:
            raise PlaceError(f"{package} {wanted} is not in {', '.join(suites)}")
        usable = [offer for offer in offers if accepts(pin.accept, upstream(offer[1]))]
        if not usable:
            raise PlaceError(f"no {package} {pin.accept} in {', '.join(suites)}")
        suite, version = max(usable, key=lambda offer: version_key(upstream(offer[1])))
        return self.download(suite, package, version), version

    def offers(self, pin: Pin) -> list[tuple[str, str]]:
        """Every version of the package that its suites have: (suite, Debian version), in the order of the suites."""
        self._check()
        suites, package = pin.debian["suites"], pin.debian["package"]
        return [(suite, version) for suite in suites for version in self._versions(suite, package)]

    def _check(self) -> None:
        if shutil.which("apt-get") is None or not self.keyring.is_file():
            raise PlaceError("this machine has no apt with the Debian keyring")

    def _versions(self, suite: str, package: str) -> list[str]:
        config = self._configure(suite)
        shown = self._run(config, "apt-cache", "showsrc", "--only-source", package, check=False)
        return re.findall(r"^Version: (\S+)$", shown, re.MULTILINE)

    def _configure(self, suite: str) -> Path:
        if suite in self._ready:
            return self._ready[suite]
        uris = mirrors(self.etc_apt)
        if not uris:
            raise PlaceError("the apt sources name no Debian mirror")
        base = self.work / suite
        for folder in ("lists/partial", "cache/archives/partial", "state"):
            (base / folder).mkdir(parents=True, exist_ok=True)
        (base / "state" / "status").touch()
        sources = base / "sources.list"
        sources.write_text("".join(f"deb-src [signed-by={self.keyring}] {uri} {suite} main\n" for uri in uris[:2]))
        config = base / "apt.conf"
        lines = [
            # How to reach the network is the machine's business; its hooks and lists are not ours.
            *self._network_options(),
            'Dir::Etc::Main "/dev/null";',
            'Dir::Etc::Parts "/dev/null";',
            'Dir::Etc::Preferences "/dev/null";',
            'Dir::Etc::PreferencesParts "/dev/null";',
            'Dir::Etc::SourceParts "/dev/null";',
            f'Dir::Etc::SourceList "{sources}";',
            f'Dir::State "{base}/state";',
            f'Dir::State::Status "{base}/state/status";',
            f'Dir::State::Lists "{base}/lists";',
            f'Dir::Cache "{base}/cache";',
            f'Dir::Log "{base}/state";',
            'APT::Sandbox::User "root";',  # the unprivileged download user could not enter our folder
            'Acquire::Languages "none";',
            'Acquire::Retries "1";',
            'Acquire::http::Timeout "10";',
            'Acquire::https::Timeout "10";',
        ]
        config.write_text("\n".join(lines) + "\n")
        say(f"reading Debian's index of {suite}")
        self._run(config, "apt-get", "-q", "update")
        self._ready[suite] = config
        return config

    def _network_options(self) -> list[str]:
        dump = self._run(None, "apt-config", "dump", check=False)
        return [line for line in dump.splitlines() if line.startswith("Acquire::") and line.endswith('";')]

    def download(self, suite: str, package: str, version: str) -> Path:
        """The original archive of a version that this suite offers."""
        target = self.work / f"{package}-{suite}"
        target.mkdir(exist_ok=True)
        say(f"fetching {package} {version} from Debian {suite}")
        config = self._ready[suite]
        self._run(config, "apt-get", "-q", "source", "--download-only", "--only-source",
                  f"{package}={version}", cwd=target)  # fmt: skip
        found = sorted(p for p in target.iterdir() if re.search(r"\.orig\.tar\.(xz|gz|bz2)$", p.name))
        if not found:
            raise PlaceError(f"Debian's {package} {version} has no original archive")
        return found[0]

    def _run(self, config: Path | None, *argv: str, check: bool = True, cwd: Path | None = None) -> str:
        env = dict(os.environ, LC_ALL="C")
        if config is not None:
            env["APT_CONFIG"] = str(config)
        try:
            done = subprocess.run(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, errors="replace", timeout=_TIMEOUT)  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlaceError(f"{argv[0]} did not run ({error})") from error
        if check and done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            raise PlaceError(f"{' '.join(argv[:3])} failed: {lines[0][2:].strip() if lines else 'no reason given'}")
        return done.stdout


def upstream(version: str) -> str:
    """The upstream part of a Debian version: "1:1.24.0+dfsg-1~bpo13+1" gives "1.24.0+dfsg"."""
    return version.split(":", 1)[-1].rsplit("-", 1)[0]
