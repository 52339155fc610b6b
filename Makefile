# Two commands: `make demo` and `make test`. Both work on a fresh machine with
# Python 3.11 or newer, git and make. Everything is installed into .venv.

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

# One thread for each of the two processes; with two each, they would slow each other down. Bytecode
# is written even where the environment forbids it: the processes that tests start, about a hundred,
# would each compile the package again.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 scripts/with-display.sh --virtual \
	$(BIN)/python -m pytest -n 2 --dist loadfile

test: install lint
	$(PYTEST)

# The nightly workflow: all tests and the documentation.
test-all: docs lint
	$(PYTEST) -m ""

# The hooks are installed in the environment (.pre-commit-config.yaml).
lint: install
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pre-commit run --all-files --show-diff-on-failure

hooks: install
	$(BIN)/pre-commit install

# Every warning is an error, and nothing is downloaded.
docs: install
	$(BIN)/python -m sphinx -W --keep-going -n -b html docs docs/_build/html

# The screenshots of the documentation, from a sample project.
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
