# Two commands do everything: `make study` and `make test`. Each sets up .venv by itself, once.

PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: study test lab bench lint
study: .venv/ready
	$(BIN)/xinc study

# The series is executed once more by nbval, every printed number compared with the committed one.
test: .venv/ready
	$(BIN)/python -m pytest
	mkdir -p .cache
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 XINC_FIGURES=$(CURDIR)/.cache/figures IPYTHONDIR=$(CURDIR)/.cache/ipython \
	  $(BIN)/python -m pytest --nbval --nbval-sanitize-with tests/nbval_sanitize.cfg -n 2 --dist loadfile notebooks

lab: .venv/ready
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

bench: .venv/ready
	TQDM_DISABLE=1 PYTHONPATH=tests $(BIN)/python -m bench

lint: .venv/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[notebooks,tests]'
	touch $@
