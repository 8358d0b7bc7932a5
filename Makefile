# What the README says under "Commands". `make` alone lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
API_PORT ?= 9101
LISTENER_PORT ?= 8090
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
# The sensor, each action and each test process would compile all of their modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo up test-unit test soak bench lint format docs screenshots servers clean

help:
	@echo "make demo         the main job for real: a service dies, PoundCake restarts it (30 s)"
	@echo "make up           the embedded engine with the pack, in the foreground"
	@echo "make test-unit    what needs no process and no socket (about 30 s)"
	@echo "make test         everything a change can break, real servers included (about 7 minutes)"
	@echo "make soak         kills, storms, mutations, an hour of traffic (about 6 minutes)"
	@echo "make lint         ruff, mypy, docs/reference, known faults of the packages"
	@echo "make format       let ruff repair what it can"
	@echo "make docs         write docs/reference from the metadata"
	@echo "make screenshots  write docs/images from the real status page"
	@echo "make bench        how fast, for the engine at hand"
	@echo "make servers      install the real Prometheus, Alertmanager, SSH server and Chromium"
	@echo "make clean        remove what runs and tests have left"

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

# Fewer examples of each property than `make test` tries.
test-unit: $(READY)
	@echo "make test-unit usually takes about 30 s"
	HYPOTHESIS_EXAMPLES=20 $(PY) -m pytest -q -n 2 tests/unit

# In the order of the folders: e2e and engine first, which mostly wait, so six go at once.
test: $(READY) servers
	@echo "make test usually takes about 7 minutes"
	$(PY) -m pytest -n 6 --dist loadfile --no-loadscope-reorder -m "not soak" tests

soak: $(READY) servers
	@echo "make soak usually takes about 6 minutes"
	$(PY) -m pytest -m soak tests

up: $(READY)
	$(PY) -m tests.demo.up --api-port $(API_PORT) --listener-port $(LISTENER_PORT)

bench: $(READY)
	$(PY) -m tests.bench

lint: $(READY)
	@echo "make lint usually takes under a minute"
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m tests.support.reference --check
	$(PY) -m tests.support.audit

docs: $(READY)
	$(PY) -m tests.support.reference

screenshots: $(READY) servers
	$(PY) -m tests.demo.screenshots

format: $(READY)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf .engine .demo .pytest_cache .ruff_cache .hypothesis
