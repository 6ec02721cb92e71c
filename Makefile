# What a developer or operator types. `make run` and `make test` need Python 3.11+ and nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/python -m pip --disable-pip-version-check install --quiet
# Checks besides formatting, lint, types and tests: make targets that fail when something is stale.
CHECKS ?= docs-current
LOCK    = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.NOTPARALLEL:
.PHONY: run test check format lint types docs docs-current vignettes fix lock images bench

run: $(VENV)/.runtime
	@exec $(BIN)/python -m cds_service.server

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: format lint types $(CHECKS) test

format: $(VENV)/.dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/b12-cds protocol show --markdown > docs/protocol.md
	$(BIN)/python -m tests.conformance.report > docs/conformance.md
	$(BIN)/python -m tests.faults.report > docs/faults.md

docs-current: $(VENV)/.dev
	$(BIN)/b12-cds protocol show --markdown | diff -u docs/protocol.md - \
		|| { echo "docs/protocol.md is out of date: run make docs"; exit 1; }

vignettes: $(VENV)/.dev
	$(BIN)/python -m tests.vignettes.generate

images: $(VENV)/.dev
	$(BIN)/python -m tests.browser.screenshots

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Against a service that does nothing, under the same server. BENCH_QUICK=1: some three minutes.
bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks.bench

# Newer versions come in with: make lock LOCK_ARGS=--upgrade
lock: $(VENV)/.dev
	$(LOCK) $(LOCK_ARGS) --group build -o requirements.lock
	$(LOCK) $(LOCK_ARGS) --group build --extra postgres --extra tracing -c requirements.lock \
		-o requirements-image.lock
	$(LOCK) $(LOCK_ARGS) --group build --group dev -c requirements-image.lock -o requirements-dev.lock

# --- the virtual environment -------------------------------------------------------------------
# Output goes to standard error: `make run` prints one line of its own on standard output.

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is not Python 3.11 or later: name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >&2
	@touch $@

$(VENV)/.runtime: $(VENV)/pyvenv.cfg requirements.lock pyproject.toml
	@$(PIP) --require-hashes -r requirements.lock >&2
	@$(PIP) --no-deps --no-build-isolation --editable . >&2
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@$(PIP) --require-hashes -r requirements-dev.lock >&2
	@touch $@
