# Everything runs in a virtual environment of the project's own, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One version for everybody who runs the tests; used to read .pth files.
TORCH ?= torch==2.13.0
ARGS ?=

# Of `make fuzz` and `make kills`: number of cases; what decides those of `fuzz`.
N ?= 10000
SEED ?= 0

.PHONY: help train check test test-runs test-slow fuzz kills situations lint format clean

help:
	@echo "make train      train ScaleNetCifar38 on digits (ARGS='--epochs 3' and so on)"
	@echo "make check      what continuous integration runs: the three below"
	@echo "make test       the quick tests"
	@echo "make test-runs  whole runs, also of several processes, killed and interrupted"
	@echo "make lint       ruff, directions of imports, types, documentation site"
	@echo "make test-slow  the slow tests: every network, deep ones too"
	@echo "make fuzz       damaged files and made-up options (N=10000 SEED=0)"
	@echo "make kills      programs killed at random moments (N=100)"
	@echo "make situations write docs/situations.md from what its tests see"
	@echo "make format     let ruff mend and format"

train: $(VENV)/train.stamp
	$(BIN)/python training/train.py $(ARGS)

check: test test-runs lint

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# Two files at a time: much of what they take is the start of their processes.
test-runs: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "(processes or runs) and not slow" $(ARGS)

# A process for a few tests each: Keras keeps every graph that it has traced.
test-slow: $(VENV)/dev.stamp
	$(BIN)/python tests/apart.py -n 2 -m "slow and not processes" $(ARGS)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and processes" $(ARGS)

fuzz: $(VENV)/dev.stamp
	PYTHONPATH=training $(BIN)/python tests/fuzz.py -n $(N) --seed $(SEED) $(ARGS)

kills: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 -m "slow and processes" --kills $(N) tests/test_kills.py $(ARGS)

situations: $(VENV)/dev.stamp
	rm -f docs/situations.md
	$(BIN)/python -m pytest -m situation --write-situations $(ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=training $(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .import_linter_cache

$(VENV)/train.stamp: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[train]"
	touch $@

$(VENV)/dev.stamp: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" -e ".[dev]"
	touch $@
