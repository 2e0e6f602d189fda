# Every target brings what it needs by itself (deployments/setup.sh): Python 3.11 with venv and make are enough.
.DEFAULT_GOAL := help
SHELL := /bin/bash
RUN := .venv/bin
ARGS ?=
NAME ?=

.PHONY: help setup learning demo up down status test check format bench campaign faults crashes calm guards pushed station replayed recorded learned snapshot clean

help: ## This list
	@echo 'Tonewatch: make TARGET'
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## Bring uv and the locked packages into this folder (every other target does it by itself)
	@deployments/setup.sh

learning: ## The optional heavy packages too: tensorflow, evidently, great-expectations, xgboost
	@deployments/setup.sh learning

demo: setup ## One real fault on a real small platform, mended before your eyes: make demo ARGS="--seed 7"
	@$(RUN)/tonewatch demo $(ARGS)

up: setup ## Start the stack: the servers, gateway and watcher that the profile needs
	@$(RUN)/tonewatch up $(ARGS)

down: setup ## Stop it
	@$(RUN)/tonewatch down $(ARGS)

status: setup ## What is running, how it is, where its pages are
	@$(RUN)/tonewatch status $(ARGS)

test: setup ## All tests, on real servers, two files at a time: make test ARGS="tests/unit -k beacon"
	@$(RUN)/pytest -n 2 --dist loadfile $(ARGS)

check: setup ## Lint, format, types, import contracts
	@failed=0; \
	echo 'check: lint'; $(RUN)/ruff check . || failed=1; \
	echo 'check: format'; $(RUN)/ruff format --check . || failed=1; \
	echo 'check: types'; $(RUN)/mypy || failed=1; \
	echo 'check: import contracts'; $(RUN)/lint-imports --no-cache || failed=1; \
	exit $$failed

format: setup ## Let ruff put the files in order
	@$(RUN)/ruff check --fix . ; $(RUN)/ruff format .

bench: setup ## Run a benchmark: make bench NAME=file, written to docs/results; without NAME, which there are
	@names=$$(cd tests/benchmarks 2>/dev/null && ls *.py 2>/dev/null | grep -v '^_' | sed 's/\.py$$//'); \
	if [ -z "$$names" ]; then echo 'There are no benchmarks yet; they will live in tests/benchmarks/.'; [ -z '$(NAME)' ]; \
	elif [ -z '$(NAME)' ]; then echo 'Benchmarks (make bench NAME=...):'; printf '  %s\n' $$names; \
	else OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(RUN)/python -m tests.benchmarks.$(NAME) --json docs/results/$(NAME).json $(ARGS); fi

campaign: setup ## The demo with three seeds, with Prefect killed and frozen: 40 minutes; writes docs/results/campaign.json
	@$(RUN)/python tests/campaign/campaign.py $(ARGS)

faults: setup ## All seven faults and the three that are none, three seeds: an hour; writes docs/results/faults.json
	@$(RUN)/python -m tests.campaign.every_fault $(ARGS)

crashes: setup ## Each part killed while a fault is mended, 21 times: 40 minutes; writes docs/results/crashes.json
	@$(RUN)/python -m tests.campaign.crashes $(ARGS)

guards: setup ## Each guardrail's fault tests, green with the guard and red without it; writes docs/results/guards.json
	@$(RUN)/python tests/guardrails/prove.py $(ARGS)

calm: setup ## The demo without a fault for 21 minutes, added to docs/results/calm.json: make calm ARGS="--seed 2"
	@$(RUN)/python -m tests.campaign.calm $(ARGS)

pushed: setup ## A real Prometheus remote-writes while gateway and PostgreSQL are killed: 11 minutes; docs/results/pushed.json
	@$(RUN)/python -m tests.campaign.pushed $(ARGS)

station: setup ## A real Icecast station watched for an hour, then silent: make station ARGS="--minutes 60"; docs/results/station.json
	@$(RUN)/python -m tests.campaign.station $(ARGS)

replayed: setup ## A soundstage with a fault recorded for an hour and replayed five times; docs/results/replayed.json
	@$(RUN)/python -m tests.campaign.replayed $(ARGS)

recorded: setup ## Every fault of a real soundstage recorded as a case: make recorded ARGS="--seed 14"; 17 minutes a seed
	@$(RUN)/python -m tests.campaign.recorded $(ARGS)

learned: setup ## Drift, retraining, validation, promotion on the live soundstage: 100 minutes; docs/results/lifecycle_live.json
	@$(RUN)/python -m tests.campaign.learned $(ARGS)

snapshot: setup ## Rewrite the reviewed picture of the house, docs/settings.md and docs/openapi.json after a wanted change
	@UPDATE_SNAPSHOT=1 UPDATE_DOCS=1 $(RUN)/pytest -q tests/test_snapshot.py tests/test_docs.py tests/unit/gateway/test_description.py

clean: ## Remove caches and demo-out (never the state folder, .venv or .tools)
	@rm -rf demo-out dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.tools/*' -prune -exec rm -rf {} +
