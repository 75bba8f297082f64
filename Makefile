# Everything runs in its own virtual environment, .venv; nothing needs to be installed beforehand but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NANO := t5gemma_tts/checkpoints/nano

.PHONY: demo test test-slow train-smoke docs lint format clean

demo: $(VENV)/.installed
	$(BIN)/t5gemma-tts speak "Good morning! The train to London leaves at seven o'clock." \
		--output demo.wav --seed 0 --overwrite

# speech of a synthetic voice, codes of it, a small new model trained on them, and what that says: sounds, no words yet
# with one thread: models this small lose more to OpenMP's barriers than a second one gains
train-smoke: export OMP_NUM_THREADS ?= 1
train-smoke: $(VENV)/.installed-smoke
	$(BIN)/python training/nano/corpus.py data/smoke/corpus \
		--voices hibari --sentences 300 --validation 20 --unseen-pairs 0
	$(BIN)/python training/prepare_dataset.py --source data/smoke/corpus --output data/smoke/prepared \
		--codec $(NANO)
	rm -rf runs/smoke-start runs/smoke
	$(BIN)/python training/nano/init_model.py runs/smoke-start --codec $(NANO)/codec --tokenizer $(NANO) \
		--hidden-size 128 --encoder-layers 2 --decoder-layers 2
	$(BIN)/accelerate launch --config_file accelerate_config.yaml training/train.py training/recipes/smoke.yaml
	$(BIN)/t5gemma-tts speak "Good morning! The train leaves at seven." \
		--model runs/smoke --output smoke.wav --seed 0 --overwrite
	$(BIN)/python training/check_run.py runs/smoke smoke.wav

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --cov

test-slow: $(VENV)/.installed-slow
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict --site-dir site

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-smoke: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,nano]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-slow: setup.py constraints.txt | $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,quantization,ray]"
	touch $@

$(VENV)/.installed-docs: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) site demo.wav data/smoke runs/smoke-start runs/smoke smoke.wav build *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage
