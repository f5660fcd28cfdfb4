# Heimdall. `make run` shows it, `make test` checks all of it.
#
# Everything is built with one profile (release) into one target directory, so that dependencies are compiled once.
# The directory is CARGO_TARGET_DIR; unset, it is ~/.cache/heimdall-target, outside the clone, so that a fresh clone
# finds its dependencies built; where that cannot be written, it is ./target.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

ifeq ($(strip $(CARGO_TARGET_DIR)),)
CACHED_TARGET := $(HOME)/.cache/heimdall-target
CARGO_TARGET_DIR := $(shell mkdir -p "$(CACHED_TARGET)" 2>/dev/null && [ -w "$(CACHED_TARGET)" ] && echo "$(CACHED_TARGET)" || echo "$(CURDIR)/target")
endif
export CARGO_TARGET_DIR

# Arguments of the demo, such as `make run ARGS="--seed 3 --duration 60"`.
ARGS ?=

# Our crates that Cargo.toml never optimises.
UNOPTIMISED := heimdall heimdall-alert heimdall-respond
# Our own crates, as `make quick` builds them. What they depend on is shared with every other build.
OWN := heimdall $(filter-out heimdall-heimdall,$(patsubst crates/%,heimdall-%,$(wildcard crates/*)))
QUICK := $(foreach crate,$(OWN),$(foreach setting,opt-level=$(if $(filter $(crate),$(UNOPTIMISED)),0,1) codegen-units=256 incremental=true,--config profile.release.package.$(crate).$(setting)))

.PHONY: help run test build quick ui deps fmt lint doc config-reference

help: ## Show the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

run: build ## Build Heimdall and run the demo
	"$(CARGO_TARGET_DIR)/release/heimdall" demo $(ARGS)

test: ## Check everything: format, lints, guards, links, all tests
	@scripts/test.sh

build: deps ## Build the binary, with the web app in it where Node.js is there
	@scripts/ui.sh with cargo build --release --locked --workspace --bin heimdall

quick: ## Build the binary for a look: seconds after a change, and slower when it runs
	cargo build $(QUICK) --release --locked --workspace --bin heimdall

ui: ## Build the web app (ui/dist), which the next build of the binary embeds
	@scripts/ui.sh build

deps: ## Check that the machine can build; install the compiler's needs where that is possible
	@scripts/deps.sh build

fmt: ## Format the source
	cargo fmt --all

lint: ## Run clippy as `make test` does
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

doc: ## Build the API documentation of the crates; warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps

config-reference: build ## Write docs/configuration.md
	"$(CARGO_TARGET_DIR)/release/heimdall" config-reference > docs/configuration.md
