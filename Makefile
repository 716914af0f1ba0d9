PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*/pyproject.toml)
PLUGIN_DIRS := $(patsubst %/pyproject.toml,%,$(PLUGINS))
SOURCES := pyproject.toml constraints.txt $(PLUGINS)

# Each process of the tests would compile the modules of the tests anew where nothing is kept.
unexport PYTHONDONTWRITEBYTECODE

# Where products of matrices round differently, nothing that is tested may change.
NUMERIC := tests/classifiers tests/protocol tests/select tests/train tests/evaluate tests/compare tests/features
KERNELS := Haswell $(if $(shell grep -m1 -o avx512dq /proc/cpuinfo 2>/dev/null),SkylakeX,Prescott)

EXTRAS := tests/networks tests/study tests/neighbours tests/docs

ifneq ($(shell command -v uv 2>/dev/null),)
MAKE_VENV := uv venv --quiet --python $(PYTHON) $(VENV)
PIP := uv pip install --quiet --compile-bytecode --python $(BIN)/python
else
MAKE_VENV := $(PYTHON) -m venv $(VENV)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

# One more than there are cores: many tests wait for a disk or for another process.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)

# Tests make and remove some hundred thousand small files: in memory, where two gigabytes of it are free for them.
MEMORY := $(shell test "$$(df --output=avail /dev/shm 2>/dev/null | tail -1)" -gt 2000000 2>/dev/null && echo TMPDIR=/dev/shm)

.PHONY: install test test-kernels test-extras test-slow demo docs lint bench bench-full clean

install: $(VENV)/.installed

$(BIN)/python:
	$(MAKE_VENV)

$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	$(PIP) --constraint constraints.txt --editable '.[all,dev]' $(addprefix --editable ./,$(PLUGIN_DIRS))
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m compileall -q histokit $(PLUGIN_DIRS)
	$(MEMORY) $(BIN)/pytest --numprocesses $(WORKERS) --maxprocesses 5 --dist worksteal tests $(addsuffix /tests,$(PLUGIN_DIRS))

# `test` has the kernels of the processor at hand; here are those of AVX2, and of AVX-512 or else of SSE3.
test-kernels: install
	set -e; for kernel in $(KERNELS); do \
	    $(MEMORY) OPENBLAS_CORETYPE=$$kernel $(BIN)/pytest --numprocesses $(WORKERS) --maxprocesses 5 --dist worksteal $(NUMERIC); done

# What optional packages do that `make install` leaves out.
test-extras: $(VENV)/.with-extras
	$(BIN)/pytest --numprocesses $(WORKERS) --maxprocesses 5 --dist worksteal -m 'extras and not slow' $(EXTRAS)

$(VENV)/.with-extras: $(VENV)/.installed
	$(PIP) --constraint constraints.txt --editable '.[openvino,umap,workflows]'
	touch $@

test-slow: install
	$(BIN)/pytest -m slow

demo: install
	$(BIN)/histokit demo

# The site of the documentation, in docs/_build/html; a link that leads nowhere is an error.
docs: $(VENV)/.with-docs
	$(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build/html

$(VENV)/.with-docs: $(VENV)/.installed
	$(PIP) --constraint constraints.txt --editable '.[docs]'
	touch $@

bench: install
	$(BIN)/python benchmarks/run.py

bench-full: install
	$(BIN)/python benchmarks/run.py --full

clean:
	rm -rf $(VENV) build *.egg-info histokit-demo docs/_build docs/checkout
