# Everything a contributor runs. Each target says what it does and how long it took.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# Laws are tried with the same cases every time; `PROPTEST_CASES=10000 cargo test -p tako-engine --lib laws` goes looking.
export PROPTEST_RNG_SEED ?= 20261124
# up and down, bench: for people.
.PHONY: test up down ui tools lint unit browser ui-test bench

step = @printf '\n== %s\n' "$(1)"; start=$$SECONDS; $(2); printf '== %s: %s s\n' "$(1)" "$$((SECONDS - start))"

test: tools ui lint ui-test unit ## all checks, from a fresh clone

tools:
	$(call step,programs of the dev cluster,deploy/tools/install.sh)

ui: web/ui/dist/index.html

web/ui/dist/index.html: web/ui/package-lock.json web/ui/index.html web/ui/vite.config.ts web/ui/tsconfig.json $(wildcard web/ui/src/* web/ui/public/*)
	$(call step,the page,cd web/ui && npm ci --no-audit --no-fund && npm run build)

lint: ui
	$(call step,format and lints,cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings && cd web/ui && npm run lint)

ui-test: ui
	$(call step,tests of the page,cd web/ui && npm test)

browser:
	$(call step,programs from Debian,deploy/tools/install-debian.sh)

unit: ui tools browser
	$(call step,tests on the real parts,cargo build --workspace && cargo test --workspace)

bench: tools ui ## push-to-applied latency, CPU and memory, as a table; ARGS="100 1000" chooses the sizes
	$(call step,release build,cargo build --release --workspace)
	@target/release/bench $(ARGS)

up: ## a newcomer's way to the live page; see deploy/quickstart/up
	@deploy/quickstart/up

down: ## takes away what `make up` made
	@deploy/quickstart/down
