# Everything that a person or CI runs. "make help" lists the targets.

BUILD := build
PREFIX ?= /usr/local
GO ?= go
TOOL := $(GO) tool -modfile=tools/go.mod
SOFT_ROCE := $(BUILD)/soft-roce
# A message of 1 GiB and all copies of it that its test makes want the memory. Without --short,
# tests/interop runs all that test-interop does.
LONG := --mem 7168 --timeout 120m --test-timeout 60m

# Scripts and recipes run in the shell that Debian has; one line each, so that errors count.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The steps share two cores and one build cache: in order is as fast, and its output can be read.
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: packages $(SOFT_ROCE) ## install missing Debian packages (root, or sudo), fetch the guests' kernel
	@$(SOFT_ROCE) fetch --if-missing >/dev/null

.PHONY: packages
packages:
	@scripts/setup.sh

.PHONY: demo
demo: setup $(BUILD)/rping-demi ## run the main job, rping-demi over Soft-RoCE
	@$(SOFT_ROCE) run --timeout 2m -- scripts/demo.sh

.PHONY: build
build: packages $(SOFT_ROCE) $(BUILD)/rping-demi lib ## build everything into build/
	@scripts/build-examples.sh
	@scripts/build-conformance.sh
	@$(GO) build -trimpath -o $(BUILD)/hello-go ./examples/go/hello
	@$(GO) build -trimpath -o $(BUILD)/hello-conn ./examples/go/hello-conn

.PHONY: $(BUILD)/rping-demi
$(BUILD)/rping-demi:
	@$(GO) build -trimpath -o $(BUILD)/rping-demi ./cmd/rping-demi

.PHONY: lib
lib: packages ## build the C library, libdemikernel.so.1
	@PREFIX=$(PREFIX) scripts/build-lib.sh

# The init of the guests lies beside the program, which looks for it there. Both are static.
.PHONY: $(SOFT_ROCE)
$(SOFT_ROCE):
	@CGO_ENABLED=0 $(GO) build -trimpath -o $(BUILD)/soft-roce ./soft-roce
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(BUILD)/soft-roce-guest-init ./soft-roce/guest-init

.PHONY: install
install: lib $(BUILD)/rping-demi ## install library, headers and rping-demi under PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/demi $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(BUILD)/libdemikernel.so.1 $(DESTDIR)$(PREFIX)/lib/
	ln -sf libdemikernel.so.1 $(DESTDIR)$(PREFIX)/lib/libdemikernel.so
	install -m 0644 $(BUILD)/demikernel.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/
	install -m 0644 include/demi/*.h $(DESTDIR)$(PREFIX)/include/demi/
	install -m 0755 $(BUILD)/rping-demi $(DESTDIR)$(PREFIX)/bin/
	install -D -m 0644 docs/rping-demi.1 $(DESTDIR)$(PREFIX)/share/man/man1/rping-demi.1
	install -D -m 0644 cmd/rping-demi/completion/rping-demi.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/rping-demi
	install -D -m 0644 cmd/rping-demi/completion/_rping-demi \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_rping-demi

.PHONY: test
test: lint test-unit setup build ## run all tests in their short form, Soft-RoCE included
	$(GO) test -tags qemu -timeout 8m -run '^TestGuest' ./soft-roce ./soft-roce/testbed ./cmd/rping-demi/internal/doctor
	$(GO) test -tags qemu -short -timeout 8m -run '^TestGuest' ./tests/faults
	@scripts/at-once.sh "$(SOFT_ROCE) test --short --skip-packages-without ./..." \
		"$(SOFT_ROCE) test --hosts 2 --short --skip-packages-without ./..."

.PHONY: test-unit
# Many packages mostly wait: more of them at once than there are processors. The model has one thread.
test-unit: packages ## run the tests that need no RDMA device, with the race detector
	$(GO) test -race -short -p 5 -timeout 10m $$($(GO) list ./... | grep -v '/datapath/model$$')
	$(GO) test -timeout 10m ./datapath/model

.PHONY: test-all
test-all: test test-conformance test-faults ## run the long forms, too, on the newest kernel and on 6.1
	$(GO) test -race -timeout 30m ./...
	CATMINT_LONG=1 $(GO) test -timeout 60m ./datapath/model
	scripts/fuzz.sh 20
	$(SOFT_ROCE) test $(LONG) --skip-packages-without ./...
	$(SOFT_ROCE) test $(LONG) --kernel 6.1 --skip-packages-without ./...
	$(SOFT_ROCE) test --hosts 2 --timeout 60m --test-timeout 30m --skip-packages-without ./...

.PHONY: test-conformance
test-conformance: setup build ## run the C conformance suite on the sim and on Soft-RoCE; a line a case
	@scripts/test-conformance.sh

.PHONY: fuzz
fuzz: packages ## fuzz the C (libFuzzer, which needs clang) and the Go; FUZZ_SECONDS (300) a target
	@scripts/fuzz.sh $(or $(FUZZ_SECONDS),300)

.PHONY: test-interop
test-interop: build ## run rping-demi against stock rping and itself on Soft-RoCE; a table of results
	@$(GO) build -trimpath -o $(BUILD)/interop ./tests/interop
	@$(SOFT_ROCE) run --mem 7168 --timeout 60m $(SOFT_ROCE_FLAGS) -- $(BUILD)/interop $(INTEROP_FLAGS)

.PHONY: faults-agent
faults-agent: packages
	@$(GO) build -trimpath -o $(BUILD)/faults-agent ./tests/faults/agent

.PHONY: test-faults
test-faults: setup faults-agent ## do harm to one of two Soft-RoCE hosts; a table of what became of it
	@CGO_ENABLED=0 $(GO) build -trimpath -o $(BUILD)/faults ./tests/faults
	@$(BUILD)/faults --agent $(BUILD)/faults-agent $(FAULTS_FLAGS)

.PHONY: lint
lint: packages ## static checks of Go and C
	$(GO) vet -tags rdma,rdma2,qemu ./...
	$(TOOL) golangci-lint run ./...
	scripts/check-c.sh

.PHONY: bench
bench: build ## run the benchmarks, those that need RDMA on Soft-RoCE
	$(GO) test -run '^$$' -bench . ./...
	$(SOFT_ROCE) test --bench . --timeout 30m --test-timeout 20m --skip-packages-without ./...

.PHONY: bench-instr
bench-instr: packages ## count the instructions of a message under callgrind
	@scripts/bench-instr.sh

.PHONY: clean
clean: ## remove what was built here; the cache of kernels stays
	rm -rf $(BUILD)
