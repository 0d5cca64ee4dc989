# For developers.  It needs Python 3.11 or newer, make and a C compiler; all else it gets itself, into .venv or,
# where it may (root, or sudo without a password), with apt.
PYTHON  ?=
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
# What is run here calls make itself, and must not take this make for its parent.
RUN      = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES -u MAKE_TERMOUT -u MAKE_TERMERR .venv/bin/python
READY    = .venv/ready
TRIED    = .venv/tools-tried
SOURCES  = buildfarm tests benchmarks tools

.NOTPARALLEL:
.SUFFIXES:

help:
	@echo 'make demo       build a climate model on two nodes here, kill it half-way, resume it   (two minutes)'
	@echo 'make check      formatting, lint, types, and all tests                                 (ten minutes)'
	@echo 'make test       the tests alone; ARGS="-k resume" chooses'
	@echo 'make faults     stage every fault beside plain make, and write docs/reliability.md            (half an hour)'
	@echo 'make fidelity   2000 random projects, make beside buildfarm; ARGS="--seed 5000" chooses others (an hour)'
	@echo 'make bench      the benchmarks, buildfarm beside its peers                             (a quarter of an hour)'
	@echo 'make format     let ruff format the sources'
	@echo 'make tools      install what the tests call and is missing'
	@echo 'make setup      .venv alone; all of the above call it'
	@echo 'make clean      remove .venv and what the tools leave behind'

setup: $(READY)

$(READY): requirements-dev.lock pyproject.toml tools/make-venv tools/find-python
	@python=$$(PYTHON='$(PYTHON)' tools/find-python) && tools/system-tools --demo "$$python" && tools/make-venv "$$python"
	@touch $@

# Installing is tried once; from then on what is missing is only told.
$(TRIED): tools/system-tools | $(READY)
	@tools/system-tools .venv/bin/python
	@touch $@

tools:
	@python=$$(PYTHON='$(PYTHON)' tools/find-python) && tools/system-tools "$$python"

demo: $(READY)
	@$(RUN) -m tools.demo

check: lint types test

lint: $(READY)
	$(RUN) -m ruff check $(SOURCES)
	$(RUN) -m ruff format --check $(SOURCES)

types: $(READY)
	$(RUN) -m mypy

test: $(READY) $(TRIED)
	@tools/system-tools --check .venv/bin/python
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

faults: $(READY) $(TRIED)
	@tools/system-tools --check .venv/bin/python
	$(RUN) -m tests.faults $(ARGS)

fidelity: $(READY) $(TRIED)
	@tools/system-tools --check .venv/bin/python
	$(RUN) -m tests.fidelity $(ARGS)

bench: $(READY)
	$(RUN) -m benchmarks $(or $(ARGS),all --write)

format: $(READY)
	$(RUN) -m ruff format $(SOURCES)
	$(RUN) -m ruff check --fix $(SOURCES)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find buildfarm tests benchmarks tools -name __pycache__ -type d -exec rm -rf {} +

.PHONY: help setup tools demo check lint types test faults fidelity bench format clean
