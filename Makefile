# Everything that a maintainer does, one target each. `make` alone is what the CI asks for.
# Needs GNU make, bash and Python 3.11 or later with its venv module; `make lock` also needs uv.
# Where packages come from is pip's own affair (PIP_INDEX_URL, pip.conf): no host is written here.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
# A source archive would be built with tools that no lock names, so wheels only.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
FETCH := $(PIP) install --quiet --require-hashes --only-binary :all:
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--annotation-style line --no-emit-index-url --no-emit-find-links
# A release that is bad is mostly found out within days: none younger than this is locked.
COOL_DOWN := 7 days

.PHONY: all install run dev format lint check test bench lock clean help

all: lint test ## What the CI asks for: every linter, every test

# --- the environment -------------------------------------------------------------------------

install: $(VENV)/.run ## Make .venv with what the agent needs, from hashed locks

run: install ## Keep a certificate fresh on this machine, with a CA and a listener of its own
	@$(BIN)/python examples/quickstart.py

dev: $(VENV)/.dev ## Add what the tests and the linters need

# A stamp each, younger than the locks it was made from: done once, a second run costs nothing.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is missing or older than 3.11: name a newer one, make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make environments: install its venv module (Debian: python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/.run: requirements/run.txt requirements/build.txt pyproject.toml | $(VENV)/.python
	@echo "installing the agent in $(VENV)"
	@$(FETCH) -r requirements/run.txt -r requirements/build.txt
	@$(PIP) install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "installing the tools of development in $(VENV)"
	@$(FETCH) -r requirements/dev.txt
	@touch $@

# --- judging ---------------------------------------------------------------------------------

format: dev ## Format the code, and mend what the linter can
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format

lint: dev ## Format, lint, types, layers, dependencies, spelling
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry agent
	$(BIN)/codespell

# Folders in which every test is slow: what they import takes seconds too.
SLOW := tests/breaking tests/brokers tests/e2e tests/judges

check: lint ## The linters and the fast tests, within a minute
	$(BIN)/pytest -m "not slow" -n auto -q $(SLOW:%=--ignore %)

test: dev ## Every test, with coverage: 100 % of agent/core, 95 % of all
	@mkdir -p var
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal 2>&1 | tee var/test.log
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --skip-empty --fail-under=95
	@$(BIN)/coverage report --skip-covered --skip-empty --include='agent/core/*' --fail-under=100
	@grep -E ' in [0-9.]+s' var/test.log | tail -n 1

bench: dev ## Measure memory, start, idle wake-ups and a fleet of identities
	@$(BIN)/python -m bench.run

# --- upkeep ----------------------------------------------------------------------------------

# LOCK_FLAGS=--upgrade takes the newest that the cool-down lets through; without it only what pyproject.toml asks for.
lock: ## Write requirements/*.txt anew from pyproject.toml
	$(LOCK) $(LOCK_FLAGS) --exclude-newer "$(COOL_DOWN)" pyproject.toml -o requirements/run.txt
	$(LOCK) $(LOCK_FLAGS) --exclude-newer "$(COOL_DOWN)" --extra kafka -c requirements/run.txt pyproject.toml -o requirements/kafka.txt
	$(LOCK) $(LOCK_FLAGS) --exclude-newer "$(COOL_DOWN)" --group build -o requirements/build.txt
	$(LOCK) $(LOCK_FLAGS) --exclude-newer "$(COOL_DOWN)" --group dev --extra kafka \
		-c requirements/kafka.txt -c requirements/build.txt pyproject.toml -o requirements/dev.txt

clean: ## Remove what was made here: the environment, caches, the quickstart's files
	rm -rf $(VENV) var dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find agent tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Tell what each target does
	@sed -n 's/^\([a-z]*\):.*## \(.*\)$$/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 10
