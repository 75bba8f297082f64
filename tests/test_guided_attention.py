"""Guided attention: the loss on small cases, and its effect in training."""

import math

import pytest
import torch
from trainers import make_trainer

from t5gemma_tts import T5GemmaTTSForConditionalGeneration
from t5gemma_tts.training.guided_attention import guided_attention_loss, segment_progress


def test_progress_within_reference_and_target():
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0, 0]])
    separator = torch.zeros_like(mask, dtype=torch.bool)
    separator[0, 2] = True
    progress = segment_progress(mask, separator)
    expected = [[0, 1, 2, 2 + 1 / 3, 2 + 2 / 3, 3], [2, 2.25, 2.5, 2.75, 3]]
    torch.testing.assert_close(progress[0, :6], torch.tensor(expected[0]))
    torch.testing.assert_close(progress[1, :5], torch.tensor(expected[1]))


def test_loss_of_known_attention(tiny_checkpoint):
    config = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).config
    batch = {
        "input_ids": torch.tensor([[5, 6, 7]]),
        "attention_mask": torch.ones(1, 3, dtype=torch.long),
        "decoder_input_ids": torch.tensor([[config.decoder_start_token_id, 1, 2]]),
        "decoder_attention_mask": torch.ones(1, 3, dtype=torch.long),
        "labels": torch.tensor([[1, 2, config.eos_token_id]]),
    }
    diagonal, reverse = torch.eye(3), torch.eye(3).flip(0)
    free = torch.rand(3, 3)  # the second half of the heads is not guided
    heads = torch.stack([diagonal, reverse, free, free])[None]
    loss = guided_attention_loss((heads,), batch, config, width=0.5)
    off = 2 * (1 - math.exp(-1 / (2 * 0.25)))  # first and last token look at the other end
    assert loss.item() == pytest.approx(off / 2)
    batch["labels"][0, 0] = -100
    assert guided_attention_loss((heads,), batch, config, width=0.5).item() == pytest.approx(off / 4)


def eager(model):
    model.set_attn_implementation("eager")
    return model


def test_training_moves_attention_to_the_diagonal(tmp_path, tiny_checkpoint):
    figures = {}
    for weight in (0.0, 5.0):
        options = {"guided_attention_weight": weight, "max_steps": 25, "learning_rate": 5e-3, "logging_steps": 5}
        trainer = make_trainer(tiny_checkpoint, tmp_path / str(weight), wrap=eager, **options)
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        figures[weight] = trainer.evaluate()["eval_attention_offset"], logs
    assert figures[5.0][0] < figures[0.0][0]
    assert "attention_off_diagonal" not in figures[0.0][1][0]
    first, last = figures[5.0][1][0]["attention_off_diagonal"], figures[5.0][1][-1]["attention_off_diagonal"]
    assert last < 0.8 * first


def test_guidance_is_weighed_like_the_loss(tmp_path, tiny_checkpoint):
    """With accumulated batches, each token has the same weight, whatever its batch is."""
    trainer = make_trainer(tiny_checkpoint, tmp_path, wrap=eager, guided_attention_weight=2.0)
    trainer.model.train()
    batches = list(trainer.get_train_dataloader())[:2]
    count = sum((batch["labels"] != -100).sum() for batch in batches)
    whole = [trainer.compute_loss(trainer.model, batch, num_items_in_batch=count) for batch in batches]
    trainer.args.guided_attention_weight = 0.0
    plain = [trainer.compute_loss(trainer.model, batch, num_items_in_batch=count) for batch in batches]
    guidance = (sum(whole) - sum(plain)).item()
    expected = 0.0
    for batch in batches:
        outputs = trainer.model(**batch, output_attentions=True)
        expected += 2.0 * guided_attention_loss(outputs.cross_attentions, batch, trainer.model.config, 0.2).item()
    assert guidance == pytest.approx(expected / count.item(), rel=1e-4)


def test_bad_guidance(tmp_path, tiny_checkpoint):
    with pytest.raises(ValueError, match="needs eager attention, but the model runs sdpa"):
        make_trainer(tiny_checkpoint, tmp_path, guided_attention_weight=1.0)
    with pytest.raises(ValueError, match="`guided_attention_width` above 0"):
        make_trainer(tiny_checkpoint, tmp_path, guided_attention_width=0.0)
