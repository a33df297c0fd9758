# Each target works on a bare machine with Python 3.10 or newer: it runs install.sh if .venv is missing or outdated.
# PYTHON=python3.12 selects another Python.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow test-random browser lint format bench clean

demo: $(READY)
	$(BIN)/python tracking/run_demo.py

# Lint, format check and the fast tests, on all cores.
test: lint
	$(BIN)/python -m pytest -n auto --dist worksteal

# The tests that are marked slow; they take minutes.
test-slow: $(READY)
	$(BIN)/python -m pytest -m slow --timeout 1800

# The fast tests, RUNS times, each time in another order and with other random numbers.
RUNS ?= 20
test-random: $(READY)
	for seed in $$(seq $(RUNS)); do \
	  TRANSCMD_TEST_SEED=$$seed $(BIN)/python -m pytest -q -n auto --dist worksteal --random-order-seed=$$seed || exit 1; \
	done

# Installs Chromium, in which test-slow opens report.html (Debian and Ubuntu; run as root).
browser:
	apt-get update -qq && apt-get install -y --no-install-recommends chromium chromium-driver

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One core of the loader, and a training step. Draws data if there are none.
bench: $(READY)
	$(BIN)/python benchmarks/data_loading.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/speed.py

$(READY): requirements.txt setup.py install.sh
	PYTHON=$(PYTHON) bash install.sh

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
