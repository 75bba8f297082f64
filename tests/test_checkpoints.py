"""The bundled checkpoint by its short name."""

import pytest

from t5gemma_tts.checkpoint_info import describe_checkpoint
from t5gemma_tts.checkpoints import NANO, resolve_checkpoint
from t5gemma_tts.loading import load_codec, load_model, load_processor
from t5gemma_tts.training.arguments import ModelArguments
from t5gemma_tts.training.train import load_model_and_processor


def test_short_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_checkpoint("nano") == NANO
    assert resolve_checkpoint("org/nano") == "org/nano"
    (tmp_path / "nano").mkdir()
    assert resolve_checkpoint("nano") == "nano"


@pytest.mark.parametrize("load", [load_model, load_processor, load_codec])
def test_loading_by_the_short_name(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert type(load("nano")) is type(load(NANO))


def test_info_and_training_by_the_short_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert describe_checkpoint("nano") == describe_checkpoint(NANO)
    model, processor = load_model_and_processor(ModelArguments(model="nano"))
    assert model.config.backbone.encoder.vocab_size == len(processor.tokenizer)
