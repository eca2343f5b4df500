# One word for each chore: `make help` lists them. CONTRIBUTING.md says more.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
# The tests start some hundreds of processes: without bytecode on disk each would compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
# Processes for the two layers of tests: some tests wait, so there is one more than cores; whole runs wait more.
JOBS ?= $(shell echo $$(($$(nproc) + 1)))
SYSTEM_JOBS ?= $(shell echo $$((2 * $$(nproc))))
PYTEST := $(BIN)/python -m pytest -q

.PHONY: help install setup check style types test system all docs bench mutants native-sanitized wheels constraints

help: ## Say what each word does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 18

# Installed anew when one of these has changed.
MADE_OF := pyproject.toml constraints.txt hatch_build.py $(wildcard loadgen/native/*.[ch])
PIP := $(BIN)/python -m pip install -q -c constraints.txt

install: .venv/installed ## Make .venv with the pinned packages that a run needs

setup: .venv/ready ## Make .venv with those of the checks as well

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python $(MADE_OF)
	$(PIP) -e .
	touch $@

.venv/ready: .venv/bin/python $(MADE_OF)
	$(PIP) -e '.[test]'
	touch $@ .venv/installed

.venv/dev: .venv/bin/python $(MADE_OF)
	$(PIP) -e '.[dev,mutation,test]'
	touch $@ .venv/installed .venv/ready

check: style types ## Look at format, style, types, and what imports what

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

# Beside whole runs it takes the time that these wait.
types: setup
	nice $(BIN)/mypy

test: setup ## Run the fast layer: what is computed, on all cores
	$(PYTEST) -n $(JOBS) --dist loadgroup --no-loadscope-reorder tests --ignore=tests/system

system: setup ## Run the slow layer: whole runs, servers, brokers, browsers
	$(PYTEST) -n $(SYSTEM_JOBS) --dist loadgroup --no-loadscope-reorder tests/system

# The fast tests use all cores; the slow ones wait a good deal, and the types are checked in that time.
all: setup ## Run every check: what a change has to pass
	$(MAKE) --jobs=2 style test
	$(MAKE) --jobs=2 types system

docs: setup ## Write the generated reference anew, and make the site in build/docs/site
	$(BIN)/python docs/generate
	$(BIN)/python docs/site/build.py

bench: setup ## Measure speed beside other tools; on a quiet machine, some 15 minutes
	$(BIN)/python benchmarks/speed

mutants: .venv/dev ## Change code at random: do the fast tests notice? Some 10 minutes
	$(BIN)/python -m benchmarks.mutants

native-sanitized: setup ## Test the C part with AddressSanitizer and UBSan
	$(BIN)/python tests/native/sanitized.py

wheels: .venv/dev ## Build sdist and wheel into dist/, and check them
	tools/wheels.sh

constraints: .venv/dev ## Make constraints.txt anew from pyproject.toml
	tools/constraints.sh
