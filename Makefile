# Two commands: `make demo` and `make test`. Both work on a fresh machine with
# Python 3.11 or newer, git and make; everything lands in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
DIR ?= demo-project

.PHONY: demo test test-all lint hooks docs screenshots system install clean

demo: install
ifeq ($(HEADLESS),1)
	$(BIN)/napari-scsam demo --dir $(DIR) --headless
else
	scripts/with-display.sh $(BIN)/napari-scsam demo --dir $(DIR)
endif

# One thread each: two processes with two threads each would wait for one another.
test: install lint
	OMP_NUM_THREADS=1 scripts/with-display.sh --virtual $(BIN)/python -m pytest -n 2 --dist loadfile

# What the hosted workflow does every night: everything, and the documentation.
test-all: docs lint
	OMP_NUM_THREADS=1 scripts/with-display.sh --virtual $(BIN)/python -m pytest -n 2 --dist loadfile -m ""

# The hooks are programs of the environment (.pre-commit-config.yaml).
lint: install
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pre-commit run --all-files --show-diff-on-failure

hooks: install
	$(BIN)/pre-commit install

# Every warning is an error, and nothing is fetched.
docs: install
	$(BIN)/python -m sphinx -W --keep-going -n -b html docs docs/_build/html

# The pictures of the documentation, on a project that is made for them.
screenshots: install
	scripts/with-display.sh --virtual $(BIN)/python scripts/screenshots.py docs/images

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
	rm -rf $(VENV) build dist docs/_build
