"""Alignment of text and codes: the best path, positions, the dataset column, and training with it."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from codec_runs import new_codec
from datasets import load_from_disk
from speech_data import save_prepared, speech_rows
from trainers import arguments, make_trainer
from transformers import AutoTokenizer

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.codec_training.text_alignment import best_path, text_positions
from t5gemma_tts.preparation.metadata import METADATA_FILE, DatasetMetadata
from t5gemma_tts.training.dataset import SpeechCollator, SpeechDataset
from t5gemma_tts.training.guided_attention import guided_attention_loss
from t5gemma_tts.training.trainer import T5GemmaTTSTrainer
from training.align_dataset import main


def collapse(path) -> list[int]:
    return [token for place, token in enumerate(path) if token and (place == 0 or path[place - 1] != token)]


@pytest.mark.parametrize("targets", [[1], [1, 2], [2, 2], [1, 2, 1]])
@pytest.mark.parametrize("seed", range(4))
def test_best_path_is_the_best_of_all(targets, seed):
    scores = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), size=6))
    paths = [path for path in itertools.product(range(3), repeat=6) if collapse(path) == targets]
    best = max(paths, key=lambda path: sum(scores[frame, token] for frame, token in enumerate(path)))
    spoken, runs = [], itertools.groupby(range(6), key=lambda frame: best[frame])
    for token, frames in runs:
        if token:
            spoken.append(np.mean(list(frames)))
    np.testing.assert_allclose(best_path(scores, np.array(targets)), spoken)


def test_a_long_text():
    targets = np.tile([1, 2], 150)
    scores = np.full((900, 3), -3.0)
    scores[np.arange(300) * 3 + 1, targets] = 0.0
    np.testing.assert_allclose(best_path(scores, targets), np.arange(300) * 3 + 1, atol=1)


def test_too_few_frames_for_the_text():
    scores = np.log(np.full((3, 3), 1 / 3))
    assert best_path(scores, np.array([1, 1, 2])) is None  # a blank has to stand between equal ones
    np.testing.assert_allclose(text_positions(scores, np.array([1, 1, 2]), np.array([0, 2, 4])), [0, 2, 4])


def test_positions_move_evenly_between_tokens():
    scores = np.full((9, 3), -5.0)
    scores[:, 0] = -0.1
    scores[2, 1], scores[6, 2] = 0.0, 0.0
    positions = text_positions(scores, np.array([1, 2]), np.array([0, 3]))  # two tokens that are not heard between
    assert positions.dtype == np.float32
    np.testing.assert_allclose(positions, [0, 0, 0, 0.75, 1.5, 2.25, 3, 3, 3])


@pytest.fixture
def prepared(tmp_path):
    """Rows with six words, whose codes identify the word and the position in it."""
    folder = save_prepared(tmp_path / "prepared", count=200, codebook_size=64)
    (folder / METADATA_FILE).write_text(DatasetMetadata("", 64, 50.0).to_json())
    return folder


def test_column_tells_the_word(prepared, tmp_path, tiny_checkpoint, capsys):
    codec = new_codec(quantization_levels=[4, 4, 4])
    codec.save_pretrained(tmp_path / "codec")
    words = ["--codec", str(tmp_path / "codec"), "--tokenizer", str(tiny_checkpoint)]
    assert main([str(prepared), str(tmp_path / "aligned"), *words, "--steps", "400"]) == 0
    aligned, source = load_from_disk(tmp_path / "aligned"), load_from_disk(prepared)
    assert DatasetMetadata.load(tmp_path / "aligned") == DatasetMetadata.load(prepared)
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    right = total = 0
    for split in source:
        assert aligned[split].remove_columns("text_positions").to_dict() == source[split].to_dict()
        for row in aligned[split]:
            encoded = tokenizer(row["text"], add_special_tokens=False)
            positions = np.array(row["text_positions"])
            assert len(positions) == row["num_frames"] and (np.diff(positions) >= 0).all()
            jumps = np.flatnonzero(np.diff(row["codes"]) != 1) + 1  # where a new word begins
            word_of_frame = np.searchsorted(jumps, np.arange(row["num_frames"]), side="right")
            offsets = encoded.char_to_token, [len(" ".join(row["text"].split()[:word])) for word in (1, 2)]
            starts = [offsets[0](place + 1) for place in offsets[1]]
            word_of_position = np.searchsorted(starts, positions + 1e-6, side="right")
            right += (word_of_position == word_of_frame).sum()
            total += row["num_frames"]
    assert right / total > 0.75
    assert main([str(prepared), str(tmp_path / "aligned"), *words]) == 1
    assert "exists" in capsys.readouterr().err
    assert main([str(prepared), str(tmp_path / "new"), *words, "--steps", "0"]) == 1
    assert "`steps` must be at least 1, got 0" in capsys.readouterr().err
    (prepared / METADATA_FILE).write_text(DatasetMetadata("", 32, 50.0).to_json())
    assert main([str(prepared), str(tmp_path / "new"), *words]) == 1
    shutil.rmtree(prepared)
    assert main([str(prepared), str(tmp_path / "new"), *words]) == 1
    assert not (tmp_path / "new").exists()


def with_positions(rows):
    """Aligns codes and tokens proportionally."""
    return rows.map(lambda row: {"text_positions": np.linspace(0, 9, row["num_frames"], dtype=np.float32)})


def test_positions_in_a_batch(tiny_checkpoint):
    processor = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    config = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).config
    dataset = SpeechDataset([with_positions(speech_rows(6))], processor.tokenizer, config, aligned=True)
    batch = SpeechCollator(config)([dataset[0, -1], dataset[1, 2]])
    assert batch["text_positions"].shape == batch["labels"].shape and batch["text_positions"].dtype == torch.float32
    before, after = config.text_bos_token_id is not None, config.text_eos_token_id is not None
    frames = dataset.num_frames
    expected = torch.linspace(0, 9, int(frames[0])) + before
    torch.testing.assert_close(batch["text_positions"][0, : frames[0]], expected)
    prefix = int(frames[2]) + 1
    start = before + dataset.num_text_tokens[2] + 1
    torch.testing.assert_close(
        batch["text_positions"][1, prefix : prefix + frames[1]], torch.linspace(0, 9, int(frames[1])) + start
    )
    torch.testing.assert_close(batch["text_positions"][1, : prefix - 1], torch.linspace(0, 9, prefix - 1) + before)
    lengths = batch["attention_mask"].sum(1)
    assert lengths[1] == start + dataset.num_text_tokens[1] + after
    ends = (batch["labels"] == config.eos_token_id).nonzero()
    assert [float(batch["text_positions"][row, place]) for row, place in ends] == (lengths - 1).tolist()


def test_loss_of_known_attention(tiny_checkpoint):
    config = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).config
    batch = {
        "input_ids": torch.tensor([[5, 6, 7, 8]]),
        "labels": torch.tensor([[1, -100, config.eos_token_id]]),
        "text_positions": torch.tensor([[0.5, 9.0, 3.0]]),
    }
    first = torch.zeros(3, 4)
    first[:, 0] = 1.0
    loss = guided_attention_loss((first[None, None],), batch, config, width=2.0)
    expected = 2 - np.exp(-(0.5**2) / 8) - np.exp(-(3.0**2) / 8)
    assert loss.item() == pytest.approx(expected)


def eager(model):
    model.set_attn_implementation("eager")
    return model


def test_training_by_positions(tmp_path, tiny_checkpoint):
    model = eager(T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint))
    tokenizer = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint).tokenizer
    rows = with_positions(speech_rows(40))
    options = {"guided_attention_weight": 5.0, "learning_rate": 5e-3, "max_steps": 25, "logging_steps": 5}
    trainer = T5GemmaTTSTrainer(
        model,
        arguments(tmp_path, guided_attention_tokens=1.0, **options),
        SpeechDataset([rows], tokenizer, model.config, aligned=True),
        SpeechDataset([rows.select(range(4))], tokenizer, model.config),
    )
    trainer.train()
    off = [entry["attention_off_diagonal"] for entry in trainer.state.log_history if "loss" in entry]
    assert off[-1] < 0.9 * off[0]
    assert "eval_text_gap" in trainer.evaluate()
    with pytest.raises(
        ValueError, match="`guided_attention_tokens` needs a training dataset with `text_positions`.*1.0.*without"
    ):
        make_trainer(tiny_checkpoint, tmp_path, wrap=eager, guided_attention_tokens=1.0, guided_attention_weight=1.0)
    with pytest.raises(ValueError, match="`guided_attention_tokens` must be above 0 and needs .* got 1.0 and 0.0"):
        arguments(tmp_path, guided_attention_tokens=1.0)
    with pytest.raises(ValueError, match="lacks 'text_positions'; add it with align_dataset.py"):
        SpeechDataset([speech_rows(4)], tokenizer, model.config, aligned=True)
