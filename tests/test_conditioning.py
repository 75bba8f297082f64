"""Metrics of text conditioning: text gap and cross-attention."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from speech_data import FEATURES, WORDS, speech_rows
from trainers import make_trainer

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.training.arguments import T5GemmaTTSTrainingArguments
from t5gemma_tts.training.code_masking import mask_codes
from t5gemma_tts.training.conditioning import attention_offsets, attention_picture, cross_attention, with_swapped_texts
from t5gemma_tts.training.dataset import SpeechCollator, SpeechDataset


@pytest.fixture(scope="module")
def batch(tiny_checkpoint):
    processor = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    config = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).config
    dataset = SpeechDataset([speech_rows(3)], processor.tokenizer, config)
    return SpeechCollator(config)([dataset[row] for row in range(3)])


def test_wrong_texts_are_other_rows_texts(batch):
    wrong = with_swapped_texts(batch)
    for row in range(3):
        assert torch.equal(wrong["input_ids"][row], batch["input_ids"][row - 1])
        assert torch.equal(wrong["attention_mask"][row], batch["attention_mask"][row - 1])
    assert torch.equal(wrong["labels"], batch["labels"])
    assert with_swapped_texts({name: tensor[:1] for name, tensor in batch.items()}) is None


def test_cross_attention_of_a_row(batch, tiny_checkpoint):
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    maps = cross_attention(model, batch, row=1)
    decoder = model.config.backbone.decoder
    targets, text = (batch["labels"][1] != -100).sum().item(), batch["attention_mask"][1].sum().item()
    assert maps.shape == (decoder.num_hidden_layers, decoder.num_attention_heads, targets, text)
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
    assert model.config._attn_implementation == model.get_decoder().config._attn_implementation == "sdpa"


def test_offsets_of_known_attention():
    diagonal = torch.eye(21)[None, None]
    even = torch.full((1, 1, 2001, 21), 1 / 21)
    start = torch.zeros(1, 1, 2001, 21)
    start[..., 0] = 1
    assert attention_offsets(diagonal).item() == pytest.approx(0, abs=1e-6)
    assert attention_offsets(even).item() == pytest.approx(0.25, abs=1e-3)
    assert attention_offsets(start).item() == pytest.approx(0.5, abs=1e-3)


def test_picture():
    maps = torch.zeros(2, 3, 10, 5)
    maps[1, 2, 7, 4] = 0.5  # alone in its panel, so it is the darkest there
    picture = attention_picture(maps, cell=1)
    assert picture.shape == (2 * (5 + 2), 3 * (10 + 2)) and picture.dtype == np.uint8
    (row,), (column,) = np.nonzero(picture == 0)
    assert (row, column) == (7 + 1 + 4, 24 + 1 + 7)


def words_of_four_codes(count: int, seed: int) -> Dataset:
    """Rows with one word and four codes of the word's own range, which the text predicts better than the past codes."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        word = int(generator.integers(len(WORDS)))
        codes = (30 * word + generator.integers(0, 30, 4)).astype(np.uint16)
        row = {"id": str(number), "text": WORDS[word], "codes": codes, "speaker": "", "language": "en"}
        rows.append(row | {"num_frames": 4, "duration_seconds": 0.08})
    return Dataset.from_list(rows, features=FEATURES)


def test_text_gap_opens_with_training(tmp_path, tiny_checkpoint):
    trainer = make_trainer(tiny_checkpoint, tmp_path, max_steps=60, learning_rate=1e-2, logging_steps=60)
    tokenizer, config = trainer.processor.tokenizer, trainer.train_dataset.config
    trainer.train_dataset = SpeechDataset([words_of_four_codes(300, 0)], tokenizer, config)
    trainer.eval_dataset = SpeechDataset([words_of_four_codes(50, 1)], tokenizer, config)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert abs(before["eval_text_gap"]) < 0.1
    assert after["eval_text_gap"] > 0.5
    assert 0 <= after["eval_attention_offset"] < 0.5
    picture = np.asarray(Image.open(tmp_path / "spoken" / "step-60" / "attention.png"))
    assert picture.min() == 0 and picture.max() == 255


def test_conditioning_can_be_left_out(tmp_path, tiny_checkpoint):
    trainer = make_trainer(tiny_checkpoint, tmp_path, eval_conditioning=False)
    metrics = trainer.evaluate()
    assert "eval_text_gap" not in metrics and "eval_attention_offset" not in metrics
    assert not (tmp_path / "spoken").exists()


def test_hidden_codes(tmp_path, tiny_checkpoint, batch):
    trainer = make_trainer(tiny_checkpoint, tmp_path, audio_mask_probability=0.3)
    config = trainer.model.config
    inputs = batch["decoder_input_ids"].repeat(50, 1)
    hidden = mask_codes(inputs, config, 0.3)
    changed = hidden != inputs
    assert (hidden[changed] == config.codebook_size + 1).all()
    codes = inputs < config.codebook_size
    assert not changed[~codes].any()
    assert changed[codes].float().mean().item() == pytest.approx(0.3, abs=0.02)
    by_row = mask_codes(inputs, config, 0.0, row_probability=0.5) != inputs
    shares = torch.stack([row[own].float().mean() for row, own in zip(by_row, codes, strict=True)])
    assert (shares == 0).float().mean().item() == pytest.approx(0.5, abs=0.15)
    assert shares.min() == 0 and shares.max() > 0.8 and shares.mean().item() == pytest.approx(0.25, abs=0.08)
    seen = []
    trainer.model.model.decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True
    )
    for training in (True, False):
        trainer.model.train(training)
        trainer.compute_loss(trainer.model, dict(batch))
    assert not torch.equal(seen[0], batch["decoder_input_ids"])
    assert torch.equal(seen[1], batch["decoder_input_ids"])
    with pytest.raises(ValueError, match="`audio_mask_probability` must be"):
        T5GemmaTTSTrainingArguments(output_dir=str(tmp_path), use_cpu=True, audio_mask_probability=1.0)
    with pytest.raises(ValueError, match="`audio_mask_row_probability` must be"):
        T5GemmaTTSTrainingArguments(output_dir=str(tmp_path), use_cpu=True, audio_mask_row_probability=1.1)


def test_references_are_not_hidden(tiny_checkpoint):
    config = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).config
    row = torch.tensor([[config.bos_token_id, *range(8), config.audio_separator_token_id, *range(8, 16)]])
    hidden = mask_codes(row, config, 0.99)
    assert torch.equal(hidden[:, :10], row[:, :10]) and (hidden[:, 10:] != row[:, 10:]).sum() >= 6
