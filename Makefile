# Two commands on a fresh machine: `make demo` and `make test`.
.DEFAULT_GOAL := help
.PHONY: help demo test up chaos specimens engines points setup lint clean-dev

# `make demo PROFILE=dev` builds faster; SEATRIAL=FILE takes a binary that is there already.
PROFILE ?= release
SEATRIAL ?=

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Set up what is missing, build, and run examples/perf: ends with {"perf": 0.99}
	cargo xtask demo --profile '$(PROFILE)' $(if $(SEATRIAL),--seatrial '$(SEATRIAL)')

test: setup ## All tests, those on a real Engine with a real scanner included
	cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
	cargo nextest run --workspace --locked
	cargo test --workspace --locked --doc --quiet

up: ## The whole service here until Ctrl-C: API, two workers, Redis, RabbitMQ
	cargo xtask up --profile '$(PROFILE)' $(if $(SEATRIAL),--seatrial '$(SEATRIAL)')

MINUTES ?= 0.5
chaos: ## The queue in a storm of killed processes and servers; prints a table
	cargo xtask chaos --minutes '$(MINUTES)' $(if $(SEATRIAL),--seatrial '$(SEATRIAL)')

specimens: ## The attacks at every level that can be had here; writes docs/SPECIMENS.md
	cargo xtask specimens $(if $(SEATRIAL),--seatrial '$(SEATRIAL)')

engines: ## The main job, some attacks and tests on each Engine that can be had here; writes docs/ENGINES.md
	cargo xtask engines $(if $(SEATRIAL),--seatrial '$(SEATRIAL)')

points: setup ## A worker killed at every point of its work, not at a sixth of them as in `make test`; minutes
	SEATRIAL_PART=all cargo nextest run --workspace --locked --no-capture -E 'test(docker_a_worker_may_die)'

setup: ## What tests need: an Engine of our own, images, a fixture database, a configuration
	cargo xtask setup

lint: ## Format, clippy, documentation, house rules, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	RUSTDOCFLAGS='--deny warnings --allow rustdoc::private_intra_doc_links' cargo doc --workspace --no-deps --document-private-items --locked --quiet
	cargo xtask layers
	cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
	cargo deny --locked check --hide-inclusion-graph bans licenses sources

clean-dev: ## Stop our Engine and remove everything that setup made
	cargo xtask clean
