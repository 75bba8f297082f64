"""Training loss: masking, and the chunked computation compared with the plain one."""

import pytest
import torch
from test_modeling import training_inputs
from tiny import tiny_config, tiny_model
from torch import nn

from t5gemma_tts.model import loss
from t5gemma_tts.model.loss import chunked_cross_entropy, speech_loss
from t5gemma_tts.model.modeling_t5gemma_tts import T5GemmaTTSAudioHead


def test_loss_leaves_out_prefix_and_separator():
    config = tiny_config()
    labels = training_inputs(config)["labels"]
    logits = torch.randn((2, 20, config.vocab_size), generator=torch.Generator().manual_seed(1))
    log_probabilities = logits.log_softmax(-1)
    arguments = {
        "hidden_states": None,
        "head": None,
        "separator_token_id": config.audio_separator_token_id,
        "eos_token_id": config.eos_token_id,
        "logits": logits,
        "eos_loss_weight": 3.0,
    }

    def by_hand(first_of_row_0):
        total = weight = count = 0.0
        for row, start in ((0, first_of_row_0), (1, 0)):
            for column in range(start, 16):
                if (label := labels[row, column].item()) == config.audio_separator_token_id:
                    continue
                w = 3.0 if label == config.eos_token_id else 1.0
                total += -w * log_probabilities[row, column, label].item()
                weight += w
                count += 1
        return total, weight, count

    total, weight, count = by_hand(7)
    loss, num_targets, num_top10 = speech_loss(labels=labels, **arguments)
    assert loss.item() == pytest.approx(total / weight, rel=1e-5)
    assert num_targets == count and 0 <= num_top10 <= count
    loss = speech_loss(labels=labels, num_items_in_batch=50, **arguments).loss
    assert loss.item() == pytest.approx(total / 50, rel=1e-5)
    total, weight, _ = by_hand(0)
    loss = speech_loss(labels=labels, no_loss_on_prefix=False, **arguments).loss
    assert loss.item() == pytest.approx(total / weight, rel=1e-5)
    assert speech_loss(labels=torch.full_like(labels, -100), **arguments).loss == 0.0


@pytest.mark.parametrize("frozen", ["nothing", "head", "hidden"])
@pytest.mark.parametrize("chunk_size", [1, 7, 30, 100])
def test_chunks_equal_the_whole(frozen, chunk_size):
    torch.manual_seed(0)
    hidden, head = torch.randn(30, 12), nn.Linear(12, 200)
    targets, weights = torch.randint(0, 200, (30,)), torch.rand(30)
    hidden.requires_grad_(frozen != "hidden")
    head.requires_grad_(frozen != "head")
    tensors = [tensor for tensor in (hidden, head.weight, head.bias) if tensor.requires_grad]

    logits = head(hidden)
    plain = (nn.functional.cross_entropy(logits, targets, reduction="none") * weights).sum() * 0.37
    expected = torch.autograd.grad(plain, tensors)
    total, num_top10 = chunked_cross_entropy(hidden, head, targets, weights, chunk_size)
    found = torch.autograd.grad(total * 0.37, tensors)
    assert (total * 0.37).item() == pytest.approx(plain.item(), rel=1e-6)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert num_top10 == (logits.topk(10).indices == targets[:, None]).any(-1).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_precision_is_that_of_the_plain_loss(dtype, autocast):
    torch.manual_seed(0)
    head = T5GemmaTTSAudioHead(16, 100).to(dtype)
    hidden = torch.randn(2, 20, 16, dtype=dtype, requires_grad=True)
    labels = torch.randint(0, 95, (2, 20))
    gradients = {}
    losses = {}
    for name in ("plain", "chunked"):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = head(hidden) if name == "plain" else None
            losses[name] = speech_loss(hidden, head, labels, 99, 98, logits=logits).loss
        gradients[name] = torch.autograd.grad(losses[name], [hidden, *head.parameters()])
    assert losses["chunked"].dtype == torch.float32
    coarse = autocast or dtype == torch.bfloat16
    torch.testing.assert_close(losses["chunked"], losses["plain"], rtol=1e-2 if coarse else 1e-6, atol=0)
    for ours, theirs in zip(gradients["chunked"], gradients["plain"], strict=True):
        assert ours.dtype == theirs.dtype
        error = (ours.float() - theirs.float()).norm() / theirs.float().norm()
        assert error < (0.02 if coarse else 1e-5)


def test_never_more_than_a_chunk_of_logits(monkeypatch):
    sizes = []
    mm = torch.mm

    def recording_mm(*args, **kwargs):
        result = mm(*args, **kwargs)
        sizes.append(result.numel())
        return result

    monkeypatch.setattr(torch, "mm", recording_mm)
    monkeypatch.setattr(loss, "MAX_CHUNK_ELEMENTS", 1000)
    config = tiny_config()
    model = tiny_model(config).train()
    output = model(**training_inputs(config), skip_logits=True)
    assert output.logits is None
    assert len(sizes) > 1 and max(sizes) <= 1000
    output.loss.backward()
    with pytest.raises(RuntimeError, match="Trying to backward|can be differentiated only once"):
        output.loss.backward()


def test_head_behind_an_adapter_still_has_a_loss():
    config = tiny_config()
    model = tiny_model(config)
    inputs = training_inputs(config)
    expected = model(**inputs).loss

    class Wrapped(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.base_layer = linear

        def forward(self, hidden):
            return self.base_layer(hidden)

    model.audio_head.out_proj = Wrapped(model.audio_head.out_proj)
    torch.testing.assert_close(model(**inputs, skip_logits=True).loss, expected)
