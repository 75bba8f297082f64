# Everything runs in its own virtual environment, .venv; nothing needs to be installed beforehand but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECKPOINT := demo-checkpoint

# of `make train-smoke`; a checkpoint holds a codec, which must be that of the model in training/recipes/smoke.yaml
SMOKE_CODEC := $(CHECKPOINT)

.PHONY: demo test test-slow train-smoke lint format clean

demo: $(VENV)/.installed
	test -f $(CHECKPOINT)/model.safetensors || $(BIN)/python training/make_tiny_checkpoint.py $(CHECKPOINT)
	$(BIN)/t5gemma-tts speak "Hello! This is what random weights sound like." \
		--model $(CHECKPOINT) --output demo.wav --seed 0 --overwrite
	@echo "demo.wav holds noise: this checkpoint has random weights, made on this machine to show that everything runs."

# speech of a synthetic voice, audio codes of it, a tiny model trained on them, and what that says
# with one thread: models this small lose more to OpenMP's barriers than a second one gains
train-smoke: export OMP_NUM_THREADS ?= 1
train-smoke: $(VENV)/.installed-smoke
	test -f $(CHECKPOINT)/model.safetensors || $(BIN)/python training/make_tiny_checkpoint.py $(CHECKPOINT)
	$(BIN)/python training/nano/corpus.py data/smoke/corpus \
		--voices hibari --sentences 300 --validation 20 --unseen-pairs 0
	$(BIN)/python training/prepare_dataset.py --source data/smoke/corpus --output data/smoke/prepared \
		--codec $(SMOKE_CODEC)
	rm -rf runs/smoke
	$(BIN)/accelerate launch --config_file accelerate_config.yaml training/train.py training/recipes/smoke.yaml
	$(BIN)/t5gemma-tts speak "Good morning! The train leaves at seven." \
		--model runs/smoke --output smoke.wav --seed 0 --overwrite
	$(BIN)/python training/check_run.py runs/smoke smoke.wav

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

$(VENV)/.installed-smoke: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,nano]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: setup.py constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(CHECKPOINT) demo.wav data/smoke runs/smoke smoke.wav build *.egg-info .pytest_cache .ruff_cache
