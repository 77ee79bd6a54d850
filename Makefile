# A day's commands. `make demo` needs Python 3.10 or later with venv, a C compiler and make; so does `make test`.

PYTHON ?= python3
RUN := .venv
DEV := .venv-dev
SOURCES := pyproject.toml setup.py $(shell find edgeinfer train export -name '*.py' -o -name '*.py[xi]' -o -name '*.pxd' \
	-o -name '*.[ch]' -o -name '*.onnx' -o -name '*.csv' -o -name '*.txt')
PYTEST := $(DEV)/bin/python -m pytest

.PHONY: help demo test test-all lint format wheel models clean

help:
	@echo 'make demo      build the wheel, install it with numpy alone, run edgeinfer demo'
	@echo 'make test      lint, then every test with seeded samples (what CI runs)'
	@echo 'make test-all  the same with the full products'
	@echo 'make lint      ruff, mypy, import-linter, cython-lint'
	@echo 'make format    ruff format'
	@echo 'make models    train, export and check the bundled models again (about half an hour)'
	@echo 'make clean     remove what was built'

demo: $(RUN)/.installed
	cd "$$(mktemp -d)" && "$(CURDIR)/$(RUN)/bin/edgeinfer" demo

test: lint
	$(PYTEST) -m 'not slow' --cov=edgeinfer --cov-report=term:skip-covered --cov-fail-under=95

test-all: lint
	$(PYTEST) --cov=edgeinfer --cov-report=term:skip-covered --cov-fail-under=95

lint: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/mypy --config-file mypy-workstation.ini train export
	$(DEV)/bin/lint-imports
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" cython-lint edgeinfer/kernels/*.pyx edgeinfer/kernels/*.pxd

format: $(DEV)/.installed
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

wheel: build/wheel/.built

models: $(DEV)/.installed
	set -e; for name in sum next_word sentiment demand; do \
	  $(DEV)/bin/python -m train $$name --out build/trained; \
	  $(DEV)/bin/python -m export build/trained/$$name.keras -o edgeinfer/models/$$name.onnx; \
	  $(DEV)/bin/python -m train $$name --score edgeinfer/models/$$name.onnx; \
	done

clean:
	rm -rf build dist *.egg-info $(RUN) $(DEV) edgeinfer/kernels/*.so

# setuptools copies what an older build left in build/lib into the wheel, so it starts from nothing.
build/wheel/.built: $(SOURCES)
	rm -rf build
	$(PYTHON) -m venv build/venv
	EDGEINFER_BUILD_EXT=require build/venv/bin/pip --disable-pip-version-check wheel -q --no-deps -w build/wheel .
	touch $@

$(RUN)/.installed: build/wheel/.built
	$(PYTHON) -m venv --clear $(RUN)
	$(RUN)/bin/pip --disable-pip-version-check install -q build/wheel/*.whl
	touch $@

$(DEV)/.installed: pyproject.toml setup.py $(wildcard edgeinfer/kernels/*.p* edgeinfer/kernels/csrc/*)
	test -x $(DEV)/bin/python || $(PYTHON) -m venv $(DEV)
	EDGEINFER_BUILD_EXT=require $(DEV)/bin/pip --disable-pip-version-check install -q -e '.[dev]'
	touch $@
