# What one does here. CI runs `check` and `oldest`; `torches` installs what the two need.
PYTHON ?= python3
BIN := .venv/bin
ON_TORCH := $(addprefix tests/,build dynamics game games networks runs spectrum training recipes/test_golden.py) \
	$(wildcard tests/test_*.py)
OLDEST := $(shell sed -n 's/.*"torch>=\(.*\)".*/\1/p' pyproject.toml)

.PHONY: demo test slow lint check oldest torches bench site clean

demo: .venv/installed                 ## train on points and on images, and write a report of both
	rm -rf runs/demo
	$(BIN)/steadygan train ring8-fargan steps=6000 --out runs/demo/ring8
	$(BIN)/steadygan train digits-fargan steps=1500 --out runs/demo/digits
	$(BIN)/steadygan report runs/demo/ring8 runs/demo/digits --out runs/demo/report.html
	@echo "The pictures are in runs/demo/ring8/samples and runs/demo/digits/samples. Open runs/demo/report.html in a browser."
	@echo "Try next:"
	@echo "  $(BIN)/steadygan list                           # all recipes"
	@echo "  $(BIN)/steadygan diagnose runs/demo/digits      # what the gradients say of a run"
	@echo "  $(BIN)/steadygan train digits-fargan --seeds 4  # four seeds as one program"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

# Containers often forbid to keep compiled modules. Each process that a test starts would then compile torch's again.
test slow: export PYTHONDONTWRITEBYTECODE =

test: .venv/installed                 ## the default tests, README snippets and doctests included
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

slow: .venv/installed                 ## the tests marked slow
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m slow

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test slow

oldest: torches                       ## the default tests of what stands on torch, with the oldest that pyproject.toml allows
	.ci/other-torch $(OLDEST) $(ON_TORCH)

torches: .venv/torch-$(OLDEST)/installed

.venv/torch-%/installed: | .venv/installed
	.ci/other-torch $* --version

bench: .venv/installed                ## speed, side by side with a naive loop
	$(BIN)/python -m benchmarks.step

site: .venv/installed                 ## the documentation site, in the folder site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html in a browser."

clean:
	rm -rf .venv dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
