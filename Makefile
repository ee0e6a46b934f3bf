# Two commands for a fresh machine: `make train` and `make test`. The rest is listed by `make help`.

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
PARITY = .venv-parity
PIP = pip --disable-pip-version-check install --quiet
ON_DEVICE = tests/ops tests/nn tests/optim tests/amp tests/cuda tests/test_engine.py \
	tests/kernels/test_on_device.py tests/kernels/test_optim.py tests/kernels/test_pool.py \
	--ignore tests/ops/test_cross_entropy.py --ignore tests/ops/test_norm.py --ignore tests/amp/test_training.py  # minutes each: left to test-gpu

.PHONY: help train test test-gpu test-slow parity bars bench bench-gpu docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/:/' | column -t -s:

train: $(VENV)/.train  ## install, then train LeNet-5 on real handwritten digits and leave pictures in a new folder under runs/
	$(BIN)/minidl train lenet --data digits

test: $(VENV)/.test  ## lint, then all tests and doctests
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 -m "not slow and not bars" tests
	$(BIN)/python -m pytest -n 2 --doctest-modules -p no:cacheprovider minidl
	$(BIN)/python -m pytest -n 2 -m "not slow and not bars" --device pretend $(ON_DEVICE)

test-gpu: $(VENV)/.test  ## all tests on the GPU, where there are one and CuPy: pip install ".[cuda12]" or ".[cuda13]" first
	$(BIN)/python -m pytest -m "not slow and not bars" --device cuda tests

test-slow: $(VENV)/.test  ## long loops: kills, fuzzing, and the kernels with bounds checks
	$(BIN)/python -m pytest -n 2 -m slow tests
	NUMBA_BOUNDSCHECK=1 $(BIN)/python -m pytest -n 2 -q -m "not slow and not bars" -k "not cuda and not mma and not conv_tensor" \
		--ignore tests/test_readme.py tests

parity: $(PARITY)/.parity  ## the comparison with PyTorch, in an environment of its own
	$(PARITY)/bin/python -m pytest -n 2 -m "not slow" tests/parity
	$(PARITY)/bin/python -m pytest -m slow tests/parity

bars: $(PARITY)/.parity  ## what takes longer still: trainings, on data from MINIDL_DATA, and speed against PyTorch
	$(PARITY)/bin/python -m pytest -m bars --override-ini addopts="--import-mode=importlib -ra -s" tests/bars

bench: $(PARITY)/.parity  ## speed against PyTorch and MyGrad: tables and JSON in benchmarks/results
	$(PARITY)/bin/$(PIP) -e ".[bench]"
	$(PARITY)/bin/python -m benchmarks.run

bench-gpu: $(PARITY)/.parity  ## checks, tests and speed on a GPU in 10 minutes, with ".[cuda12]" or ".[cuda13]" in .venv-parity
	$(PARITY)/bin/python -m benchmarks.gpu.all

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: $(VENV)/bin/python setup.cfg
	$(BIN)/$(PIP) -e ".[train]"
	@touch $@

$(VENV)/.test: $(VENV)/bin/python setup.cfg
	$(BIN)/$(PIP) -e ".[test]"
	@touch $@ $(VENV)/.train

$(PARITY)/.parity: setup.cfg
	$(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/$(PIP) -e ".[parity]"
	PIP_CONSTRAINT=/dev/null $(PARITY)/bin/$(PIP) --no-deps torchvision==0.29.2 || echo "no torchvision: its comparisons will skip"
	@touch $@

docs: $(VENV)/.test  ## the reference, from the docstrings, in build/docs
	$(BIN)/python -m pdoc -o build/docs minidl

clean:  ## remove environments and caches
	rm -rf $(VENV) $(PARITY) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
