# Everything a newcomer or a CI machine types. Needs python3 (3.11 or newer) and make; installs the rest.

PYTHON ?= python3
BIN := .venv/bin
NOW := 2026-11-20T16:05:00Z

# The demo never sees anybody's store, token or .env: its environment is built from nothing.
CLEAN := env -i HOME="$$HOME" PATH="$$PATH" TERM="$$TERM" LANG=C.UTF-8 PYTHONUTF8=1 SPEAKERBOT_ENV_FILE=
DEMO := $(CLEAN) DATABASE_URL=sqlite:///.demo/speakerbot.db

.DEFAULT_GOAL := help
.PHONY: help run sandbox test test-slow check lint format map crash mutants bench schema lock clean cron-plan cron-deploy cron-status

help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: .venv/runtime .demo/speakerbot.db ## Import the sample talks and show what would be sent
	@$(DEMO) $(BIN)/speakerbot run reminders --dry-run --now $(NOW)

sandbox: .venv/runtime .demo/speakerbot.db ## Send the sample reminders to a Discord inside the process
	@$(DEMO) $(BIN)/speakerbot sandbox reminders --now $(NOW)

test: .venv/dev ## Run the tests, but for the slow suite
	@$(PYTEST) -m "not slow_suite" $(PYTEST_ARGS)

test-slow: .venv/dev ## Run the slow suite, then commands in interpreters of their own: minutes
	@$(PYTEST) -m slow_suite $(PYTEST_ARGS)
	@SPEAKERBOT_TEST_FRESH_PROCESSES=1 $(PYTEST) -m "not slow_suite" $(COMMAND_TESTS)

COMMAND_TESTS := tests/acceptance tests/integration/test_engine_trouble.py

# Many tests wait for a clock or a process: four workers keep two cores busy. Who has nothing left
# to do takes over what waits elsewhere.
PYTEST := $(CLEAN) CI="$$CI" \
  SPEAKERBOT_TEST_MONGODB_URI="$$SPEAKERBOT_TEST_MONGODB_URI" \
  SPEAKERBOT_CRASH_SCHEDULES="$$SPEAKERBOT_CRASH_SCHEDULES" \
  SPEAKERBOT_TEST_FRESH_PROCESSES="$$SPEAKERBOT_TEST_FRESH_PROCESSES" \
  $(BIN)/python -m pytest --numprocesses 4 --dist worksteal

check: lint test ## Everything that must hold before a commit

lint: .venv/dev ## Format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy cli jobs speakerbot deploy tests
	$(BIN)/lint-imports --no-cache

format: .venv/dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

map: .venv/dev ## Rooms, arrows, circles and single importers, beside their limits
	@$(CLEAN) $(BIN)/python -m tests.map

crash: .venv/dev ## Kill runs of all jobs in SEEDS=1000 ways: is each message sent exactly once?
	@$(CLEAN) SPEAKERBOT_TEST_MONGODB_URI="$$SPEAKERBOT_TEST_MONGODB_URI" \
	  $(BIN)/python -m speakerbot.testing.crash --seeds $(or $(SEEDS),1000) $(CRASH_ARGS)

mutants: .venv/dev ## Small faults in the code that decides what is sent: which does no test notice? An hour
	@$(CLEAN) $(BIN)/python -m tests.mutation $(MUTANTS_ARGS)

bench: .venv/dev ## Measure speed and memory; prints a table, writes bench-results/
	@$(CLEAN) SPEAKERBOT_TEST_MONGODB_URI="$$SPEAKERBOT_TEST_MONGODB_URI" \
	  $(BIN)/python -m tests.bench $(BENCH_ARGS)

schema: .venv/runtime ## Write deploy/schedules.schema.json again, from the model
	@$(BIN)/python -c 'import json; from jobs import JOBS; from speakerbot.schedules.model import json_schema; print(json.dumps(json_schema(JOBS), indent=2))' > deploy/schedules.schema.json

lock: .venv/dev ## Pin the newest allowed versions with their hashes
	$(BIN)/pip install --quiet uv
	$(LOCK) pyproject.toml --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(LOCK) --group build -c requirements/dev.txt -o requirements/build.txt

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
  --no-emit-find-links --python-version 3.11 --custom-compile-command "make lock"

.venv/runtime: requirements/runtime.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "speakerbot needs Python 3.11 or newer; try make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

.venv/dev: .venv/runtime requirements/dev.txt
	@echo "Installing the development tools into .venv …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.demo/speakerbot.db: samples/talks.jsonl | .venv/runtime
	@rm -rf .demo
	@$(DEMO) $(BIN)/speakerbot talks import samples/talks.jsonl
	@touch $@

cron-plan: .venv/runtime ## What would change on Fly
	@$(BIN)/speakerbot cron plan

cron-deploy: .venv/runtime ## Build and push the image of the jobs, then make the machines run it
	@$(BIN)/speakerbot cron deploy

cron-status: .venv/runtime ## How the scheduled machines are doing
	@$(BIN)/speakerbot cron status

clean: ## Remove all that was made here
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis bench-results
