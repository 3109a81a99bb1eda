# make demo    a fresh machine: environment, packages, then the whole way on the embedded data set (results in runs/)
# make test    a fresh machine: environment, packages, then every check and every test
# make check   ruff, mypy, the layers of the packages, no torchvision
# make proof   the slow proofs on real data (MEDAI_TEST_DATA names their folder)
# make clean   remove what the checks and builds left; runs/, cohorts/ and the environment stay
#
# Needed: Python >= 3.11 with venv. Another interpreter: make test PYTHON=python3.12

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST ?= $(BIN)/python -m pytest
JOBS ?= $(shell n=$$(nproc 2> /dev/null || echo 2); echo $$((n < 8 ? n : 8)))

.PHONY: demo test check proof clean environment

demo: environment
	$(BIN)/python -m medai.demo

test: check
	OMP_NUM_THREADS=1 $(PYTEST) -m "not proof" -n $(JOBS) --dist loadfile

check: environment
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! $(BIN)/python -c "import torchvision" 2> /dev/null || { echo "torchvision is installed; it breaks torchmetrics and Lightning: $(BIN)/pip uninstall torchvision"; exit 1; }

proof: environment
	$(PYTEST) -m proof

environment: $(READY)

# The stamp makes a second call quick; a change of the project file or of the tested set installs again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "medai needs Python >= 3.11; name one with PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	@touch $(READY)

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
