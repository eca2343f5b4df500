# One word for each chore: `make help` lists them. CONTRIBUTING.md says more.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# The two layers of tests: as many processes as there are cores; whole runs mostly wait, so twice as many.
JOBS ?= $(shell nproc)
SYSTEM_JOBS ?= $(shell echo $$((2 * $$(nproc))))
PYTEST := $(BIN)/python -m pytest -q

.PHONY: help setup check test system all docs bench wheels constraints native-sanitized mutants

help: ## Say what each word does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 18

setup: .venv/ready ## Make .venv with the project and the pinned packages

.venv/ready: pyproject.toml constraints.txt hatch_build.py $(wildcard loadgen/native/*.[ch])
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	touch $@

check: setup ## Look at format, style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup ## Run the fast layer: what is computed, on all cores
	$(PYTEST) -n $(JOBS) --dist loadgroup tests --ignore=tests/system

system: setup ## Run the slow layer: whole runs, servers, brokers, browsers
	$(PYTEST) -n $(SYSTEM_JOBS) --dist loadgroup tests/system

all: check test system ## Run every check: what a change has to pass
