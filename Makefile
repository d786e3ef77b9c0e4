# `make` alone shows what there is to do.

STACK ?= local
PORT_OFFSET ?=
PROFILE ?=
PYTHON := .venv/bin/python
READY := .venv/.helix-setup

# A stack of your own: `make up STACK=mine PORT_OFFSET=1000`.
stack = $(PYTHON) -m infra.stack $(1) --stack $(STACK)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Start here

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Fetch and build everything a new machine needs (again: a second)
	@python3 infra/toolchain/bootstrap.py

# What a target's own programs need, before it starts: infra/toolchain/programs.py names them.
setup-%:
	@python3 infra/toolchain/bootstrap.py --for $*

# The Python packages alone: enough for whatever starts no server.
$(READY): requirements.lock
	@python3 infra/toolchain/bootstrap.py --python-only

##@ A running platform

.PHONY: up
up: setup ## Bring the whole platform up, or repair it: make up PROFILE=core for conversations alone
	@$(call stack,up) $(if $(PORT_OFFSET),--offset $(PORT_OFFSET)) $(if $(PROFILE),--profile $(PROFILE))

.PHONY: down
down: $(READY) ## Stop everything, keep the data
	@$(call stack,down)

.PHONY: purge
purge: $(READY) ## Stop everything and delete the data
	@$(call stack,purge)

.PHONY: env
env: $(READY) ## Print the address and a key: eval "$(make -s env)"
	@$(call stack,env)

.PHONY: preview
preview: setup ## Show what `make up` would change
	@$(call stack,pulumi) -- preview --diff

.PHONY: refresh
refresh: setup ## Let Pulumi look at what really runs
	@$(call stack,pulumi) -- refresh --yes

.PHONY: status
status: $(READY) ## Compare the catalogue with what really runs
	@$(call stack,exec) -- $(PYTHON) -m validation.status

.PHONY: drift
drift: $(READY) ## Say what of it is not as declared, and what to do: make drift JSON=1
	@$(PYTHON) -m infra.drift --stack $(STACK) $(if $(JSON),--json)

.PHONY: load
load: $(READY) ## Load it and judge every route: make load USERS=50 MINUTES=3 RECORD=load.json
	@$(call stack,exec) -- $(PYTHON) -m loadtest $(if $(USERS),--users $(USERS)) \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE)) $(if $(RECORD),--record $(RECORD)) \
	  $(if $(REMOTE),--allow-remote)

.PHONY: bench
bench: setup-bench ## Measure ratios beside the running platform: make bench ONLY=K1,W2 SECONDS=60 RECORD=1
	@$(call stack,exec) -- $(PYTHON) -m validation.benchmarks \
	  $(if $(ONLY),--only $(ONLY)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RECORD),--record)

.PHONY: topology
topology: $(READY) ## Print what runs where, how big, on which port
	@$(PYTHON) -m helix.topology

.PHONY: rehearse
rehearse: setup ## Upgrade a stack of that version, with data, to this one: make rehearse FROM=v0.1.0
	@$(PYTHON) -m infra.rehearsal $(FROM)

##@ Three servers on this machine

.PHONY: fleet
fleet: setup-fleet ## Three Docker servers in namespaces of their own, and the whole platform on them
	@$(PYTHON) -m infra.fleet deploy

.PHONY: unfleet
unfleet: $(READY) ## Take the three servers away, with everything on them
	@$(PYTHON) -m infra.fleet withdraw

##@ A Kubernetes control plane on this machine

.PHONY: kube-tools
kube-tools: setup-kube-tools ## Build what its tests run on: API server, controllers, scheduler
	@$(PYTHON) -m infra.kube tools

##@ Ask a store

.PHONY: psql
psql: setup-psql ## PostgreSQL's own shell, or one question: make psql Q="SELECT 1"
	@$(call stack,psql) $(if $(Q),-- "$(Q)")

.PHONY: ch
ch: $(READY) ## Ask ClickHouse: make ch Q="SELECT 1"
	@$(call stack,ch) $(if $(Q),-- "$(Q)")

.PHONY: cypher
cypher: $(READY) ## Ask Neo4j: make cypher Q="RETURN 1"
	@$(call stack,cypher) $(if $(Q),-- "$(Q)")

##@ Before a commit

.PHONY: fix
fix: $(READY) ## Format, and mend what can be mended
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

.PHONY: check
check: $(READY) ## Formatting, lint, types, import directions, the catalogue, generated pages
	@.venv/bin/ruff format --check
	@.venv/bin/ruff check
	@.venv/bin/pyright
	@.venv/bin/lint-imports
	@$(PYTHON) -m helix.topology --check
	@$(PYTHON) docs/generate.py --check

.PHONY: unit
unit: setup-unit ## Tests that open no socket
	@.venv/bin/pytest -n 2 --minutes-max 5 tests/unit tests/property tests/contract

# Each part brings up what it needs and takes it away; a part that outgrows its minutes fails.
part = .venv/bin/pytest -m integration tests/integration/$(1) --minutes-max $(2)

.PHONY: test-alone
test-alone: setup-test-alone ## Tests of one server or tool at a time
	@$(call part,alone,10) -n 2 --dist loadfile

.PHONY: test-stack
test-stack: setup-test-stack ## Tests of the platform on this machine
	@$(call part,stack,22)

.PHONY: test-fleet
test-fleet: setup-test-fleet ## Tests of the platform on three Docker servers
	@$(call part,fleet,26)

.PHONY: test-cluster
test-cluster: setup-test-cluster ## Tests of the platform on Kubernetes
	@$(call part,cluster,10)

.PHONY: integration
integration: test-alone test-stack test-fleet test-cluster ## All tests on real servers (minutes)

.PHONY: test
test: setup-test check unit integration ## Everything that must pass

.PHONY: fresh
fresh: setup-fresh ## Try `make up` and `make test` on a new machine: make fresh SHORT=1 CACHE=~/.cache/helix
	@$(PYTHON) -m infra.fresh $(if $(SHORT),--short) $(if $(CACHE),--cache $(CACHE))

.PHONY: docs
docs: $(READY) ## Generate the reference pages
	@$(PYTHON) docs/generate.py

.PHONY: lock
lock: $(READY) ## Renew requirements.lock from pyproject.toml
	@.venv/bin/uv pip compile pyproject.toml --group dev --group spark --group load --group bench --quiet \
	  --generate-hashes --universal --python-version 3.11 --no-emit-index-url -o requirements.lock
