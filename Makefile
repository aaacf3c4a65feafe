# make repro: sets up and runs the main job. make test: sets up and runs the fast tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true

.PHONY: repro test test-all lint docs ui clean simulate overhead benchmark benchmark-gpu chaos setup
PROCESSES := $$(getconf _NPROCESSORS_ONLN)

repro: $(STAMP)
	python -m pipeline plan
	dvc repro

# The fast lane: behaviour through public functions, kill and resume, one whole `dvc repro` of a tiny experiment.
test: $(STAMP)
	pytest --dist loadfile -n $(PROCESSES) -m "not slow and not gpu"

# The slow tests: several nodes, data-parallel runs, faults, Keras, ONNX, browsers. One process more than there are
# processors, because tests of clusters wait for what Ray notices.
test-all: $(STAMP)
	pytest --dist loadfile -n $$(($(PROCESSES) + 1)) -m "slow and not gpu"

lint: $(STAMP)
	ruff check .
	ruff format --check .
	mypy
	python -m tests.words

# The pages of docs/ as a site, in site/; a broken link or a page that the navigation lacks is an error
docs: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement docs/requirements.txt --constraint requirements.lock
	mkdocs build --strict --site-dir site

# MLflow in a browser: of a database by a server on this machine; a server that runs elsewhere is only named
ui: $(STAMP)
	@case "$${MLFLOW_TRACKING_URI:-}" in \
	http://*|https://*) echo "open $$(echo "$$MLFLOW_TRACKING_URI" | sed 's#//[^/]*@#//#') in a browser" ;; \
	*) exec mlflow server --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --workers 1 \
		--host 127.0.0.1 --port "$${PORT:-5000}" ;; \
	esac

# How often the judges of claims are wrong on the edge of a claim, and right at the paper's effects. 20 minutes.
simulate: $(STAMP)
	python -m tests.factories.simulations $(DRAWS)

# Wall time of the train stage over the time its runs need, in a fresh run store.
overhead: $(STAMP)
	python -m benchmarks.overhead

# This project against what people use today, into benchmarks/results/. NAMES='construction mlflow' measures only these;
# those that take longest are measured when they are named: NAMES='ray-steady ray-total'.
benchmark: $(STAMP)
	python -m benchmarks $(NAMES)

# Needs nothing but torch, torchvision and numpy, so it also runs without `make` where the GPU is.
benchmark-gpu: $(STAMP)
	python -m benchmarks.gpu $(NAMES)

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
	rm -rf data runs results site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
