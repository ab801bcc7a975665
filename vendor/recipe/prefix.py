"""Puts the built parts together: one folder per (pins, compiler, flags, variant)."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

from . import cares, ngtcp2, tls, tools
from .cache import cache_dir, key_of, make_once, scratch
from .debian import Apt
from .fetch import Archive, Unavailable, get
from .pins import Pin, load_pins
from .report import VendorError, say, warn

TLS = ("aws-lc", "boringssl")
RETRY_SECONDS = 3600.0  # without AWS-LC: every build would wait for the same places in vain


def build(variant: str, asked_tls: str | None = None, pins: dict[str, Pin] | None = None) -> Path:
    """The folder with headers, static libraries and versions.json; built if it is not there yet."""
    if sys.platform == "win32":
        raise VendorError("naquid does not build on Windows yet: build it in WSL, on Linux or on macOS.")
    pins = pins or load_pins()
    _check_tls(asked_tls)
    cache = cache_dir()
    compiler = tools.find_compiler()
    engine, dns, provider = _archives(pins, cache, asked_tls)
    tls_flags = (f"recipe {tls.RECIPE}", *tls.FLAGS[provider.name], *tools.target())
    tls_key = key_of(provider.name, provider.sha256, compiler.identity, *tls_flags)
    flags = ngtcp2.flags(variant, compiler)
    dns_flags = cares.flags(variant, compiler)
    key = key_of(
        tls_key, variant, engine.sha256, f"recipe {ngtcp2.RECIPE}", ngtcp2.config_h(), *flags,
        dns.sha256, f"recipe {cares.RECIPE}", cares.config_h(), *dns_flags,
    )  # fmt: skip

    def make_tls(output: Path, work: Path) -> None:
        tls.BUILDERS[provider.name](provider, output, work)

    def make(output: Path, work: Path) -> None:
        built = make_once(cache, "tls", f"{provider.name}-{tls_key}", make_tls)
        shutil.copytree(built, output, copy_function=_link, dirs_exist_ok=True)
        ngtcp2.build(engine, built, variant, compiler, output, work)
        cares.build(dns, variant, compiler, output, work)
        record = {
            "variant": variant,
            "tls": provider.name,
            "compiler": compiler.identity,
            "parts": [engine.record() | {"patched": ngtcp2.patched()}, dns.record(), provider.record()],
            "flags": {"ngtcp2": list(flags), "c-ares": list(dns_flags), provider.name: list(tls_flags)},
        }
        (output / "versions.json").write_text(json.dumps(record, indent=2) + "\n")

    name = f"{variant}-{provider.name}-{key}"
    known = (cache / "prefix" / name).is_dir()
    path = make_once(cache, "prefix", name, make)
    parts = f"ngtcp2 {engine.version}, c-ares {dns.version}, {provider.name} {provider.version}, {variant}"
    say(f"{'ready' if known else 'built'}: {parts}")
    return path


def fetch(asked_tls: str | None = None, pins: dict[str, Pin] | None = None) -> Path:
    """The folder of the cache that holds the verified sources, for a machine or container without a network."""
    _check_tls(asked_tls)
    cache = cache_dir()
    archives = _archives(pins or load_pins(), cache, asked_tls)
    say(f"fetched: {', '.join(archive.path.name for archive in archives)}")
    return cache / "downloads"


def _check_tls(asked: str | None) -> None:
    if asked is not None and asked not in TLS:
        raise VendorError(f"NAQUID_TLS is {asked!r}: set it to {' or '.join(TLS)}.")


def _archives(pins: dict[str, Pin], cache: Path, asked_tls: str | None) -> tuple[Archive, Archive, Archive]:
    """ngtcp2's, c-ares' and the TLS library's."""
    with scratch(cache) as work:
        apt = Apt(work)  # for all, so that its index is read once
        return (
            get(pins["ngtcp2"], cache, apt),
            get(pins["c-ares"], cache, apt),
            _tls_archive(pins, cache, apt, asked_tls),
        )


def _tls_archive(pins: dict[str, Pin], cache: Path, apt: Apt, asked: str | None) -> Archive:
    if asked is not None:
        return get(pins[asked], cache, apt)
    wanted = pins["aws-lc"]
    failed = cache / "downloads" / f"aws-lc-{wanted.digest[:12]}.unreachable"
    lately = failed.is_file() and time.time() - failed.stat().st_mtime < RETRY_SECONDS
    try:
        if lately and not (failed.parent / wanted.file).is_file():
            raise Unavailable(f"AWS-LC could not be fetched within the last hour: delete {failed} to try again now.")
        return get(wanted, cache, apt)
    except Unavailable as first:
        try:
            fallback = get(pins["boringssl"], cache, apt)
        except Unavailable:
            raise first from None
        if not lately:
            failed.touch()
        warn(f"building with BoringSSL in place of AWS-LC. {first}")
        return fallback


def _link(source: str, target: str) -> str:
    """A hard link where the file system has them: the libraries are the same in every variant."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
