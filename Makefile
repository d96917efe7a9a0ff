# `make demo` and `make test` work on a fresh machine: each creates .venv if it is missing.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

MINUTES ?= 60

.PHONY: client demo test test-quick test-slow test-deploy test-faults soak check audit bench bench-quick format lock clean

demo: .venv/demo
	$(BIN)/marketlens demo $(ARGS)

# All tests except slow ones, with `make check` in parallel.
test: .venv/test
	@$(call beside-check,$(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder -m "not slow" $(ARGS))

# Unit tests: no server, no browser, no second process.
test-quick: .venv/test
	@$(call beside-check,$(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder -m "not slow" tests/unit $(ARGS))

# Tests that take minutes or need additional packages: kills, trainings, thousands of broken files, Ray, PostgreSQL, Helm, the wheel.
test-slow: .venv/slow
	$(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder -m slow -o timeout=1800 $(ARGS)

# Kills, full disks, wrong clocks, cut networks, damaged files: takes minutes, some need root. Writes docs/reliability.md.
test-faults: .venv/slow
	$(BIN)/python -m pytest -o python_files='fault_*.py' -o timeout=3600 tests/faults $(ARGS)

# Runs a daily workload against the service for an hour, or MINUTES=10. Writes docs/reliability.md, too.
soak: .venv/slow
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES)

# Generates search_api/client/client.py from async_client.py; a test compares both.
client: .venv/test
	$(BIN)/python -m tests.support.sync_client

# Builds the images, runs the compose stack, kills its containers in turn, and tests the catalogue on its version of Milvus.
# Takes minutes and needs a Docker engine. If images cannot be pulled, build those of deploy/standins and use them:
#   make test-deploy BASE_IMAGE=local/python:3.11 MILVUS_IMAGE=local/milvus:2.3.5 BUILD_NETWORK=host
test-deploy: export MILVUS_IMAGE := $(or $(MILVUS_IMAGE),$(shell sed -n 's/.*MILVUS_IMAGE:-\(milvusdb[^}]*\)}.*/\1/p' docker-compose.yml))
test-deploy: .venv/test
	@if docker info >/dev/null 2>&1; then \
		$(BIN)/python -m pytest -s $(ARGS) deploy/test_stack.py && $(BIN)/python -m pytest -s $(ARGS) tests/server/test_collection.py -k server; \
	else echo "test-deploy: SKIPPED, no Docker engine answered. Nothing was tested."; fi

# Known vulnerabilities of the packages in requirements.lock, and a CycloneDX list and the licences of those in .venv. The
# tools are neither in .venv nor in the lock.
AUDIT := build/audit/bin
audit: $(AUDIT)/pip-audit .venv/test
	$(AUDIT)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(BIN)/python
	$(AUDIT)/pip-licenses --python $(BIN)/python --format markdown --with-urls --output-file build/licences.md
	@if $(AUDIT)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement requirements.lock 2>build/audit.log; \
	then echo "vulnerabilities: none known"; \
	elif grep -qiE "could not be audited|connect" build/audit.log; \
	then echo "vulnerabilities: NOT CHECKED, the service did not answer: $$(tail -1 build/audit.log)"; \
	else cat build/audit.log; exit 1; fi

$(AUDIT)/pip-audit:
	$(PYTHON) -m venv build/audit
	$(AUDIT)/pip install --quiet --disable-pip-version-check cyclonedx-bom pip-audit pip-licenses

# Static checks: style, types, imports between packages.
check: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Run a command and `make check` at the same time; print the output of the check last, and fail if either fails.
beside-check = mkdir -p build && { $(MAKE) --no-print-directory check >build/check.log 2>&1 & check=$$!; $(1); tests=$$?; \
	wait $$check; status=$$?; cat build/check.log; [ $$status -eq 0 ] || echo "make check FAILED: see above." >&2; \
	[ $$tests -eq 0 ] && [ $$status -eq 0 ]; }

# Run every benchmark and write docs/benchmarks.md: hours, or eight minutes for bench-quick, on a quiet machine.
# ARGS="search peers" runs only those.
bench: .venv/slow
	$(BIN)/python -m benchmarks $(ARGS)

bench-quick: .venv/slow
	$(BIN)/python -m benchmarks --quick $(ARGS)

format: .venv/test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Upgrade all packages within the ranges of pyproject.toml; the file contains no index addresses.
lock: .venv/test
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --all-extras --strip-extras \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv build dist *.egg-info

# The lock constrains versions, pyproject.toml says what to install: the lock is resolved on Linux with every extra, and
# installing from it would ask a Mac for CUDA packages. Each step adds to the one before and fetches nothing again.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable

.venv/demo: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "marketlens needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "Installing into .venv: 250 MB to download, 1.1 GB on disk. This takes a minute, once."
	$(PYTHON) -m venv .venv
	$(INSTALL) ".[dashboard,insights]"
	touch $@

.venv/test: .venv/demo
	@echo "Adding packages for tests and training, mainly torch: 3 GB to download on Linux, 7 GB on disk. This takes minutes, once."
	$(INSTALL) ".[dashboard,insights,train,dev]"
	touch $@

.venv/slow: .venv/test
	@echo "Adding packages for the slow tests: Ray, Helm, Kubernetes' schemas."
	$(INSTALL) ".[dashboard,insights,train,dev,slow]"
	touch $@
