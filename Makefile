PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint shapes format docs docs-serve bench bench-peers bench-gpu clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

install: .venv/installed  ## make .venv with everything the project needs

demo: .venv/installed  ## install, then train plain SASRec and SAGE on real purchases, fuse, and compare them
	$(BIN)/python scripts/demo.py

lint: .venv/installed-dev  ## style, import contracts and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

shapes: .venv/installed-dev  ## the model parts' tests with every annotated tensor shape checked at run time
	$(BIN)/python -m pytest -n logical --jaxtyping-packages=sage_pl,beartype.beartype -k "not refuse and not processes" \
		tests/nn tests/golden

test: lint  ## linters, types and the suite
	$(BIN)/python -m pytest -n logical --dist worksteal -m "not slow"

test-slow: shapes  ## tensor shapes, and the tests marked slow: the wheel, a browser, the benchmarks' processes
	$(BIN)/python -m pytest -n logical --dist loadfile -m slow

format: .venv/installed-dev  ## rewrite the code in house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed-docs: .venv/installed requirements-docs.txt
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	touch $@

docs: .venv/installed-docs  ## build the documentation site, strictly, into docs/_build
	$(BIN)/python -m sphinx -b html -q -W --keep-going docs docs/_build

docs-serve: docs  ## and serve it on this machine: http://127.0.0.1:8000
	$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory docs/_build

bench: .venv/installed-dev  ## measure what the docs claim about speed
	$(BIN)/python benchmarks/choices.py
	$(BIN)/python benchmarks/preparation.py
	$(BIN)/python benchmarks/ranking.py
	$(BIN)/python benchmarks/comparison.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/curves.py
	$(BIN)/python benchmarks/steps.py $(BENCH)
	$(BIN)/python benchmarks/roofline.py $(BENCH)
	$(BIN)/python benchmarks/startup.py $(BENCH)

bench-peers: .venv/installed-dev  ## measure beside RecTools, RePlay and RecBole; BENCH="dataset=beauty paths.data=DIR"
	$(BIN)/python benchmarks/peers/run.py $(BENCH)

bench-gpu: .venv/installed-dev  ## measure training on a GPU, with torch built for CUDA; BENCH="dataset=yelp paths.data=DIR"
	$(BIN)/python benchmarks/gpu.py $(BENCH)

clean:  ## remove the environment and caches; outputs/ stays
	rm -rf .venv .venv-peers .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
