# Everything runs in its own virtual environment, .venv; nothing needs to be installed beforehand but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECKPOINT := demo-checkpoint

.PHONY: demo test test-slow lint format clean

demo: $(VENV)/.installed
	test -f $(CHECKPOINT)/model.safetensors || $(BIN)/python training/make_tiny_checkpoint.py $(CHECKPOINT)
	$(BIN)/t5gemma-tts speak "Hello! This is what random weights sound like." \
		--model $(CHECKPOINT) --output demo.wav --seed 0 --overwrite
	@echo "demo.wav holds noise: this checkpoint has random weights, made on this machine to show that everything runs."

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(CHECKPOINT) demo.wav build *.egg-info .pytest_cache .ruff_cache
