# Two commands on a fresh machine with Python 3.11 or newer: make search, make test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

OLDEST := .venv-oldest
SIDE_BY_SIDE := tests/adapters tests/documentation tests/review tests/search tests/service/test_confirmation.py \
	tests/test_benchmarks.py tests/test_examples.py tests/test_pruning_benchmark.py tests/test_rate_benchmark.py \
	tests/test_report_benchmark.py tests/test_rivals_benchmark.py tests/test_study_benchmark.py \
	tests/test_training_benchmark.py tests/training

.PHONY: search test test-slow test-oldest test-gpu lint docs clean

search: $(VENV)/.installed
	$(BIN)/lrsearch optimize studies/digits-tpe.toml

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow and not gpu" --numprocesses auto --dist loadfile

# Those that wait for no lease and no clock run side by side.
test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "slow and not gpu" --numprocesses auto --dist load $(SIDE_BY_SIDE)
	$(BIN)/python -m pytest -m "slow and not gpu" $(addprefix --ignore=,$(SIDE_BY_SIDE))

# The oldest supported versions of Optuna, SQLAlchemy and Typer, and the tests of what is built on them.
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -m "not slow and not gpu" --numprocesses auto --dist loadfile \
		tests/api tests/cli tests/search tests/service tests/spec tests/storage

# On a machine with a CUDA device; it needs a build of PyTorch that has CUDA in the environment.
test-gpu: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m gpu

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck deploy/*.sh
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/kubernetes-validate --strict --quiet deploy/kubernetes.yaml

# The site, in docs/_build/html: a warning is an error, so every link and every docstring holds.
docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -W --keep-going -n --quiet -b html docs docs/_build/html

clean:
	rm -rf $(VENV) $(OLDEST) docs/_build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# PyTorch goes first, by its exact version: a range would take the newest build there is.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) "$$(grep '^torch==' constraints.txt)"
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(INSTALL) --editable ".[test]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(INSTALL) --editable ".[dev]"
	touch $@

# Its own packages are the oldest versions alone; all others are found in the environment of the newest.
$(OLDEST)/.installed: $(VENV)/.installed-test constraints-oldest.txt
	$(PYTHON) -m venv --clear $(OLDEST)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$($(OLDEST)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/newest.pth"
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints-oldest.txt --requirement constraints-oldest.txt --editable ".[test]"
	touch $@
