# Each target sets up what it needs first; a set-up that is up to date takes a moment.
#   make run ARGS="--stage 5 --stop_stage 9"     options for egs/run.sh
#   make test ARGS="tests/analysis -k diagonal"  options for pytest

SHELL := /bin/bash
PYTHON := .venv/bin/python
MODERN := .venv-modern/bin/python
PYTEST := -m pytest -q --durations=15
ARGS ?=

.PHONY: help setup setup-modern system run test test-modern lint clean

help:
	@echo "make setup | setup-modern | system | run | test | test-modern | lint | clean   (options: ARGS=...)"

setup:
	@tools/setup.sh

setup-modern:
	@tools/setup.sh --modern

# Debian packages that the tests of the report and of Slurm need; they are skipped without.
system:
	@tools/system.sh

run: setup
	@PATH="$(CURDIR)/.venv/bin:$$PATH" bash egs/run.sh $(ARGS)

test: setup
	@$(PYTHON) $(PYTEST) $(ARGS)

test-modern: setup-modern
	@$(MODERN) $(PYTEST) $(ARGS)

lint: setup
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy espnet_plugin

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find espnet_plugin tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
