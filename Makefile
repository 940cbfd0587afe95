# make demo [PHOTOS=dir]   set up, index photographs, answer queries, draw the hits
# make test                set up, run every test
# make lint                ruff and mypy
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PHOTOS ?=

.PHONY: demo test lint setup clean
.DEFAULT_GOAL := test

setup: $(VENV)/installed

# Installed again only when setup.py has changed since: setting up twice costs nothing.
$(VENV)/installed: setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,demo,server,server-test,ray,page,fast]'
	@touch $@

demo: setup
	@$(BIN)/python -m scripts.demo $(if $(PHOTOS),--photos "$(PHOTOS)")

test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build dist *.egg-info
