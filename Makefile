# Commands for developers: `make help` lists them, and CONTRIBUTING.md explains them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
# The tests start hundreds of processes, each of which would compile all sources if there were no bytecode on disk.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
# Parallel test processes: more than cores, since tests also wait, and whole runs wait longer than unit tests.
JOBS ?= $(shell echo $$(($$(nproc) + 1)))
SYSTEM_JOBS ?= $(shell echo $$((2 * $$(nproc))))
PYTEST := $(BIN)/python -m pytest -q

.PHONY: help install setup check style types test system all docs bench mutants native-sanitized wheels constraints

help: ## List these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 18

# The package is installed again when one of these files has changed.
MADE_OF := pyproject.toml constraints.txt hatch_build.py $(wildcard loadgen/native/*.[ch])
INSTALL := tools/install.sh

install: .venv/installed ## Create .venv with the pinned packages for runs

setup: .venv/ready ## Create .venv with the pinned packages for runs, checks and tests

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python $(MADE_OF)
	$(INSTALL) -e .
	touch $@

# Collecting the tests compiles all modules that they import. Without it, each test process would compile them at the
# same time. Errors of collection are reported when the tests run.
.venv/ready: .venv/bin/python $(MADE_OF)
	$(INSTALL) -e '.[test]'
	$(PYTEST) --collect-only tests >/dev/null || true
	touch $@ .venv/installed

.venv/dev: .venv/bin/python $(MADE_OF)
	$(INSTALL) -e '.[dev,mutation,test]'
	touch $@ .venv/installed .venv/ready

check: style types ## Check lint rules, formatting, types and imports between parts

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

# mypy runs at a low priority, in the time that whole runs wait.
types: setup
	nice $(BIN)/mypy

test: setup ## Run the fast tests (unit tests), on all cores
	$(PYTEST) -n $(JOBS) --dist loadgroup --no-loadscope-reorder tests --ignore=tests/system

system: setup ## Run the slow tests: whole runs, servers, brokers, browsers
	$(PYTEST) -n $(SYSTEM_JOBS) --dist loadgroup --no-loadscope-reorder tests/system

# The fast tests use all cores; the slow tests wait much of the time, so types are checked beside them.
all: setup ## Run all checks and tests, which every change must pass
	$(MAKE) --jobs=2 style test
	$(MAKE) --jobs=2 types system

docs: setup ## Generate the reference, and build the site in build/docs/site
	$(BIN)/python docs/generate
	$(BIN)/python docs/site/build.py

bench: setup ## Compare speed with other tools (15 minutes, on an otherwise idle machine)
	$(BIN)/python benchmarks/speed/peers.py || true
	$(BIN)/python benchmarks/speed

mutants: .venv/dev ## Run mutation tests: do the fast tests detect random code changes? (10 minutes)
	$(BIN)/python -m benchmarks.mutants

native-sanitized: setup ## Test the C part with AddressSanitizer and UBSan
	$(BIN)/python tests/native/sanitized.py

wheels: .venv/dev ## Build and check sdist and wheel in dist/
	tools/wheels.sh

constraints: .venv/dev ## Update constraints.txt from pyproject.toml
	tools/constraints.sh
