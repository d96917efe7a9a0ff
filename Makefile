# Two commands do all on a fresh machine: `make demo` and `make test`. Each makes .venv first when it is not there.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

MINUTES ?= 60

.PHONY: demo test test-deploy test-faults soak check audit bench bench-quick format lock clean

demo: .venv/installed
	$(BIN)/marketlens demo $(ARGS)

# Two at a time, since half of the suite is waiting: tests/conftest.py says what stays together. In the order of their names:
# by the number of tests, the longest file would come last.
test: check
	$(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder $(ARGS)

# Kills, full disks, clocks, networks, damaged files: minutes, some of them as root. Tells docs/reliability.md.
test-faults: .venv/installed
	$(BIN)/python -m pytest -o python_files='fault_*.py' -o timeout=3600 tests/faults $(ARGS)

# A day's work against the service for an hour, or MINUTES=10. Tells docs/reliability.md, too.
soak: .venv/installed
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES)

# Builds the images, runs the compose stack, kills its containers in turn, and tries the catalogue on its version of Milvus:
# minutes, and a Docker engine. Where images cannot be pulled (deploy/standins makes these):
#   make test-deploy BASE_IMAGE=local/python:3.11 MILVUS_IMAGE=local/milvus:2.3.5 BUILD_NETWORK=host
test-deploy: export MILVUS_IMAGE := $(or $(MILVUS_IMAGE),$(shell sed -n 's/.*MILVUS_IMAGE:-\(milvusdb[^}]*\)}.*/\1/p' docker-compose.yml))
test-deploy: .venv/installed
	@if docker info >/dev/null 2>&1; then \
		$(BIN)/python -m pytest -s $(ARGS) deploy/test_stack.py && $(BIN)/python -m pytest -s $(ARGS) tests/server/test_collection.py -k server; \
	else echo "test-deploy: SKIPPED, no Docker engine answers. Nothing was tested."; fi

# Known vulnerabilities of what requirements.lock names; what .venv holds as CycloneDX, and its licences. The tools are no
# part of .venv, nor of the lock.
AUDIT := build/audit/bin
audit: $(AUDIT)/pip-audit .venv/installed
	$(AUDIT)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(BIN)/python
	$(AUDIT)/pip-licenses --python $(BIN)/python --format markdown --with-urls --output-file build/licences.md
	@if $(AUDIT)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement requirements.lock 2>build/audit.log; \
	then echo "vulnerabilities: none known"; \
	elif grep -qiE "could not be audited|connect" build/audit.log; \
	then echo "vulnerabilities: NOT LOOKED UP, the service did not answer: $$(tail -1 build/audit.log)"; \
	else cat build/audit.log; exit 1; fi

$(AUDIT)/pip-audit:
	$(PYTHON) -m venv build/audit
	$(AUDIT)/pip install --quiet --disable-pip-version-check cyclonedx-bom pip-audit pip-licenses

# Everything that needs no run: style, types, and who imports whom.
check: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every benchmark, into docs/benchmarks.md: hours, or, quick, eight minutes of a quiet machine. ARGS="search peers" runs those alone.
bench: .venv/installed
	$(BIN)/python -m benchmarks $(ARGS)

bench-quick: .venv/installed
	$(BIN)/python -m benchmarks --quick $(ARGS)

format: .venv/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# New versions of everything, within the ranges of pyproject.toml; no addresses in the file.
lock: .venv/installed
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --all-extras --strip-extras \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv build dist *.egg-info

# The lock constrains versions; what is installed follows from pyproject.toml, so it serves every platform.
.venv/installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "marketlens needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "Installing into .venv: about 3 GB to fetch on Linux, mostly torch. This takes minutes, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable ".[dashboard,train,dev]"
	touch $@
