"""Encoder states, logits, losses and gradients, compared with the original implementation."""

import pytest
import torch
from golden import LOGITS_ATOL, LOSS_RTOL, load_model, our_key, parametrize, read_case

from t5gemma_tts.model.pm_rope import progress_positions


pytestmark = pytest.mark.golden


def training_batch(inputs: dict, config, end_token_id: int | None = None) -> dict:
    """The recorded batch as text ids with mask and labels ending in the end token."""
    end = config.eos_token_id if end_token_id is None else end_token_id
    x, x_lens, y, y_lens = inputs["x"], inputs["x_lens"], inputs["y"][:, 0], inputs["y_lens"]
    labels = torch.full((len(y), y.shape[1] + 1), -100)
    for row, length in enumerate(y_lens.tolist()):
        labels[row, :length] = y[row, :length]
        labels[row, length] = end
    return {
        "input_ids": x,
        "attention_mask": (torch.arange(x.shape[1]) < x_lens[:, None]).long(),
        "labels": labels,
    }


@pytest.mark.parametrize(**parametrize("a_encoder"))
def test_encoder_states_and_positions(path):
    case, inputs, expected = read_case(path)
    model = load_model(path, case)
    encoder = model.get_encoder()
    singles = [name.removeprefix("x_") for name in inputs if name.startswith("x_") and "batch" not in name]
    assert singles
    for name in singles:
        ids = inputs[f"x_{name}"]
        mask = torch.ones_like(ids)
        positions = progress_positions(mask, model.config.progress_scale)
        torch.testing.assert_close(positions, expected[f"positions_{name}"], rtol=0, atol=0)
        with torch.no_grad():
            states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(states, expected[f"memory_{name}"], rtol=0, atol=LOGITS_ATOL)
    mask = (torch.arange(inputs["x_batch"].shape[1]) < inputs["x_batch_lens"][:, None]).long()
    positions = progress_positions(mask, model.config.progress_scale)
    torch.testing.assert_close(positions * mask, expected["positions_batch"] * mask, rtol=0, atol=0)
    with torch.no_grad():
        states = encoder(input_ids=inputs["x_batch"], attention_mask=mask).last_hidden_state
    valid = mask.bool()
    torch.testing.assert_close(states[valid], expected["memory_batch"][valid], rtol=0, atol=LOGITS_ATOL)


@pytest.mark.parametrize(**parametrize("b_training"))
def test_training_logits_and_losses(path):
    case, inputs, expected = read_case(path)
    model = load_model(path, case)
    config = model.config
    y_lens = inputs["y_lens"].tolist()
    batch = training_batch(inputs, config)
    with torch.no_grad():
        logits = model(**batch).logits
    for row, length in enumerate(y_lens):
        torch.testing.assert_close(
            logits[row, : length + 1], expected[f"logits_{row}"][: length + 1], rtol=0, atol=LOGITS_ATOL
        )
    if config.use_pm_rope:
        width = expected["decoder_positions"].shape[1]  # may be padded further than the ids
        mask = (torch.arange(width) <= inputs["y_lens"][:, None]).long()
        positions = progress_positions(mask, config.progress_scale)
        torch.testing.assert_close(positions, expected["decoder_positions"] * mask, rtol=0, atol=0)

    end_of_generation = config.codebook_size + 1
    compared = 0
    for variant in case["variants"]:
        config.no_loss_on_prefix = bool(variant["no_loss_on_prefix"])
        config.eos_token_id = end_of_generation if variant["eos"] < 0 else variant["eos"]
        batch = training_batch(inputs, config)
        weighted_elsewhere = variant["eog_weight"] != 1 and variant["eos"] >= 0
        if weighted_elsewhere and (batch["labels"] == end_of_generation).any():
            continue  # quirk 6: the original weights a token that is not its end token; ours weights the end token
        config.eos_loss_weight = 1.0 if variant["eos"] >= 0 else variant["eog_weight"]
        with torch.no_grad():
            outputs = model(**batch)
            chunked = model(**batch, skip_logits=True)
        count = variant["effective_ntoken"]
        # the original sums: its loss is the mean times all kept targets, the separator included
        assert outputs.loss.item() * count == pytest.approx(variant["loss"], rel=LOSS_RTOL)
        assert chunked.loss.item() == pytest.approx(outputs.loss.item(), rel=1e-6) and chunked.logits is None
        assert chunked.num_top10 == outputs.num_top10
        kept = torch.ones_like(batch["labels"], dtype=torch.bool)
        if variant["no_loss_on_prefix"]:
            kept = torch.arange(kept.shape[1]) >= inputs["y_sep_token_position"][:, None]
        kept &= batch["labels"] != -100
        assert kept.sum().item() == count
        top10 = outputs.logits[kept].topk(10).indices
        assert (top10 == batch["labels"][kept][:, None]).any(-1).sum().item() == variant["top10acc"]
        compared += 1
    assert compared


@pytest.mark.parametrize(**parametrize("d_gradients"))
@pytest.mark.parametrize("gradient_checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("skip_logits", [False, True], ids=["plain_loss", "chunked_loss"])
def test_gradients(path, gradient_checkpointing, skip_logits):
    case, inputs, expected = read_case(path)
    model = load_model(path, case)
    if gradient_checkpointing:
        model.activation_checkpointing_enable()
    model.train()
    model.config.no_loss_on_prefix = bool(case["no_loss_on_prefix"])
    batch = training_batch(inputs, model.config)
    kept = torch.arange(batch["labels"].shape[1]) >= inputs["y_sep_token_position"][:, None] * case["no_loss_on_prefix"]
    count = (kept & (batch["labels"] != -100)).sum().item()
    loss = model(**batch, skip_logits=skip_logits).loss * count
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=LOSS_RTOL)
    ours = dict(model.named_parameters())
    for name, norm in case["grad_norms"].items():
        assert ours[our_key(name)].grad.norm().item() == pytest.approx(norm, rel=2e-3), name
    for name, gradient in expected.items():
        found = ours[our_key(name)].grad
        torch.testing.assert_close(found, gradient, rtol=0, atol=2e-3 * gradient.abs().max().item(), msg=name)
    with_gradient = {our_key(name) for name in case["grad_norms"]}
    assert with_gradient == {name for name, parameter in ours.items() if parameter.grad is not None}
