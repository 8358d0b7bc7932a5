# What the README says under "Commands". `make` alone lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
API_PORT ?= 9101
LISTENER_PORT ?= 8090
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: help demo test up bench lint format servers clean

help:
	@echo "make demo    the main job for real: a service dies, PoundCake restarts it"
	@echo "make test    all tests"
	@echo "make up      the embedded engine with the pack, in the foreground"
	@echo "make bench   how fast, for the engine at hand"
	@echo "make lint    ruff check and format"

# The virtual environment; made anew when a requirements file has changed.
$(READY): requirements.txt requirements-tests.txt tests/engine/requirements.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -r requirements.txt -r requirements-tests.txt
	$(PY) -m pip install --quiet --no-deps -r tests/engine/requirements.txt
	@touch $@

# The real Prometheus, Alertmanager and SSH server, and Chromium, from Debian.
servers: $(READY)
	@bash tests/demo/install_servers

demo: $(READY)
	@bash tests/demo/install_servers demo
	$(PY) -m tests.demo

test: $(READY) servers
	$(PY) -m pytest -n 4 --dist loadfile tests

up: $(READY)
	$(PY) -m tests.demo.up --api-port $(API_PORT) --listener-port $(LISTENER_PORT)

bench: $(READY)
	$(PY) -m tests.bench

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(READY)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf .engine .demo .pytest_cache .ruff_cache .hypothesis
