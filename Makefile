# Each target first installs nfresume and its tools into .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test dist proof ordinary torture lean soak check bench screenshots clean setup
.DELETE_ON_ERROR:

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nfresume needs Python 3.11 or newer; make PYTHON=...")'
	@echo "setting up $(VENV) (once, a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@$(BIN)/python -m compileall -q nfresume metadata
	@touch $@

demo: $(STAMP)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/demo.py

test: $(STAMP)
	@$(BIN)/nfresume engine install
	@tests/install.sh
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -n 3 --dist worksteal -q -m "not long"

proof: $(STAMP)
	@$(BIN)/nfresume engine install
	@tests/install.sh
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q -m long

# The acceptance tests as a user without rights and without a name: root may do too much.
ordinary: $(STAMP)
	@$(BIN)/nfresume engine install
	@if [ "$$(id -u)" = 0 ]; then as="unshare --user --map-user=54321 --map-group=54321 --"; fi; \
	$$as $(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not long" tests/acceptance

SEED ?= 1
SEEDS ?= 20
torture: $(STAMP)
	@$(BIN)/nfresume engine install
	@$(BIN)/python -m tests.proof.torture --seed $(SEED) --seeds $(SEEDS) --at "$(AT)" $(if $(WHERE),--where "$(WHERE)")

# Random pipelines under lean retention: against a model of Nextflow, then, ten in each trial, against plain Nextflow.
lean: $(STAMP)
	@$(BIN)/nfresume engine install
	@if [ "$$(id -u)" = 0 ]; then as="setpriv --bounding-set=-dac_override,-dac_read_search --"; fi; \
	$$as $(BIN)/python -m tests.proof.lean_model --seed $(SEED) --seeds 300
	@$(BIN)/python -m tests.proof.lean --seed $(SEED) --seeds $(SEEDS)

MINUTES ?= 10
soak: $(STAMP)
	@$(BIN)/nfresume engine install
	@$(BIN)/python -m tests.proof.soak --minutes $(MINUTES)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -n 2 -q -m "not scale and not long" tests/unit

bench: $(STAMP)
	@$(BIN)/nfresume engine install
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[bench]'
	@$(BIN)/python benchmarks/launch.py --pairs 9
	@$(BIN)/python benchmarks/storage.py
	@$(BIN)/python benchmarks/storage.py --plot docs/removal.svg
	@$(BIN)/python benchmarks/server.py
	@$(BIN)/python benchmarks/tasks.py
	@$(BIN)/python benchmarks/records.py

# Every page of the console, into docs/screens.
screenshots: $(STAMP)
	@$(BIN)/python -m tests.screens

dist: $(STAMP)
	@rm -rf dist
	@$(BIN)/pip wheel -q --disable-pip-version-check --no-deps -w dist .
	@ls dist/*.whl

clean:
	rm -rf $(VENV) dist .peers .demo .test-output .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
