# Pellucid's own commands. `make demo` and `make test` work from a fresh clone with Python 3.10 to 3.13, git and make.
#
#   make demo                     explain a real answer with the embedded model
#   make test                     the tests
#   make guides                   run the guides' cells again, and write what they print
#   make demo PYTHON=python3.12   another Python
#   make demo TORCH="torch --index-url ..."   another build of torch than the CPU's

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BENCH_VENV ?= .bench
BIN := $(VENV)/bin
OUT ?= out

.PHONY: demo test lint bench guides clean

# torch first and by its exact version: an open range pulls gigabytes of CUDA on Linux.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(TORCH)
	touch $@

$(VENV)/.package: pyproject.toml $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.tests: $(VENV)/.package
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	touch $@

demo: $(VENV)/.package
	mkdir -p $(OUT)
	$(BIN)/pellucid explain --per-token --timings --max-new-tokens 40 \
		--html $(OUT)/demo.html --png $(OUT)/demo.png \
		"Write one sentence that recommends a holiday in Norway to a family with small children who like boats."

test: $(VENV)/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

guides: $(VENV)/.tests
	$(BIN)/python docs/guides/run.py

lint: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The peers live in an environment of their own.
$(BENCH_VENV)/.peers: pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet $(TORCH)
	$(BENCH_VENV)/bin/python -m pip install --quiet --editable . scipy inseq==0.7.1 captum==0.9.0 \
		context-cite==0.0.4 gim-explain==0.1.4 flashtrace==0.1.1
	touch $@

bench: $(BENCH_VENV)/.peers
	$(BENCH_VENV)/bin/python benchmarks/speed.py --out bench.json

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(OUT) bench.json
