# `make` lists what there is. Every target sets up .venv by itself, once.

# The interpreter for .venv; `make PYTHON=/path/to/python` names another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin

# Two processes of one thread each, on two cores.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# Executes notebooks once more and compares every printed number with the committed one.
NBVAL = mkdir -p .cache && TQDM_DISABLE=1 XINC_FIGURES=$(CURDIR)/.cache/figures IPYTHONDIR=$(CURDIR)/.cache/ipython \
	$(PYTEST) --nbval --nbval-sanitize-with tests/notebooks/sanitize.cfg
QUICK_NOTEBOOK := notebooks/00_start_here.ipynb
OTHER_NOTEBOOKS = $(filter-out $(QUICK_NOTEBOOK),$(wildcard notebooks/*.ipynb))

.DEFAULT_GOAL := help
.PHONY: help study test test-rest test-all test-machines wheel-study coverage lint types lab bench

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "make %-15s %s\n", $$1, $$2 }'

study: .venv/ready ## run every notebook headless into runs/study, and compare with what is committed
	$(BIN)/xinc study

test: .venv/ready ## the laws, the literal comparisons, the command line and one notebook, in minutes
	$(PYTEST) -m 'not slow'
	$(NBVAL) $(QUICK_NOTEBOOK)

test-rest: .venv/ready ## what `make test` leaves out: sweeps, browsers, damaged files, all other notebooks
	$(PYTEST) -m slow
	$(NBVAL) $(OTHER_NOTEBOOKS)

test-all: test test-rest ## everything

test-machines: .venv/ready ## the numerical part as other machines compute it: threads, lesser instruction sets
	$(BIN)/python tests/machines.py $(MACHINES)

wheel-study: .venv/ready ## install the wheel into a fresh environment, leave the checkout, study a short video
	$(BIN)/python tests/wheel_study.py

coverage: .venv/ready ## the share of the package's lines that `make test` runs; pages in .cache/coverage
	$(PYTEST) -m 'not slow' --cov --cov-report=html:.cache/coverage --cov-report=term:skip-covered

lint: .venv/ready ## ruff: rules and format
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/ready ## mypy over the core
	$(BIN)/mypy

lab: .venv/ready ## open the first notebook in JupyterLab
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

bench: .venv/ready ## how fast and how small, beside the literal versions; ONLY=recipes or tracing for a part
	TQDM_DISABLE=1 PYTHONPATH=tests $(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

# uv serves where no Python is new enough: it brings one; pip then installs from the project's own constraints.
.venv/ready: pyproject.toml constraints.txt
	@if [ -n "$(PYTHON)" ]; then $(PYTHON) -m venv .venv; \
	elif command -v uv >/dev/null; then uv venv --seed --allow-existing --python 3.11 .venv; \
	else echo 'No Python 3.11 or newer was found: install one, or name it with make PYTHON=/path/to/python' >&2; exit 1; fi
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[notebooks,tests]'
	touch $@
