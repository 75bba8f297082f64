"""Initialization of a small model: sizes, embeddings of similar codes, and generation."""

import pytest
import torch
from tiny_checkpoint import tiny_codec

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from training.nano.build_text_front_end import build_tokenizer
from training.nano.init_model import main


SIZES = ["--hidden-size", "64", "--encoder-layers", "1", "--decoder-layers", "2", "--progress-scale", "100"]


@pytest.fixture(scope="module")
def initialized(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    tiny_codec().save_pretrained(folder / "codec")
    build_tokenizer().save_pretrained(folder / "tokenizer")
    command = ["--codec", str(folder / "codec"), "--tokenizer", str(folder / "tokenizer"), *SIZES]
    assert main([str(folder / "start"), *command]) == 0
    return folder, command


def test_checkpoint_generates_speech(initialized):
    folder, _ = initialized
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(folder / "start")
    processor = T5GemmaTTSProcessor.from_pretrained(folder / "start")
    assert model.config.progress_scale == 100 and model.config.codebook_size == 256
    assert model.generation_config.temperature == 0.5
    assert len(model.get_encoder().layers) == 1 and len(model.get_decoder().layers) == 2
    inputs = processor(text="ðə dˈɔɡ sˈɔ.", duration=0.5)
    ids = inputs["input_ids"][0].tolist()
    assert ids[-1] == processor.tokenizer.eos_token_id and len(ids) == len("ð ə ▁ d ˈɔ ɡ ▁ s ˈɔ .".split()) + 1
    torch.manual_seed(0)
    assert len(processor.batch_decode(model.generate(**inputs))[0])


def test_codes_of_adjacent_levels_have_similar_weights(initialized):
    folder, _ = initialized
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(folder / "start")
    levels = tiny_codec().model.quantizer.quantizer.codebook
    neighbors = (levels[:, None] - levels[None]).abs().sum(-1) == 0.5  # one step in one dimension
    opposite = (levels[:, None] - levels[None]).abs().sum(-1) >= 5
    for weight in (model.get_decoder().embed_tokens.weight, model.audio_head.out_proj.weight):
        weight = weight.detach()
        codes = torch.nn.functional.normalize(weight[:256], dim=-1)
        similarity = codes @ codes.T
        assert similarity[neighbors].mean() > 0.6 > -0.4 > similarity[opposite].mean()
        assert weight[:256].std() == pytest.approx(weight[256:].std().item(), rel=0.5)


def test_second_round_has_the_weights_of_the_first_and_another_codec(initialized):
    folder, command = initialized
    tiny_codec(seed=7).save_pretrained(folder / "codec-2")
    options = ["--weights", str(folder / "start"), "--codec", str(folder / "codec-2"), "--seed", "9"]
    assert main([str(folder / "start-2"), *command, *options]) == 0
    first, second = (
        T5GemmaTTSForConditionalGeneration.from_pretrained(folder / name).state_dict() for name in ("start", "start-2")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    codec = T5GemmaTTSProcessor.from_pretrained(folder / "start-2").codec
    assert codec.decode([1, 2, 3]).tolist() == tiny_codec(seed=7).decode([1, 2, 3]).tolist()


def test_errors(initialized, capsys):
    folder, command = initialized
    assert main([str(folder / "start"), *command]) == 1
    assert "exists; name a new folder" in capsys.readouterr().err
    assert main([str(folder / "other"), *command[:4], "--hidden-size", "100"]) == 1
    assert "`hidden_size` must be a multiple of 64" in capsys.readouterr().err
    wider = [*command, "--hidden-size", "128", "--weights", str(folder / "start")]
    assert main([str(folder / "other"), *wider]) == 1
    assert "has other sizes" in capsys.readouterr().err
