# `make help` lists what there is. Settings: PYTHON=python3.12 API_PORT=8081 AWS_PORT=4567 PROVIDERS_PORT=8100
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
ROLE ?= owner
API_PORT ?= 8080
AWS_PORT ?= 4566
PROVIDERS_PORT ?= 8099
export PYTHONPATH := layers/common:.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export SAM_CLI_TELEMETRY := 0
export PYTHONTZPATH :=
export AWS_DEFAULT_REGION ?= us-east-1
# A test run starts hundreds of interpreters: each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
RUN := .venv/bin/python -m
BENCHES := allocation jobs queues cold console leads finding
DEMOS := main leads money

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  %-17s %s\n", $$1, $$2 }'

# ---- setup

.PHONY: setup
setup: .venv/.complete .venv-aws/.complete .venv-sam/.complete ## install tools, the embedded AWS and SAM CLI, each from its lock

# uv does not read pip's configuration: an index that pip was given is handed on.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "AdBot Queue needs Python 3.11 or newer, this is " \
		+ sys.version.split()[0] + ". Choose another: make setup PYTHON=python3.12")'
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	test -x .venv/bin/uv || .venv/bin/python -m pip install --quiet --no-deps --require-hashes \
		-r <(awk '/^[^ #]/ { mine = /^uv==/ } mine' requirements-dev.lock)
	index="$${PIP_INDEX_URL:-$$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)}"; \
		if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; fi; \
		.venv/bin/uv pip sync --quiet --require-hashes --compile-bytecode --python $(1)/bin/python $(2)
	touch $@
endef

.venv/.complete: requirements-dev.lock
	$(call install,.venv,requirements-dev.lock)

.venv-aws/.complete: requirements-aws.lock .venv/.complete
	$(call install,.venv-aws,requirements-aws.lock)

.venv-sam/.complete: requirements-sam.lock .venv/.complete
	$(call install,.venv-sam,requirements-sam.lock)

LOCK = .venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --custom-compile-command 'make lock'
.PHONY: lock
lock: .venv/.complete ## pin again what the requirements-*.in ask for (UPGRADE=--upgrade for newer releases)
	$(LOCK) $(UPGRADE) requirements-dev.in -o requirements-dev.lock
	$(LOCK) -c requirements-dev.lock requirements-layer.in -o layers/common/requirements.txt
	$(LOCK) $(UPGRADE) requirements-aws.in -o requirements-aws.lock
	$(LOCK) $(UPGRADE) requirements-sam.in -o requirements-sam.lock

.PHONY: vendor
vendor: .venv/.complete ## fetch the console's script, fonts and icons from npm again, by integrity, and cut them to size
	$(RUN) local.vendor

.PHONY: sbom
sbom: .venv/.complete ## write sbom.json: the layer's packages as a CycloneDX bill of materials
	cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o sbom.json layers/common/requirements.txt

# ---- checks and tests

.PHONY: check
check: .venv/.complete .venv-sam/.complete ## formatting, lint, types, import rules, template, API document, words
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	cfn-lint infra/template.yaml
	.venv-sam/bin/sam validate --lint
	$(RUN) local.lint
	$(RUN) local.openapi --check
	codespell
	$(RUN) local.wording

.PHONY: docs
docs: .venv/.complete ## functions/system/openapi.json and docs/reference/api.md, from the routes that the code declares
	$(RUN) local.openapi

.PHONY: format
format: .venv/.complete ## format, and fix what ruff can fix
	ruff format .
	ruff check --fix .

.PHONY: validate
validate: .venv/.complete .venv-sam/.complete ## the template alone: as it is written, and what SAM makes of it
	cfn-lint infra/template.yaml
	.venv-sam/bin/sam validate --lint
	$(RUN) local.lint

.PHONY: test
test: setup ## every test but the long ones; end to end on a stack of its own
	$(RUN) pytest -n 3 --dist loadgroup -m "not long and not peers and not browser"

.PHONY: test-long
test-long: setup ## what takes minutes: 1,000 jobs end to end, Schemathesis, job crashes after every AWS call, 1,000 examples of a property
	$(RUN) pytest -n 2 --dist loadgroup --hypothesis-profile long -m "long or (hypothesis and not peers and not browser)"

.PHONY: test-unit
test-unit: setup ## without a deployed stack
	$(RUN) pytest -n 2 -m "not e2e and not long and not peers and not browser"

.PHONY: test-one
test-one: .venv/.complete ## one file, folder or test: make test-one T=tests/unit/jobs/test_retry.py
	@test -n "$(T)" || { echo "T names a file, a folder or a test: make test-one T=tests/unit/jobs/test_retry.py" >&2; exit 2; }
	$(RUN) pytest "$(T)"

.PHONY: test-e2e
test-e2e: setup ## over HTTP against the deployed template (ADBOT_STACK=.local/stack.json: against the running one)
	$(RUN) pytest -m e2e tests/e2e

.PHONY: test-browser
test-browser: setup ## the console in Chromium against a stack of its own, two tests at once; T=tests/browser/test_skeleton.py for a part
	command -v chromium >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends chromium; }
	$(RUN) tests.browser $(T)

.PHONY: screenshots
screenshots: .venv/.complete ## pictures of every page of the console into docs/img; T=queues-show for one
	$(RUN) tests.screenshots $(T)

.PHONY: test-providers
test-providers: .venv/.complete ## every processor, against published schemas, servers that others wrote, and every failure
	$(RUN) pytest -n 2 tests/peers tests/unit/providers tests/unit/integrations tests/unit/messaging/jobs tests/unit/payments/jobs tests/unit/tickets

.PHONY: test-concurrency
test-concurrency: .venv/.complete ## hundreds of random runs on roto, and on Amazon's DynamoDB Local where Java is; killed midway, audited
	$(RUN) tests.concurrency

# $(call pick,bench,NAMES,FOLDER): run the module FOLDER.$(T), or say which there are.
built = $(strip $(foreach name,$(2),$(if $(wildcard $(3)/$(name).py),$(name))))
planned = $(filter-out $(built),$(2))
unknown = $(error $(1) T=$(T): T is one of: $(built)$(if $(planned),. Not built yet: $(planned)))
pick = $(if $(filter $(T),$(built)),,$(unknown))@exec $(RUN) $(subst /,.,$(3)).$(T)

.PHONY: bench
bench: setup ## measure: make bench T=allocation, or jobs, queues, cold, console, leads
	$(call pick,bench,$(BENCHES),bench)

bench-%:
	@$(MAKE) --no-print-directory bench T=$*

.PHONY: cost
cost: .venv/.complete ## what a million orders, mails and leads, and an idle month cost on AWS, from counted calls
	$(RUN) bench.cost

.PHONY: trips
trips: .venv/.complete ## lines of the files that four data pass through: a payment, a job, a failed job, a schedule
	@exec $(RUN) bench.trips

# ---- the local stack

.PHONY: run
run: setup ## the whole system on this machine until Ctrl-C
	@ADBOT_API_PORT=$(API_PORT) ADBOT_AWS_PORT=$(AWS_PORT) ADBOT_PROVIDERS_PORT=$(PROVIDERS_PORT) exec $(RUN) local

.PHONY: token
token: ## a bearer token of the running stack: make token ROLE=viewer, or CLIENT=shop, engine, metrics for a machine's
	@exec $(RUN) local.token "$(ROLE)" "$(CLIENT)"

.PHONY: demo
demo: T ?= main
demo: .venv/.complete ## play against the running stack: make demo, or make demo T=main
	$(call pick,demo,$(DEMOS),local/demo)

demo-%:
	@$(MAKE) --no-print-directory demo T=$*

.PHONY: clean
clean: ## forget the local stack's state, and what was built
	rm -rf .local .aws-sam sbom.json .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find functions layers local tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
