# Every target does its own set-up and can be run again; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(shell find native -type f 2>/dev/null) CMakeLists.txt pyproject.toml src/fase/_version.py
CPP := $(shell find native tests/programs -name '*.cpp' -o -name '*.h' 2>/dev/null)

SUITES := tests/python tests/numerics tests/engine tests/core tests/policy tests/dynamic tests/integrations tests/benchmarks tests/programs

.DEFAULT_GOAL := help
.PHONY: help setup test nightly demo dynamic bench gate baseline lint format tidy wheel clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/tools:
	tools/system-packages
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check scikit-build-core cmake ninja
	@touch $@

$(VENV)/native: $(VENV)/tools $(NATIVE)  # builds the libraries and installs the package in place
	$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation -e .
	$(BIN)/python -m compileall -q src/fase  # as pip does for what it copies: compiling costs as much as starting
	@touch $@

$(VENV)/test: $(VENV)/native pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation -e '.[test]'
	@touch $@

$(VENV)/lint: $(VENV)/native pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation -e '.[test,lint]'
	@touch $@

$(VENV)/demo: $(VENV)/native pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation -e '.[demo]'
	@touch $@

setup: $(VENV)/test  ## build, and a virtual environment in .venv with everything the tests need

test: $(VENV)/test  ## the tests, a few minutes
	$(BIN)/python -m pytest -q -n 2 -m 'not nightly' $(ARGS)

nightly: $(VENV)/test  ## heavy programs and exhaustive checks too
	$(BIN)/python -m pytest -q $(ARGS)

demo: $(VENV)/demo  ## train a small CNN on real digits in fp32, mp and bf16
	$(BIN)/python examples/digits_demo.py $(ARGS)

dynamic: $(VENV)/test  ## train in MP, BF16 and switching: ARGS='cifar100_cnn --steps 1500' or 'ptb_lstm'
	$(BIN)/python examples/dynamic_training.py $(ARGS)

bench: $(VENV)/test  ## slow-downs against native in the same run; WORKLOADS= MODES= REPS= THREADS= choose
	$(BIN)/python -m benchmarks $(if $(WORKLOADS),--workloads "$(WORKLOADS)") $(if $(MODES),--modes "$(MODES)") $(if $(REPS),--reps $(REPS)) \
		$(if $(THREADS),--threads $(THREADS)) $(ARGS)

gate: $(VENV)/test  ## have instructions per emulated FMA grown since the baseline?
	$(BIN)/python -m benchmarks.gate

baseline: $(VENV)/test  ## take today's instructions per emulated FMA as the baseline of `make gate`
	$(BIN)/python -m benchmarks.gate --refresh

lint: $(VENV)/lint  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for suite in $(SUITES); do MYPYPATH=$$suite:tests/engine $(BIN)/mypy $$suite || exit 1; done
	$(BIN)/clang-format --dry-run -Werror $(CPP)

format: $(VENV)/lint  ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

tidy: $(VENV)/native  ## clang-tidy over the native sources (slow)
	clang-tidy --quiet -p build $(filter %.cpp,$(filter native/%,$(CPP)))

wheel: $(VENV)/tools  ## one wheel for all Python versions, in dist/
	$(BIN)/pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps -w dist .

clean:  ## remove everything that was built
	rm -rf build dist $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis src/fase/_native
