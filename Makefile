# Targets describe themselves: `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FULL := $(VENV)/.full
# A process per core, each with one thread; a test file stays in one process, so that what it builds is built once. A
# process that dies ends the run, because xdist waits for ever when the last of them is replaced.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --max-worker-restart=0

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all coverage lint format types docs docs-check site wheel-check bench check clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY) ## Create .venv with pinned dependencies

$(READY): pyproject.toml third_party/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("v2vkit needs Python 3.11 or newer; name one with PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c third_party/constraints.txt -e '.[all,dev]'
	@touch $@

# Only the tests need ultralytics, whose licence is the AGPL.
$(FULL): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c third_party/constraints.txt -e '.[full,dev]'
	@touch $@

demo: $(READY) ## Make a toy street, train on it, and render a video and a contact sheet
	$(BIN)/v2v run pipelines/toy.toml --work runs/demo
	@echo
	@echo "video (source | output):          runs/demo/toy.mp4"
	@echo "contact sheet (source, output, real): runs/demo/evaluation/spatial-1/contact.png"
	@echo "measures over time:                runs/demo/evaluation/spatial-1/evaluation.png"

test: $(FULL) ## Run the tests, minutes (all but those marked slow)
	$(PYTEST) -m "not slow"

test-all: $(FULL) ## Run every test: kills, several processes, real training too
	$(PYTEST)

coverage: $(FULL) ## Run every test and say which lines of v2vkit none runs
	$(PYTEST) --cov=v2vkit --cov-report=term-missing:skip-covered

lint: $(READY) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## Check types
	$(BIN)/mypy

docs: $(READY) ## Generate docs/cli.md and docs/errors.md
	$(BIN)/python docs/generate_cli.py docs/cli.md
	$(BIN)/python docs/generate_errors.py docs/errors.md

docs-check: $(READY) ## Fail if docs/cli.md or docs/errors.md is out of date
	@$(BIN)/python docs/generate_cli.py $(VENV)/cli.md && diff -u docs/cli.md $(VENV)/cli.md
	@$(BIN)/python docs/generate_errors.py $(VENV)/errors.md && diff -u docs/errors.md $(VENV)/errors.md

site: $(READY) ## Build the documentation site into site/; fails on broken links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir site && echo "site/index.html"

wheel-check: $(READY) ## Build the wheel and check that it holds recipes, registry and py.typed
	@rm -rf $(VENV)/dist && $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w $(VENV)/dist .
	@$(BIN)/python -m zipfile -l $(VENV)/dist/v2vkit-*.whl | grep -cE 'pipelines/toy.toml|third_party/weights.toml|v2vkit/py.typed|v2vkit/classes/tables/camvid.toml' | grep -qx 4 && echo "the wheel holds the recipes, the registry of weights, class tables and py.typed"

bench: $(READY) ## Run the benchmarks and print their table
	$(BIN)/python -m benchmarks

check: lint types docs-check site wheel-check test-all ## Everything that CI runs

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache
