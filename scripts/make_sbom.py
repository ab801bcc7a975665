#!/usr/bin/env python3
"""Prints the bill of materials of a wheel in CycloneDX 1.6: naquid and what is linked into it, from vendor/pins.toml.

    scripts/make_sbom.py [--tls aws-lc|boringssl]

Needs cyclonedx-python-lib. naquid requires no Python package, so there is nothing else in a wheel.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
HOMES = {"ngtcp2": "ngtcp2/ngtcp2", "c-ares": "c-ares/c-ares", "aws-lc": "aws/aws-lc", "boringssl": "google/boringssl"}


def bill(tls: str) -> Bom:
    """The bill of a wheel that has this TLS library."""
    found = re.search(r'__version__ = "(.*)"', (ROOT / "naquid" / "_version.py").read_text())
    assert found is not None
    licence = LicenseFactory()
    root = Component(
        name="naquid", version=found[1], type=ComponentType.LIBRARY, bom_ref="naquid",
        purl=PackageURL("pypi", None, "naquid", found[1]), licenses=[licence.make_from_string("Apache-2.0")],
    )  # fmt: skip
    bom = Bom()
    bom.metadata.component = root
    pins = tomllib.loads((ROOT / "vendor" / "pins.toml").read_text())
    parts = []
    for name in ("ngtcp2", "c-ares", tls):
        pin = pins[name]
        owner, project = HOMES[name].split("/")
        archive = ExternalReference(
            type=ExternalReferenceType.SOURCE_DISTRIBUTION,
            url=XsUri(pin.get("urls", [f"https://github.com/{HOMES[name]}"])[0]),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=pin["sha256"])],
            comment=pin["file"],
        )
        parts.append(Component(
            name=name, version=pin["version"], type=ComponentType.LIBRARY, bom_ref=name,
            purl=PackageURL("github", owner, project, f"v{pin['version']}"),
            licenses=[licence.make_from_string(pin["licence"])], external_references=[archive],
        ))  # fmt: skip
    bom.components.update(parts)
    bom.register_dependency(root, parts)
    return bom


def main() -> int:
    parser = argparse.ArgumentParser(description="Print naquid's bill of materials.")
    parser.add_argument("--tls", choices=("aws-lc", "boringssl"), default="aws-lc")
    print(JsonV1Dot6(bill(parser.parse_args().tls)).output_as_string(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
