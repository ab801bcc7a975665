#!/usr/bin/env python3
"""Builds the native libraries and prints the folder that holds them.

    python3 vendor/build.py [--variant release|debug|asan|tsan|fuzz] [--tls aws-lc|boringssl] [--fetch]

The folder has include/ (ngtcp2, cares, openssl), lib/ (libngtcp2.a, libcares.a, libssl.a, libcrypto.a) and
versions.json.
See vendor/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - before anything that an older Python cannot parse or import
    sys.exit("vendor: naquid needs Python 3.11 or newer: run this with a newer python3.")

from recipe import ngtcp2, prefix
from recipe.report import VendorError, say


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build naquid's native libraries; print their folder.")
    parser.add_argument("--variant", choices=ngtcp2.VARIANTS, default="release")
    parser.add_argument(
        "--tls",
        choices=prefix.TLS,
        default=os.environ.get("NAQUID_TLS") or None,
        help="the TLS library (default: NAQUID_TLS, else aws-lc, else boringssl when that cannot be fetched)",
    )
    parser.add_argument(
        "--fetch", action="store_true", help="only fetch and verify the sources; print the folder that holds them"
    )
    options = parser.parse_args(arguments)
    try:
        made = prefix.fetch(options.tls) if options.fetch else prefix.build(options.variant, options.tls)
        print(made, flush=True)
    except VendorError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
