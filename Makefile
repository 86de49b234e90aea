# What a fresh clone can do with Python 3.11, pip and make. `make` alone lists it.

# Any Python from 3.11 on will do; `make PYTHON=...` names another one.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
ARGS ?=
# The schedule of `make chaos`; all ten if empty.
SEED ?=
# How long `make fuzz` takes.
SECONDS ?= 600
# Of Kubernetes, for what runs a cluster; the pinned one if empty.
VERSION ?=

BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Debian's python3 without python3-venv makes no environment with a pip of its own.
PIP = $$(test -x $(BIN)/pip && echo $(BIN)/pip || echo $(PYTHON) -m pip --python $(BIN)/python)
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet \
	--universal --python-version 3.11 --generate-hashes
# A process for each core, and a file's tests in one of them: they share fixtures. ARGS=-n0 undoes it.
IN_PARALLEL := --numprocesses=auto --maxprocesses=8 --dist=loadfile

.DELETE_ON_ERROR:
.PHONY: help run demo test test-fast test-313 coverage check fuzz siege chaos bench bench-guard \
	chart docs lock cluster cluster-stop cluster-test cluster-all release

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' Makefile

run: .venv/run.stamp ## the proxy on :5000; ARGS="--upstream URL" passes arguments on
	@exec $(BIN)/lighterage serve $(ARGS)

demo: .venv/run.stamp ## in a minute, what it does: on this machine only, with nothing else to install
	@$(BIN)/python -m proxy.demo

test: .venv/dev.stamp ## what the tests need, and the tests; ARGS="-k schema1" passes arguments on
	@$(BIN)/python tests/tools.py --pytest $(ARGS)
	$(BIN)/python -m pytest $(IN_PARALLEL) $(ARGS)

test-fast: .venv/dev.stamp ## the tests of units and of the stores, in less than a minute
	@$(BIN)/python tests/tools.py unit contract
	$(BIN)/python -m pytest $(IN_PARALLEL) tests/unit tests/contract $(ARGS)

test-313: .venv/dev.stamp ## the same tests by the image's Python, in a root file system of Debian 13
	@$(BIN)/python tests/tools.py image
	$(BIN)/python -m pytest tests/image/test_python.py $(ARGS)

coverage: .venv/dev.stamp ## what the same tests run of the domain, and whether that is enough
	@$(BIN)/python tests/tools.py unit contract
	$(BIN)/python -m pytest $(IN_PARALLEL) tests/unit tests/contract --cov --cov-report=term $(ARGS)

check: .venv/dev.stamp ## lint, format, types, and whether the locks fit pyproject.toml
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_locks.py

fuzz: .venv/fuzz.stamp ## every parser of foreign bytes, guided by coverage; SECONDS=30 for a short run
	$(BIN)/python -m tests.fuzz -max_total_time=$(SECONDS) $(ARGS)

siege: .venv/dev.stamp ## five attacks of a minute each, and how somebody else fares meanwhile
	LIGHTERAGE_SLOW_TESTS=1 $(BIN)/python -m pytest -s tests/hostile/test_for_a_minute.py $(ARGS)

chaos: .venv/dev.stamp ## replicas with random faults, and all that takes long; SEED=7 for one schedule
	@$(BIN)/python tests/tools.py replicas
	CHAOS=1 SEED=$(SEED) $(BIN)/python -m pytest -s -m slow tests/replicas \
		$(if $(SEED),-k test_chaos) $(ARGS)

bench: .venv/dev.stamp ## this proxy beside distribution and nginx, in one run; ARGS=--write fills the docs with it
	@$(BIN)/python tests/tools.py bench
	$(BIN)/python -m tests.bench $(ARGS)

bench-guard: .venv/dev.stamp ## the same in short: it fails on a regression
	@$(BIN)/python tests/tools.py docker-registry nginx wrk
	$(BIN)/python -m tests.bench --guard --rounds 3

cluster: .venv/dev.stamp ## a Kubernetes node with the proxy, from Go modules; VERSION=1.30 for another one
	@$(BIN)/python tests/tools.py cluster
	@$(BIN)/python -m tests.cluster start $(VERSION)

cluster-stop: .venv/dev.stamp ## end what `make cluster` has started
	@$(BIN)/python -m tests.cluster stop

cluster-test: .venv/dev.stamp ## the chart on a cluster: installed, tested, pulled through, changed, removed
	@$(BIN)/python tests/tools.py cluster
	@$(BIN)/python -m tests.cluster build $(VERSION)
	KUBERNETES_VERSION=$(VERSION) $(BIN)/python -m pytest tests/cluster -m "not slow" $(ARGS)

cluster-all: .venv/dev.stamp ## the same, and everything that takes long
	@$(BIN)/python tests/tools.py cluster
	@$(BIN)/python -m tests.cluster build $(VERSION)
	KUBERNETES_VERSION=$(VERSION) $(BIN)/python -m pytest tests/cluster $(ARGS)

chart: .venv/dev.stamp ## the chart's README and schema anew, for values.yaml and the settings
	$(BIN)/python -m tests.chart.generated

release: .venv/dev.stamp ## image and chart, signed, in REGISTRY=registry.example.org/team by KEY=cosign.key
	@$(BIN)/python tests/tools.py buildah skopeo helm cosign
	@$(BIN)/python -m release $(REGISTRY) --key $(KEY) $(ARGS)

docs: .venv/dev.stamp ## the configuration reference, and the pages as a site in build/site
	@$(BIN)/python -m tests.kit.site

lock: .venv/dev.stamp ## write the locks anew for pyproject.toml; ARGS=--upgrade for newer versions
	$(LOCK) $(ARGS) pyproject.toml --all-extras --output-file requirements.lock
	$(LOCK) $(ARGS) --group build --constraint requirements.lock --output-file requirements-build.lock
	$(LOCK) $(ARGS) --group dev --constraint requirements.lock --constraint requirements-build.lock \
		--output-file requirements-dev.lock

.venv/bin/python:
	@$(or $(PYTHON),$(error Lighterage needs Python 3.11 or newer: install it or name it with PYTHON=)) \
		-m venv .venv >/dev/null 2>&1 || $(PYTHON) -m venv --without-pip .venv

# No build isolation: an isolated build would fetch a build backend that no lock names.
.venv/run.stamp: requirements.lock requirements-build.lock pyproject.toml | .venv/bin/python
	@echo "Installing what Lighterage needs into .venv"
	@$(PIP) install --quiet --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

.venv/dev.stamp: requirements-dev.lock .venv/run.stamp
	@echo "Installing what the tests and checks need into .venv"
	@$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

# Not locked: it has wheels for some Pythons only, and nothing else needs it.
.venv/fuzz.stamp: .venv/dev.stamp
	@$(PIP) install --quiet --only-binary=:all: "atheris>=3,<4"
	@touch $@
