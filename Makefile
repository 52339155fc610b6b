# Two commands: `make demo` and `make test`. Both work on a fresh machine with
# Python 3.11 or newer, git and make; everything lands in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
DIR ?= demo-project

.PHONY: demo test lint system install clean

demo: install
ifeq ($(HEADLESS),1)
	$(BIN)/napari-scsam demo --dir $(DIR) --headless
else
	scripts/with-display.sh $(BIN)/napari-scsam demo --dir $(DIR)
endif

# One thread each: two processes with two threads each would wait for one another.
test: install lint
	OMP_NUM_THREADS=1 scripts/with-display.sh --virtual $(BIN)/python -m pytest -n 2 --dist loadgroup

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/npe2 validate napari.yaml

install: system $(STAMP)

# Libraries that Qt and OpenGL load at run time; pip has no packages for them.
system:
	@scripts/system-libraries.sh

$(STAMP): pyproject.toml hatch_build.py napari.yaml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[all,dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist
