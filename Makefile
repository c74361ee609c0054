# Everything runs in .venv, which the first target that needs it makes from requirements.lock.
#   make demo | lab | docs | binder | test | matrix | check | format | esm | bench | soak | lock | clean

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo lab docs binder test notebooks matrix check format esm bench soak lock clean

PY := .venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Prints the first Python that runs, is supported and can make virtual environments.
# A name on the PATH is not enough: pyenv's shims exist for versions that are switched off.
SUPPORTED := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
FIND_PYTHON = for p in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if "$$p" -c "$(SUPPORTED)" >/dev/null 2>&1; then echo "$$p"; exit 0; fi; \
	done; \
	echo "regimeflow needs Python 3.11, 3.12 or 3.13 with venv (Debian: apt install python3-venv)" >&2; \
	exit 1

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

.venv/.installed: requirements.lock pyproject.toml
	@echo "Installing the locked packages into .venv (a minute or two the first time)"
	@rm -f $@
	@$(PY) -c "$(SUPPORTED)" >/dev/null 2>&1 || { p=$$($(FIND_PYTHON)) && "$$p" -m venv --clear .venv; }
	@$(PY) -m pip install -qq --require-hashes -r requirements.lock
	@$(PY) -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

demo: .venv/.installed ## run the tour in the terminal
	@$(PY) scripts/demo.py

lab: .venv/.installed ## open the first notebook in JupyterLab
	@$(PY) -m jupyter lab notebooks/research_to_live.ipynb

docs: .venv/.installed ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "site/index.html"

binder: .venv/.installed ## name the repository that Binder opens (REPOSITORY=owner/name)
	@$(PY) scripts/binder_links.py $(REPOSITORY)

# The tests run first, so that pytest's closing line is the last thing printed in either case.
# The hash seed is fixed, and bars of progress are off, since the notebooks' saved outputs are
# compared with the new ones.
test: .venv/.installed ## run the tests, then the notebooks
	@$(PY) -m pytest -n auto --dist loadscope tests
	@PYTHONHASHSEED=0 TQDM_DISABLE=1 $(PY) -m pytest --timeout 900 --nbval notebooks tutorials \
	  --nbval-current-env --nbval-cell-timeout 300 --nbval-sanitize-with tests/nbval_sanitize.cfg

matrix: .venv/.installed ## run tests with older and newer client libraries and kernels, and without any
	@$(PY) scripts/matrix.py $(ONLY)

notebooks: .venv/.installed ## execute all notebooks anew, as they are committed
	@$(PY) scripts/execute_notebooks.py

check: .venv/.installed ## check format, lint, types and floors
	@$(PY) -m ruff format --check --quiet --output-format concise .
	@$(PY) -m ruff check --quiet --output-format concise .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo

format: .venv/.installed ## format and apply the safe lint fixes
	@$(PY) -m ruff check --fix --quiet . || true
	@$(PY) -m ruff format .

# Only who changes the panel needs node. Its packages stay outside of what is shipped.
ESM := regimeflow/widgets
.cache/esm/.installed: $(ESM)/src/package.json $(ESM)/src/package-lock.json
	@mkdir -p .cache/esm
	@cp $(ESM)/src/package.json $(ESM)/src/package-lock.json .cache/esm/
	@npm --prefix .cache/esm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

esm: .cache/esm/.installed ## bundle the panel's script
	@node $(ESM)/src/build.mjs .cache/esm $(ESM)/static

bench: .venv/.installed ## run the benchmarks
	@$(PY) -m benchmarks

soak: .venv/.installed ## run the long property tests for an hour
	@$(PY) -m tests.soak

# Keeps the pins that still fit; `make lock UPGRADE=--upgrade` takes the newest of everything.
lock: ## renew requirements.lock
	@[ -x .cache/lock/bin/uv ] || { p=$$($(FIND_PYTHON)) && "$$p" -m venv .cache/lock && \
	  .cache/lock/bin/python -m pip install -qq uv; }
	@.cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  $(UPGRADE) --output-file requirements.lock pyproject.toml

clean: ## remove caches and build outputs, not .venv
	@rm -rf .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist out site
	@find . -path ./.venv -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \
	  -o -name '*.egg-info' \) -prune -exec rm -rf {} +
