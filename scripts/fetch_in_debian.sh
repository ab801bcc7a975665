#!/bin/sh
# Fetches the sources of the native libraries in a container of Debian, into this machine's cache folder: AWS-LC's are
# pinned as Debian packs them, and a machine whose apt is another's (Ubuntu, for one) would build with BoringSSL. Where from,
# the container's own apt knows. Needs docker, or what DOCKER names; does nothing when they are there already.
set -eu
cd "$(dirname "$0")/.."
if NAQUID_VENDOR_OFFLINE=1 python3 vendor/build.py --fetch --tls aws-lc >/dev/null 2>&1; then exit 0; fi
cache=$(PYTHONPATH=vendor python3 -B -c 'from recipe.cache import cache_dir; print(cache_dir())')
# What root made in there is given back, whatever happens.
exec "${DOCKER:-docker}" run --rm --volume "$PWD/vendor:/vendor:ro" --volume "$cache:/cache" \
  --env NAQUID_VENDOR_CACHE=/cache --env NAQUID_VENDOR_PINNED_ONLY --env "OWNER=$(id -u):$(id -g)" debian:sid sh -ec '
  trap "chown -R $OWNER /cache" EXIT
  apt-get -q update
  apt-get -q install --yes --no-install-recommends ca-certificates python3
  python3 -B /vendor/build.py --fetch --tls aws-lc'
