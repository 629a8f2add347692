# Every target does the set-up it needs: under .axon/ and target/, nothing of the system.

# What `make run` asks, and about which directory.
ASK ?= Review this repository: which functions are risky or hard to maintain, and where could it panic or ignore an error?
WORKSPACE ?= .
WORKERS ?= 4
# When the server of `make bench` writes to the disk: default or always.
SYNC ?= default
# The recipes read them from the environment, as they were given: a question may hold quotes and dollars.
override ASK := $(value ASK)
override WORKSPACE := $(value WORKSPACE)
export ASK WORKSPACE WORKERS

BINS := -p axon-cli -p axon-lead -p axon-worker -p axon-synthesizer
DEBUG := $(CURDIR)/target/debug
RELEASE := $(CURDIR)/target/release
NATS = nats=$$(scripts/get-nats.sh)
SHELL := /bin/bash

.PHONY: help run up demo test check bench compose-test clean

help:
	@echo 'make run            a fleet on this machine, one question, its answer (ASK="…" WORKSPACE=dir WORKERS=4)'
	@echo 'make up             the same fleet, until Ctrl-C'
	@echo 'make demo           one query of each complexity, a real question, the figures'
	@echo 'make test           all tests'
	@echo 'make check          formatting, lints, documentation'
	@echo 'make bench          rates and latencies as JSON (SYNC=always: every write on disk first)'
	@echo 'make compose-test   docker-compose.yml, brought up and tried for real'
	@echo 'make clean          removes target/ and .axon/'

run:
	@$(NATS) && cargo build --release --locked $(BINS) \
		&& exec $(RELEASE)/axon up --workers "$$WORKERS" --nats-server "$$nats" --workspace "$$WORKSPACE" --ask "$$ASK"

up:
	@$(NATS) && cargo build --release --locked $(BINS) \
		&& exec $(RELEASE)/axon up --workers "$$WORKERS" --nats-server "$$nats" --workspace "$$WORKSPACE"

demo:
	@$(NATS) && cargo build --release --locked $(BINS) \
		&& exec $(RELEASE)/axon demo --nats-server "$$nats" --workspace "$$WORKSPACE" --ask "$$ASK"

# More threads than cores: these tests wait for servers and processes more than they compute.
test: export RUST_TEST_THREADS ?= 8
test:
	@$(NATS) && python=$$(scripts/get-python.sh) && cargo build --locked $(BINS) \
		&& AXON_TEST_BIN_DIR=$(DEBUG) AXON_NATS_SERVER="$$nats" AXON_TEST_PYTHON="$$python" \
			cargo test --locked --workspace

check:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --workspace

bench:
	@$(NATS) && cargo build --release --locked $(BINS) \
		&& for measure in "tasks --n 20000 --inflight 1000" "query --tasks 10 --sleep-ms 100 --n 30" \
			"query --tasks 10 --sleep-ms 0 --n 1000 --inflight 8" "burst"; do \
			$(RELEASE)/axon bench $$measure --nats-server "$$nats" --sync $(SYNC) || exit; \
		done

compose-test:
	@cargo build --locked $(BINS) && scripts/compose-test.sh

clean:
	rm -rf target .axon
