#!/bin/sh
# Makes .venv and installs what a level of work needs. Run from the repository's root.
#
#   scripts/bootstrap_venv.sh run     what building and the command line need
#   scripts/bootstrap_venv.sh dev     also tests, linters and benchmarks
#
# PYTHON chooses the interpreter (3.11 or newer). The second time takes no time.
set -eu
level=${1:-dev}
fail() { echo "venv: error: $*" >&2; exit 1; }
say() { echo "venv: $*" >&2; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# What is asked for, and where: a moved tree or a changed pyproject.toml is installed anew.
wanted() { printf '%s\n' "$PWD"; cksum < pyproject.toml; cksum < scripts/bootstrap_venv.sh; }
current() { [ -x .venv/bin/python ] && [ "$(cat ".venv/stamp-$1" 2>/dev/null)" = "$(wanted)" ]; }
if current dev || current "$level"; then exit 0; fi

if [ -d .venv ] && [ ! -w .venv ]; then
  fail ".venv belongs to another user: remove it, or let that user run make."
fi
if [ -n "${PYTHON:-}" ]; then
  new_enough "$PYTHON" || fail "PYTHON=$PYTHON does not run or is older than 3.11: set it to a newer Python."
  python=$PYTHON
else
  python=
  for name in python3 python3.13 python3.12 python3.11 python3.14 python3.15; do
    if new_enough "$name"; then python=$name; break; fi
  done
  [ -n "$python" ] || fail "no Python 3.11 or newer was found: install one, or set PYTHON to its path."
fi

if ! new_enough .venv/bin/python || { [ -n "${PYTHON:-}" ] && \
    [ "$("$python" -V 2>&1)" != "$(.venv/bin/python -V 2>&1)" ]; }; then
  say "making .venv with $("$python" -V 2>&1)"
  "$python" -m venv --clear .venv >&2 ||
    fail "$python cannot make a virtual environment: install its venv package (Debian, Ubuntu: apt install python3-venv)."
fi

say "installing what '$level' needs"
requirements=.venv/requirements-$level.txt
.venv/bin/python - "$level" > "$requirements" <<'PYTHON'
import sys, tomllib
with open("pyproject.toml", "rb") as stream:
    table = tomllib.load(stream)
extras = table["project"]["optional-dependencies"]
lines = table["build-system"]["requires"] + extras["cli"]
if sys.argv[1] == "dev":
    lines += extras["dev"] + extras["bench"]
print("\n".join(dict.fromkeys(lines)))
PYTHON
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements" >&2 ||
  fail "pip could not install the packages above: connect this machine to a package index (or set PIP_INDEX_URL) and try again."

# The package is used from this tree: nothing but a path to it is installed.
.venv/bin/python - <<'PYTHON'
import os, sysconfig
site = sysconfig.get_path("purelib")
with open(os.path.join(site, "naquid-here.pth"), "w") as stream:
    stream.write(os.path.relpath(os.getcwd(), site) + "\n")
PYTHON
rm -f .venv/stamp-*
wanted > ".venv/stamp-$level"
