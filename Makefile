# Everything a developer or CI does; `make help` lists it.

STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
REVIVE      = go run github.com/mgechev/revive@v1.15.0
ACTIONLINT  = go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

# What needs other modules than the library is a module of its own.
EXAMPLES = $(patsubst %/go.mod,%,$(wildcard examples/*/go.mod))
MODULES  = $(EXAMPLES) session/otelsession internal/openapi internal/e2e internal/sqltest internal/interop internal/interop/mcpgo

# go.work is for building by hand; here each module has the versions of its own go.mod.
export GOWORK = off

.DEFAULT_GOAL := help
.PHONY: help test library newest check fmt tidy vuln chaos keepalive conformance interop types openapi sql e2e screenshots bench fuzz quickstart readme clean

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

test: ## all tests, with the race detector; asks to install what they need
	@scripts/need cc redis-server postgres chromium
	@$(MAKE) --no-print-directory library openapi sql e2e

library: ## the tests of the library and the examples; TEST=flags
	@scripts/need cc redis-server postgres
	@scripts/frontend
	go test -race -shuffle=on -timeout 30m $(TEST) ./...
	@set -e; for dir in $(EXAMPLES) session/otelsession; do (set -x; go test -C $$dir -race -shuffle=on $(TEST) ./...); done

newest: ## vet and test with the newest dependencies, in a copy of the tree
	@scripts/need redis-server postgres chromium
	@scripts/frontend
	@scripts/newest . $(MODULES)

check: ## gofmt, vet, staticcheck, revive, module tidiness, import rules, docs, scripts, workflows
	@scripts/need shellcheck
	@test -z "$$(gofmt -l .)" || { echo "gofmt needed:"; gofmt -l .; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...
	$(REVIVE) -config revive.toml -set_exit_status ./...
	go mod tidy -diff
	go mod verify
	go test ./internal/importrules ./internal/docscheck ./internal/scriptcheck
	shellcheck scripts/* .ci/run internal/scriptcheck/testdata/*
	$(ACTIONLINT) .github/workflows/*.yml
	@set -e; for dir in $(MODULES); do (set -x; go vet -C $$dir ./...; go mod tidy -C $$dir -diff; cd $$dir; $(STATICCHECK) ./...); done
	go mod tidy -C internal/interop/hydra -diff # pins a program, and has no packages

fmt: ## format the code
	gofmt -w .

tidy: ## go mod tidy, in every module
	@set -e; for dir in . $(MODULES) internal/interop/hydra; do (set -x; go mod tidy -C $$dir); done

vuln: ## known vulnerabilities in what the library uses
	@scripts/vulncheck

chaos: ## the long form of the chaos suite (the short form is in `test`); CHAOS=flags
	@scripts/need cc redis-server
	MCPOAUTH_CHAOS=long go test -race -count=1 -timeout 30m -v $(CHAOS) ./internal/chaos/...

keepalive: ## a week of 100,000 sessions that are not in use, on ten replicas and Redis; SESSIONS=n
	@scripts/need redis-server
	MCPOAUTH_KEEPALIVE=$(or $(SESSIONS),100000) go test -count=1 -timeout 60m -v -run TestCostOfKeepingAlive ./session

conformance: ## the official MCP conformance suite, through two replicas
	@scripts/conformance

interop: ## the library against authorization and MCP servers of other projects
	@scripts/interop

types: ## types.ts and mcp-oauth.js: type-checked, and run against the Go server
	@scripts/frontend
	CI=true go test -count=1 ./internal/frontend

openapi: ## openapi.json: valid, and true of every answer in the tests of httpapi
	go test -C internal/openapi -count=1 ./...

sql: ## sqlstore on PostgreSQL and SQLite, with the race detector
	@scripts/need cc postgres redis-server
	go test -C internal/sqltest -race -shuffle=on -timeout 20m ./...

e2e: ## examples/web in a real browser; pictures go to results/e2e
	@scripts/need chromium redis-server
	go test -C internal/e2e -count=1 -timeout 20m ./...

screenshots: ## the pictures in docs/images
	@scripts/need chromium
	MCPOAUTH_SCREENSHOTS=$(CURDIR)/docs/images go test -C internal/e2e -count=1 -timeout 20m -run TestScreenshots ./...

bench: ## benchmarks, side by side; BENCHTIME=2s COUNT=1
	go test -run '^$$' -bench . -benchmem -benchtime $(or $(BENCHTIME),2s) -count $(or $(COUNT),1) ./internal/bench/... ./store/... ./session/...
	go test -C internal/sqltest -run '^$$' -bench . -benchmem -benchtime $(or $(BENCHTIME),2s) -count $(or $(COUNT),1) ./...

fuzz: ## every fuzz target for FUZZTIME=10s each; crashes become seeds in testdata
	@scripts/fuzz

quickstart: ## run the main job once, narrated
	go run ./examples/quickstart

readme: ## run the commands of the README, as a reader would
	@scripts/readme

clean: ## remove what the targets made
	rm -rf .tools results internal/interop/node_modules
