# Every command of this repository; `make help` lists them. Each sets up what it needs first.
SHELL := /bin/bash
BIN := .venv/bin
comma := ,
UNITS := tests/unit tests/contracts tests/modal_compat tests/modalkit
CODE := freehold/src modal-compat/src modalkit/src tests scripts examples benchmarks

.DEFAULT_GOAL := help
.PHONY: help setup demo claims check fix test long unit contracts conformance conformance-versions browser faults bench bench-peers bench-flat simulate docs lock lock-sdks clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install system packages, uv and the locked dependencies (quick when they are there)
	@scripts/setup.sh

demo: setup ## From nothing to an answer: engine up, train iris, deploy, predict, engine down
	@$(BIN)/python scripts/demo.py

claims: setup ## What the iris endpoint costs here, the traditional way and ours: lines, deploys, cold starts, idling
	@$(BIN)/python scripts/claims.py

check: setup ## Format, lint, types, import contracts, generated docs
	$(BIN)/ruff format --check --quiet $(wildcard $(CODE))
	$(BIN)/ruff check --quiet $(wildcard $(CODE))
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/lint-imports --config .importlinter-modalkit
	$(BIN)/lint-imports --config .importlinter-modal-compat
	$(BIN)/python scripts/generate_docs.py --check
	$(BIN)/python scripts/rpc_coverage.py --check

fix: setup ## Format the code and mend what ruff can mend
	$(BIN)/ruff format $(wildcard $(CODE))
	$(BIN)/ruff check --fix $(wildcard $(CODE))

# One test of thousands that a busy machine fails is tried a second time, and said to have been; `make long` tries none again.
AGAIN := --reruns 1 -raR

test: check ## Everything that must be green: check, then all tests: conformance on two engines, beside it first the units, then the faults
	@mkdir -p build
	@scripts/setup.sh --promtool
	@(env --default-signal=INT $(BIN)/pytest $(UNITS) > build/units.log 2>&1; units=$$?; \
	  env --default-signal=INT $(BIN)/pytest $(AGAIN) tests/faults > build/faults.log 2>&1 && exit $$units) & beside=$$!; \
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(AGAIN) tests/conformance; status=$$?; \
	$(BIN)/pytest $(AGAIN) tests/browser || status=1; \
	wait $$beside || status=1; cat build/units.log build/faults.log; exit $$status

long: check ## The same, with the tests that wait for half a minute or more
	@scripts/setup.sh --promtool
	LONG=1 $(BIN)/pytest tests

unit: setup ## Decisions and services, in seconds
	$(BIN)/pytest tests/unit tests/modal_compat tests/modalkit

contracts: setup ## Each Protocol's suite, over every implementation
	$(BIN)/pytest tests/contracts

conformance: setup ## The real modal client and CLI against a live engine
	$(BIN)/pytest tests/conformance

conformance-versions: setup ## Every version of the modal client that is served, each with its own package; writes down what worked
	RECORD=1 LONG=1 $(BIN)/pytest tests/conformance/test_older_clients.py
	@$(BIN)/python scripts/generate_docs.py

faults: setup ## Kill, freeze and restart under work, an hour at random; SEED=… and MINUTES=… repeat
	MINUTES=$(or $(MINUTES),60) SEED=$(SEED) $(BIN)/pytest tests/faults -s

browser: ## The engine's pages in a real browser; screenshots go to docs/images
	@scripts/setup.sh --browser
	SCREENSHOTS=docs/images $(BIN)/pytest tests/browser

bench: setup ## Latency, throughput, starts and limits, as a table and in build/bench.json; ONLY=http,cold for some
	@$(BIN)/python benchmarks/run.py $(subst $(comma), ,$(ONLY))

bench-peers: setup ## Install the newest LitServe, BentoML and Ray Serve beside ours and measure the iris endpoint with all
	@$(BIN)/python benchmarks/peers.py
	@$(BIN)/python benchmarks/run.py iris

bench-flat: setup ## Whether a call's cost stays the same with 100,000 inputs queued, or 1,000 functions deployed
	@$(BIN)/python benchmarks/flat.py

simulate: setup ## What the autoscaler does under made and recorded traffic; charts in build/simulation
	@$(BIN)/python benchmarks/simulate.py

docs: setup ## Generate the reference pages
	@$(BIN)/python scripts/generate_docs.py
	@$(BIN)/python scripts/rpc_coverage.py

lock: setup ## Bring requirements.lock up to date with the pyproject files
	$(BIN)/uv pip compile --quiet freehold/pyproject.toml modal-compat/pyproject.toml modalkit/pyproject.toml --all-extras --group dev --group examples --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-emit-package modal-compat --output-file requirements.lock

lock-sdks: setup ## Bring tests/sdks/*.lock up to date: what each version of the modal client is tested with, with hashes
	@$(BIN)/python scripts/lock_sdks.py

clean: ## Remove what the commands above made in this checkout
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find freehold modal-compat modalkit tests scripts examples benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
