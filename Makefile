# Thin: every target is one or two commands; what they do lives in e2e/rig. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

RIG := e2e/rig
# kubectl, helm and cargo-deny as pinned, before whatever is installed.
WITH_RIG = source $(RIG)/env &&

##@ Start here

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST)); echo

.PHONY: demo
demo: ## See it work: real control plane, simulated nodes, a small shop (KEEP=1 leaves it running)
	@e2e/demo

.PHONY: test
test: ## Everything that CI runs: format, clippy, deny, all tests, chart, report, e2e (GRACEKEEPER_SKIP_E2E=1 leaves that out)
	@$(RIG)/setup --lint
	@$(RIG)/check

##@ Develop

.PHONY: setup
setup: ## Check the toolchains; get what is missing (the other targets do it by themselves)
	@$(RIG)/setup --lint
	@echo "ready; next: make demo, or make test"

.PHONY: build
build: ## Build target/debug/gracekeeper
	@$(RIG)/setup --no-rig
	cargo build --locked

.PHONY: image
image: ## Container images of the operator and the sample shop, without a container engine (VERIFY=1 builds twice)
	@$(RIG)/setup --node
	@e2e/image $(if $(VERIFY),--verify)

.PHONY: run
run: ## Run the operator against the current KUBECONFIG
	@$(RIG)/setup --no-rig
	cargo run --locked -- run --log-format text

.PHONY: generate
generate: ## Write the CRDs, rules, dashboard and the generated parts of the docs anew
	@$(RIG)/setup --no-rig
	UPDATE=1 cargo test --locked --all-features --test repository
	UPDATE=1 cargo test --locked --all-features --lib commands::report

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: clean
clean: ## Remove target/ (binaries that all clones share stay in the cache folder)
	cargo clean

##@ Check

.PHONY: test-unit
test-unit: ## Unit and property tests; no cluster
	@$(RIG)/setup --no-rig
	cargo test --locked --all-features --lib --bins

.PHONY: test-apiserver
test-apiserver: ## Tests on a real API server (KUBERNETES_VERSION=1.34: that one; USE_EXISTING_CLUSTER=true: the one in KUBECONFIG)
	@$(RIG)/setup
	@[[ "$${USE_EXISTING_CLUSTER:-}" != true ]] || $(RIG)/clear-cluster
	@$(WITH_RIG) code=0; cargo test --locked --all-features --test apiserver || code=$$?; \
	  [[ "$${USE_EXISTING_CLUSTER:-}" != true ]] || $(RIG)/clear-cluster || code=$$?; exit "$$code"

.PHONY: test-matrix
test-matrix: ## The same on each Kubernetes version of e2e/rig/versions.env, oldest first
	@$(RIG)/setup
	@$(RIG)/check matrix

.PHONY: lint
lint: ## Format check and clippy
	@$(RIG)/check format clippy

.PHONY: deny
deny: ## Dependencies: bans, licenses, sources
	@$(RIG)/setup --lint
	@$(RIG)/check deny

.PHONY: advisories
advisories: ## Dependencies: known vulnerabilities (fetches the RustSec database)
	@$(RIG)/setup --lint
	@$(WITH_RIG) cargo deny --locked check advisories

.PHONY: chart
chart: ## Helm lint, and every rendered object against its schema
	@$(RIG)/setup --lint
	@$(RIG)/check chart

.PHONY: report-check
report-check: ## The report's pictures in a headless browser: light, dark, narrow, on paper (KEEP=DIR keeps screenshots)
	@e2e/report-check || [[ $$? == 77 ]]

.PHONY: explore
explore: ## The rollout gate's states, of more pods and with more actors than each test run has time for
	@$(RIG)/setup --no-rig
	GRACEKEEPER_EXPLORE=1 cargo test --locked --all-features --lib explore -- --nocapture --test-threads 1

.PHONY: e2e
e2e: ## On a real node with real containers, root on Linux: image, Helm, probes, requests, outages (ONLY="WORD..." chooses)
	@e2e/suite $(ONLY) || [[ $$? == 77 ]]

.PHONY: bench
bench: ## Convergence, reaction, false alarms, requests, memory and instructions; fails on a false alarm
	@$(RIG)/setup
	@$(WITH_RIG) cargo bench --locked

##@ A cluster to develop against

.PHONY: cluster
cluster: ## Start a control plane with simulated nodes for this checkout
	@$(RIG)/setup
	@$(RIG)/cluster up

.PHONY: cluster-status
cluster-status: ## What runs, and how to reach it
	@$(RIG)/cluster status || true

.PHONY: cluster-down
cluster-down: ## End it and remove everything of it
	@$(RIG)/cluster down
