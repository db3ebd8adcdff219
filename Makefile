# Two commands do everything on a fresh machine: `make demo` and `make test`. Both install what they need.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
UV := .bootstrap/bin/uv
RUN := $(UV) run --locked --all-extras --all-groups
PY := $(RUN) python
PYTHON := .venv/bin/python
LEVELS := tests/pure tests/fakeapi tests/worker tests/telemetry tests/local tests/controlplane tests/karpenter tests/chart tests/e2e tests/faults

include deploy/local/local.mk deploy/gen.mk

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(UV):
	@command -v python3 >/dev/null || { echo "python3 (3.11 or later) is missing"; exit 1; }
	@python3 -m venv .bootstrap 2>/dev/null || { \
	  echo "python3 -m venv does not work here: installing python3-venv"; \
	  apt-get update -qq && apt-get install -qq -y python3-venv >/dev/null && python3 -m venv .bootstrap; }
	@.bootstrap/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.PHONY: sync
sync: $(UV) ## Install the locked Python packages into .venv
	@$(UV) sync --locked --all-extras --all-groups --quiet

cluster-up cluster-status cluster-down: sync

.PHONY: demo
demo: sync ## The main job, end to end, on a real cluster on this machine
	@$(PY) -m inferfleet_demo

.PHONY: faults
faults: sync ## The fault-injection proof on real nodes: the whole table, in out/faults
	@$(PY) -m inferfleet_faults

.PHONY: check
check: sync ## Formatting, lint, types, import contracts, generated files current
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports
	@$(MAKE) --no-print-directory gen-check

.PHONY: test
test: check ## Everything: checks, pure tests, API server, chart, and the demo as an end-to-end test
	$(RUN) pytest $(LEVELS)

.PHONY: bench
bench: sync ## Measure: cluster start, planner, operator footprint, signals, the demo's times, and the scorecard
	$(PY) benchmarks/cluster_start.py --measure api
	for one in memory calibration baselines speed; do $(PY) benchmarks/planner/$$one.py; done
	$(PY) benchmarks/operator_footprint.py
	$(PY) benchmarks/signals.py
	$(PY) -m inferfleet_demo
	@$(MAKE) --no-print-directory scorecard

.PHONY: bench-live
bench-live: sync ## Measure: ten minutes of load on real engines, our scaling and a real HPA side by side
	$(PY) benchmarks/live/run.py $(LIVE)

.PHONY: bench-hundreds
bench-hundreds: sync ## Measure: scaling to hundreds of replicas and back, an engine process each (root, ten minutes)
	PYTHONPATH=benchmarks $(PY) -m hundreds.run $(HUNDREDS)

.PHONY: scorecard
scorecard: sync ## Simulate every control law on every load, and every mix of spot (half an hour of one core)
	$(PY) benchmarks/scorecard/scorecard.py
	$(PY) benchmarks/scorecard/spot.py

.PHONY: clean
clean: ## Remove what the checkout built (the cache and clusters stay; see cluster-down)
	rm -rf .venv .bootstrap dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
