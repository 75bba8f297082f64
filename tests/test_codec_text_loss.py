"""Text loss of codec training: the CTC head, whole-clip batches, and training."""

import csv
import shutil

import numpy as np
import pytest
import torch
from codec_runs import new_codec, save_recordings, train
from safetensors.torch import load_file
from tiny_checkpoint import tiny_tokenizer

from t5gemma_tts.codec_training.cache import CachedClip
from t5gemma_tts.codec_training.segments import WholeClipBatches
from t5gemma_tts.codec_training.text_loss import TextLoss


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


class Grid:
    """Returns a cache whose frames contain their index."""

    def segment(self, start: int, num_frames: int) -> dict:
        return {"target": np.arange(start, start + num_frames)}


def clips_of(lengths: list[int]) -> list[CachedClip]:
    starts = np.cumsum([0, *lengths])
    return [CachedClip(f"clip-{n}", "train", int(starts[n]), length, 0) for n, length in enumerate(lengths)]


def test_batches_are_whole_clips_of_one_length():
    clips = clips_of([10, 20, 10, 20, 10, 90, 10, 10])
    batches = WholeClipBatches(Grid(), clips, 40, seed=1)
    seen = set()
    for step in range(60):
        batch = batches(step)
        chosen = [clips[int(name[5:])] for name in batch["clips"]]
        assert len({clip.num_frames for clip in chosen}) == 1 and len(set(batch["clips"])) == len(chosen)
        assert len(chosen) == {10: 4, 20: 2}[chosen[0].num_frames]
        assert torch.equal(batch["target"][:, 0], torch.tensor([clip.start for clip in chosen]))
        seen |= set(batch["clips"])
    assert seen == {clip.id for clip in clips} - {"clip-5"}  # longer than a batch
    again, other = WholeClipBatches(Grid(), clips, 40, seed=1), WholeClipBatches(Grid(), clips, 40, 1, process_index=1)
    assert again(7)["clips"] == batches(7)["clips"]
    assert any(other(step)["clips"] != batches(step)["clips"] for step in range(5))
    assert all(
        other(step)["target"].shape == batches(step)["target"].shape for step in range(20)
    )  # processes have batches of equal shape
    with pytest.raises(ValueError, match="`frames_per_batch` must hold at least one whole clip; .* 10 frames, got 9"):
        WholeClipBatches(Grid(), clips, 9, seed=1)


def test_loss_decreases_if_codes_contain_the_text(tokenizer):
    texts = {"one": "Ab, ba!", "two": "bb aa"}
    torch.manual_seed(0)
    loss = TextLoss(4, tokenizer, texts, hidden_size=32)
    assert [len(loss.targets[name]) for name in texts] == [4, 4]  # without spaces and punctuation
    latents = torch.nn.Parameter(torch.randn(2, 12, 4))
    optimizer = torch.optim.Adam([latents, *loss.parameters()], lr=0.02)
    values = []
    for _ in range(150):
        value = loss(latents, ["one", "two"])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert latents.grad.abs().sum() > 0
    assert values[-1] < 0.1 * values[0]
    assert loss(latents, ["two", "one"]).item() > 10 * values[-1]
    assert loss(latents[:, :2], ["one", "two"]).item() == 0  # four tokens do not fit into two frames


def test_texts_without_spoken_tokens(tokenizer):
    with pytest.raises(ValueError, match="clip 'x' has no text to learn: '...'"):
        TextLoss(4, tokenizer, {"x": "..."})


def test_training_with_text(tokenizer, tmp_path):
    """First the encoder is trained alone, then all parts. A run that is killed in between has the same result."""
    recordings = save_recordings(tmp_path / "recordings")
    options = {"text_weight": 1.0, "text_tokenizer": tokenizer, "frames_per_batch": 64, "learning_rate": 1e-2}
    options |= {"text_only_steps": 20, "max_steps": 40, "logging_steps": 5, "save_steps": 20}
    log = train(recordings, tmp_path / "out", **options)
    texts = [line["text"] for line in log]
    assert texts[3] < 0.8 * texts[0] and texts[-1] < texts[4]
    assert all(("mel" in line) == ("codes_used" in line) == (line["step"] > 20) for line in log)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert not any("text" in name or name.startswith("layers") for name in weights)
    before, after = (load_file(tmp_path / "out" / f"checkpoint-{step}" / "model.safetensors") for step in (20, 40))
    fresh = new_codec().model.state_dict()
    changed = {name.split(".")[0] for name in fresh if not torch.equal(before[name], fresh[name])}
    assert changed == {"semantic_encoder", "semantic_adapter", "fc_encoder"}
    assert not torch.equal(before["acoustic_decoder.fc.weight"], after["acoustic_decoder.fc.weight"])
    shutil.copytree(tmp_path / "out", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "checkpoint-40")
    (tmp_path / "killed" / "model.safetensors").unlink()
    train(recordings, tmp_path / "killed", **options, resume=True)
    resumed = load_file(tmp_path / "killed" / "model.safetensors")
    assert all(torch.equal(resumed[name], weights[name]) for name in weights)


def test_errors(tokenizer, tmp_path, capsys):
    recordings = save_recordings(tmp_path / "recordings")
    with pytest.raises(SystemExit):
        train(recordings, tmp_path / "out", text_weight=1.0)
    assert "set both or neither of `text_weight` (above 0) and `text_tokenizer`" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train(recordings, tmp_path / "out", text_only_steps=2)
    assert "`text_only_steps` must be from 0 to below `max_steps`" in capsys.readouterr().err
    train(recordings, tmp_path / "out", max_steps=1)
    frozen = {"model": tmp_path / "out", "freeze_encoder": True, "text_weight": 1.0, "text_tokenizer": tokenizer}
    with pytest.raises(ValueError, match="`text_weight` trains the encoder"):
        train(recordings, tmp_path / "frozen", **frozen)
    rows = list(csv.reader(open(recordings / "metadata.csv")))
    rows[1][2] = "!?"
    csv.writer(open(recordings / "metadata.csv", "w", newline="")).writerows(rows)
    with pytest.raises(ValueError, match="clip 'clip-0' has no text to learn"):
        train(recordings, tmp_path / "silent", text_weight=1.0, text_tokenizer=tokenizer, frames_per_batch=64)
