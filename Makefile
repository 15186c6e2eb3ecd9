# `make search` and `make test` are all one needs; each installs what it uses into .venv.
#
#   PYTHON     the Python to use, 3.11 or newer       make test PYTHON=python3.12
#   PIP_ARGS   more arguments for pip install         make search PIP_ARGS="--extra-index-url URL"
#   MINUTES    for the search, instead of 8           make search MINUTES=30
#   ARGS       more arguments for the command itself  make test ARGS="tests/studies -x"
#   JOBS       processes that tests run in            make test JOBS=1
#
# PyTorch's default Linux build brings CUDA's libraries: where there is no GPU, set
# PIP_EXTRA_INDEX_URL to PyTorch's CPU index for a much smaller download.

VENV := .venv
BIN := $(VENV)/bin
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
# Two more than there are cores, as many tests wait for what they started.
JOBS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN) && echo $$((cores < 8 ? cores + 2 : 10)))
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) \
	-c constraints.txt
MINUTES ?= 8
SEARCH := --model resnet50 --optimizer adan --optimizer adamw-win2 --optimizer adamw \
	--minutes $(MINUTES) --search resnet50

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help search dashboard test optimizers integrations others faults fuzz \
	axe lint types clean
.DEFAULT_GOAL := help

help: ## List the targets
	@sed -n 's/^\([a-z]*\): .*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

search: $(VENV)/.search ## Tune three optimizers for a ResNet-50, within 10 minutes on 2 cores
	@echo "searching for $(MINUTES) minutes; where it asks for --minutes N: make search MINUTES=N"
	@$(BIN)/autotune search $(SEARCH) $(ARGS)

dashboard: $(VENV)/.dashboard ## Show the searches in a browser
	@$(BIN)/autotune dashboard $(ARGS)

# Hundreds of processes start; where that variable is set, each compiles all that it imports.
test: $(VENV)/.test ## Run the tests
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(JOBS) --dist loadfile \
	  --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

optimizers: $(VENV)/.test ## Test the optimizers in every form, on every backend
	@AUTOTUNE_TEST_EVERY=1 $(MAKE) --no-print-directory test \
	  ARGS="tests/optimizers tests/kernels $(ARGS)"

integrations: ## Test in other people's trainers and tuners, in an environment of their own
	@$(MAKE) --no-print-directory VENV=$(VENV)-integrations others

others: $(VENV)/.integrations
	@OMP_NUM_THREADS=1 INTEGRATIONS=1 $(BIN)/pytest tests/integrations $(ARGS)

faults: $(VENV)/.test ## Kill, starve and confuse searches for an hour, and count what was lost
	@OMP_NUM_THREADS=1 FAULT_ROUNDS=$(or $(ROUNDS),50) $(BIN)/pytest tests/faults $(ARGS)

fuzz: $(VENV)/.fuzz ## Call every route of the service with data that fit and data that do not
	@.ci/fuzz

axe: $(VENV)/.axe ## Ask axe-core about every page of the dashboard
	@$(BIN)/python .ci/axe.py

lint: $(VENV)/.test ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.test ## Check types
	@$(BIN)/mypy

clean: ## Remove the environments, builds and caches; searches stay
	rm -rf $(VENV) $(VENV)-integrations build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# A stamp is newer than what it was installed from, or the installation is repeated.
$(VENV)/.python:
	@for python in $(PYTHONS); do \
	  command -v $$python >/dev/null || continue; \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making $(VENV) with $$($$python --version)"; \
	    $$python -m venv --clear $(VENV) && touch $@; \
	    exit; \
	  fi; \
	  found="$$found $$python ($$($$python --version 2>&1 | tail -n 1))"; \
	done; \
	echo "Python 3.11 or newer is needed, found$${found:- none}; name one with PYTHON=..." >&2; \
	exit 1

$(VENV)/.search: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing what a search needs (a minute or two) ..."
	@$(INSTALL) -e '.[cpu,models]'
	@touch $@

$(VENV)/.dashboard: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing what the dashboard needs (a minute or two) ..."
	@$(INSTALL) -e '.[all]'
	@touch $(VENV)/.search $@

$(VENV)/.test: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing what the tests need (a minute or two) ..."
	@$(INSTALL) -e '.[test]'
	@touch $(VENV)/.search $(VENV)/.dashboard $@

$(VENV)/.fuzz: $(VENV)/.test
	@$(INSTALL) schemathesis==4.32.5
	@touch $@

$(VENV)/.axe: $(VENV)/.test
	@$(INSTALL) axe-playwright-python==0.1.8
	@touch $@

# Two ask for an old NumPy or Optuna that nothing here uses: they come without what they ask for.
$(VENV)/.integrations: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing the libraries of tests/integrations (some minutes) ..."
	@$(INSTALL) -e '.[integrations]'
	@$(INSTALL) --no-deps hydra-optuna-sweeper sweeps
	@touch $@
