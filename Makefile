# The verbs, the same by hand and in CI. `make help` lists them.
PY := .venv/bin/python
export ORT_DISABLE_TELEMETRY := 1

.PHONY: help init demo test test-all lint types bench bench-swap fuzz soak clean

help:            ## list the verbs
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

init:            ## make .venv in this clone with all that the demo needs (again: does nothing)
	@scripts/init.sh demo

demo: init       ## hub, node and a demo on this machine; ONCE=1 ends by itself
	@$(PY) -m skerry up $(if $(ONCE),--once)

test:            ## set everything up (Debian packages too, when root), lint, check types, run the tests (< 15 min)
	@scripts/debian.sh
	@scripts/init.sh dev
	@$(MAKE) --no-print-directory lint types
	@$(PY) -m pytest -m "not slow"

test-all:        ## also the slow tests (about 10 minutes more)
	@scripts/debian.sh
	@scripts/init.sh dev
	@$(MAKE) --no-print-directory lint types
	@$(PY) -m pytest

lint:            ## ruff: rules and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types:           ## mypy --strict on core, wire and host
	@$(PY) -m mypy

bench:           ## the node's speed beside its yardsticks, as one table (6 minutes; ARGS=--help)
	@scripts/debian.sh
	@scripts/init.sh dev
	@$(PY) -m benchmarks $(ARGS)

bench-swap:      ## models swapped under load: failures, p99 and memory (ARGS=--help)
	@scripts/debian.sh
	@scripts/init.sh dev
	@$(PY) -m benchmarks.swap $(ARGS)

fuzz:            ## every parser of bytes from outside, coverage-guided; FUZZ_SECONDS each (needs atheris)
	@scripts/init.sh dev
	@$(PY) -m pip install --quiet --group fuzz
	@$(PY) -m fuzz run --seconds $(or $(FUZZ_SECONDS),60)

soak:            ## the test before a box goes to the edge: HOURS of mixed load and faults, ends in an HTML report
	@scripts/debian.sh
	@scripts/init.sh dev
	@$(PY) -m benchmarks.soak --hours $(or $(HOURS),1) $(ARGS)

clean:           ## remove what was made here
	rm -rf .venv .skerry .pytest_cache .mypy_cache .ruff_cache .hypothesis
