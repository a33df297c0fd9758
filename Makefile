# Each target sets up what it needs on a bare machine with Python 3.10 or newer; PYTHON=python3.12 picks another one.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow test-random browser lint format bench clean

demo: $(READY)
	$(BIN)/python tracking/run_demo.py

test: lint
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow --timeout 1800

# The tests of `make test`, RUNS times, each time in another order and with other random numbers.
RUNS ?= 20
test-random: $(READY)
	for seed in $$(seq $(RUNS)); do \
	  TRANSCMD_TEST_SEED=$$seed $(BIN)/python -m pytest -q -n auto --dist worksteal --random-order-seed=$$seed || exit 1; \
	done

# What test-slow opens report.html in, on Debian and Ubuntu; as root.
browser:
	apt-get update -qq && apt-get install -y --no-install-recommends chromium chromium-driver

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python benchmarks/data_loading.py
	$(BIN)/python benchmarks/training_step.py

$(READY): requirements.txt setup.py install.sh
	PYTHON=$(PYTHON) bash install.sh

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
