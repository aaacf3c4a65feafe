# make repro: sets up and runs the main job. make test: sets up and runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true

.PHONY: repro test lint ui clean overhead benchmark benchmark-gpu chaos setup

repro: $(STAMP)
	dvc repro

# one process more than there are processors: tests of clusters wait for what Ray notices
test: $(STAMP)
	pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1))

lint: $(STAMP)
	ruff check .
	ruff format --check .
	mypy

ui: $(STAMP)
	mlflow server --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} --host 127.0.0.1 --port $${PORT:-5000}

# wall time of the train stage over the time its runs need, in a fresh run store
overhead: $(STAMP)
	python -m benchmarks.overhead

# this project beside what people use today, into benchmarks/results/: NAMES='construction mlflow' measures these alone;
# the two with Ray around a whole run, minutes each, when they are named: NAMES='ray-steady ray-total'
benchmark: $(STAMP)
	python -m pipeline.benchmark $(NAMES)

# needs nothing but torch, torchvision and numpy, so it can be run without `make` where the GPU is
benchmark-gpu: $(STAMP)
	python -m benchmarks.gpu

# faults on purpose, and what came of them into docs/faults.md
chaos: $(STAMP)
	python -m tests.chaos --write docs/faults.md

setup: $(STAMP)

$(STAMP): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	touch $@

# what can be made again; the run store (.runs) and MLflow's records stay
clean:
	rm -rf data runs results .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
