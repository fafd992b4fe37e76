# Fulcrum's commands: each does its own set-up. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

GEN ?= gen
SOAK_S ?= 3600
# A contract may not break the last release; before the first one, the first commit that had contracts.
CONTRACT_BASE ?= $(shell git describe --tags --abbrev=0 2>/dev/null || git log --diff-filter=A --format=%H -- buf.yaml | tail -1)
PROTOS = $(shell cd protos && find fulcrum buf -name '*.proto' | sort)

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The pinned set-up: no torch, no GPU.
$(VENV)/.setup: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# torch, transformers and sentence-transformers, for comparing with and for training.
$(VENV)/.oracles: requirements/oracles.txt $(VENV)/.setup
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/oracles.txt
	@touch $@

# The encoder's published weights, fetched once and verified.
.models/all-MiniLM-L6-v2/model.safetensors: $(VENV)/.setup
	$(BIN)/fulcrum models pull all-MiniLM-L6-v2

.PHONY: setup
setup: $(VENV)/.setup .models/all-MiniLM-L6-v2/model.safetensors ## Install everything that demo and test need

.PHONY: protos
protos: $(VENV)/.setup ## Generate gen/ from protos/
	rm -rf $(GEN)
	mkdir -p $(GEN)
	cd protos && ../$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=../$(GEN) --pyi_out=../$(GEN) $(PROTOS)
	cd protos && ../$(BIN)/python -m grpc_tools.protoc --proto_path=. --grpc_python_out=../$(GEN) \
		--plugin=protoc-gen-mypy_grpc=../$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:../$(GEN) \
		$$(find fulcrum -name '*_service.proto' | sort)
	touch $(GEN)/fulcrum/py.typed

.PHONY: envoy-descriptors
envoy-descriptors: $(VENV)/.setup ## Write what Envoy's JSON door knows of the contracts
	$(BIN)/buf build --exclude-source-info -o deploy/envoy/edge.binpb

.PHONY: check
check: $(VENV)/.setup ## Lint, types, contracts, architecture, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against ".git#ref=$(CONTRACT_BASE)"
	$(MAKE) --no-print-directory protos GEN=.gen-check
	diff -r -x __pycache__ gen .gen-check
	rm -rf .gen-check
	$(BIN)/lint-imports --no-cache

.PHONY: test
test: setup ## Run every test that needs no torch
	$(BIN)/pytest --ignore=tests/oracles --ignore=tests/kernels

.PHONY: test-oracles
test-oracles: setup $(VENV)/.oracles ## Compare with torch, transformers, sentence-transformers; kernels without a GPU
	$(BIN)/pytest tests/oracles tests/kernels

.PHONY: demo
demo: setup ## Send real prompts through the suite and show what each lever saved
	$(BIN)/python -m benchmarks.demo

.PHONY: up
up: setup ## Run all services in one process
	$(BIN)/fulcrum up

.PHONY: bench
bench: setup ## Measure every published number that needs no data from elsewhere
	$(BIN)/python -m benchmarks.edge --json -

.PHONY: soak
soak: setup ## An hour of everything (SOAK_S=3600): nothing grows; a million stores, thousands of kills of the cache
	FULCRUM_SOAK_S=$(SOAK_S) $(BIN)/pytest -s tests/faults/test_soak.py
	FULCRUM_CACHE_STORES=1000000 $(BIN)/pytest -s tests/faults/test_cache_soak.py
	FULCRUM_CACHE_KILLS=2000 $(BIN)/pytest -s tests/faults/test_cache_kill.py tests/faults/test_cache_mixed_kill.py
	FULCRUM_FLIPS=500 $(BIN)/pytest -s tests/unit/cache/test_database.py tests/unit/cache/test_every_file.py
