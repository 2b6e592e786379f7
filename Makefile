.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
# What runs the whole platform is alone on the machine; the rest shares its cores.
PARALLEL := -n auto --dist loadfile
export PATH := $(CURDIR)/.venv/bin:$(PATH)

##@ Use

run: setup ## start the platform on http://127.0.0.1:5000 (sets itself up; Ctrl-C stops it)
	@exec $(PYTHON) -m dormouse_control up

setup: ## install everything into .venv, once (about 7 minutes: it compiles llama.cpp)
	@scripts/setup.sh

##@ Work

test: setup ## run the tests: real Envoy, real llama.cpp, real OpenAI clients
	$(PYTHON) -m pytest tests/e2e
	$(PYTHON) -m pytest $(PARALLEL) --ignore tests/e2e

test-postgres: setup ## the tests of the control plane once more, on PostgreSQL
	DORMOUSE_TEST_DATABASE=postgres $(PYTHON) -m pytest $(PARALLEL) tests/dormouse_control tests/attacks

test-deep: setup ## the long ones too: 20 kills of every process, 100,000 random operations
	REQUIRE=postgres,node $(PYTHON) -m pytest -m "slow or not slow"

test-twins: setup ## put known holes in, one at a time, and see which ones the tests catch
	$(PYTHON) scripts/twins.py

check: setup ## formatting, lint, types, import arrows
	ruff format --check .
	ruff check .
	mypy
	lint-imports

format: setup ## put the code in order
	ruff format .
	ruff check --fix .

generate: setup ## write the generated files again: schemas, OpenAPI, references
	$(PYTHON) -m dormouse.catalog
	$(PYTHON) scripts/generate.py

bench: setup ## measure: ours against gateways, frameworks and model servers; waking (about 40 minutes)
	$(PYTHON) benchmarks/bench.py
	$(PYTHON) benchmarks/waking.py
	$(PYTHON) benchmarks/serving.py
	$(PYTHON) benchmarks/skeleton.py
	$(PYTHON) benchmarks/sign_in.py

bench-smoke: setup ## a check that the benchmarks work, in three minutes; their numbers mean nothing
	$(PYTHON) benchmarks/bench.py --smoke
	$(PYTHON) benchmarks/waking.py --smoke
	$(PYTHON) benchmarks/serving.py --smoke

starter-models: setup ## train the starter chat models again (about 20 minutes; not part of `run`)
	$(PYTHON) -m dormouse_predictors.starter train --out services/chat/dormouse-chat
	$(PYTHON) -m dormouse_predictors.starter train --recipe mini --out services/chat/dormouse-chat-mini

clean: ## remove what setup made here (the wheel cache and $$DORMOUSE_HOME stay)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

help: ## show this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run setup test test-postgres test-deep test-twins check format generate bench bench-smoke starter-models clean help
