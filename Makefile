# The eight things one does here. `check` is exactly what CI runs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow lint check bench clean

demo: .venv/installed                 ## train the default recipe, ring8-fargan, and draw it
	$(BIN)/steadygan train

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

test: .venv/installed                 ## the default tests, README snippets and doctests included
	$(BIN)/python -m pytest -q -n 2

slow: .venv/installed                 ## the tests marked slow
	$(BIN)/python -m pytest -q -n 2 -m slow

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test slow

bench: .venv/installed                ## speed, side by side with a naive loop
	$(BIN)/python -m benchmarks.step

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
