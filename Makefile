# The two commands of the README are `make search` and `make test`; both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := eqmesh.py kernels genome evaluator node bootstrap dashboard tests

.PHONY: search test lint types contracts unit live browser format clean

search: $(VENV)/.installed
	$(BIN)/eqmesh search

test: lint types contracts unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.installed-dev
	$(BIN)/mypy

contracts: $(VENV)/.installed-dev
	$(BIN)/lint-imports --no-cache

# One thread for each of the test processes: torch and BLAS would otherwise fight over the cores.
unit: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

# The mesh's transport on real sockets of this machine; libp2p needs gcc, python3-dev and libgmp-dev to be built.
live: $(VENV)/.installed-mesh
	$(BIN)/pytest tests/live

# The dashboard's pages in Debian's Chromium.
browser: $(VENV)/.installed-dev
	$(BIN)/pytest tests/dashboard -m browser

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.installed

# libp2p brings stubs of an old trio, which would hide trio's own types from mypy.
$(VENV)/.installed-mesh: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,mesh]'
	rm -rf $(VENV)/lib/python3*/site-packages/trio-stubs
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
