# What the README tells users to call. Everything happens in .venv, which the first call makes.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# What the benchmarks measure beside gapless.
PEERS := .venv-peers/.ready .venv-peers-litestar/.ready

.DEFAULT_GOAL := help
# make chaos SEED=1 ROUNDS=2 TOPOLOGY=replica
CHAOS := $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(TOPOLOGY),--topology $(TOPOLOGY))

.PHONY: help demo test test-matrix check format bench bench-full chaos pins clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /	/' | expand -t 14

demo: $(READY) ## Run a chat on an embedded Valkey, in the browser. ARGS="--port 8080", "--help".
	@exec $(BIN)/python -m examples.chat $(ARGS)

test: $(READY) ## Run the tests on real servers, side by side. ARGS="-k name" and whatever else pytest takes.
	@exec $(BIN)/python -m pytest $(or $(ARGS),-n auto --dist loadfile)

test-matrix: $(READY) ## Run the backend tests on every server and every client. ARGS="--quick", "--help".
	@exec $(BIN)/python -m tests.matrix $(ARGS)

check: $(READY) ## Check format, lint, types and layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_layers.py

format: $(READY) ## Format the code and mend what ruff can.
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q .

bench: $(READY) $(PEERS) ## Measure gapless against its peers, in 10 minutes. ARGS="--quick", "--help".
	@exec $(BIN)/python -m benchmarks $(ARGS)

bench-full: $(READY) $(PEERS) ## Measure everything, in both event loops.
	@exec $(BIN)/python -m benchmarks --full $(ARGS)

chaos: $(READY) ## Disturb a running system at random and judge what came of it. SEED= ROUNDS= TOPOLOGY=.
	@exec $(BIN)/python -m tests.chaos $(CHAOS) $(ARGS)

pins: $(READY) ## Pin the newest releases in requirements/*.txt.
	cd requirements && for f in *.in; do CUSTOM_COMPILE_COMMAND="make pins" ../$(BIN)/pip-compile -q --upgrade \
		--generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host \
		--no-emit-find-links --no-emit-options -o $${f%.in}.txt $$f || exit 1; done

clean: ## Remove the environments and caches.
	rm -rf $(VENV) .venv-matrix .venv-peers .venv-peers-litestar .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install it, or name it: make PYTHON=..." >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version); this takes about a minute, once."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv-%/.ready: requirements/%.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install it, or name it: make PYTHON=..." >&2; exit 1; }
	@echo "Making .venv-$* for the benchmarks, once."
	@rm -rf .venv-$*
	@$(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/$*.txt
	@touch $@
