"""Packaged checkpoints are stored in float16, load as float32 and have nearly the same weights."""

import pytest
import torch
from safetensors import safe_open

from t5gemma_tts.loading import load_codec, load_model, load_processor
from training.nano.package import main


@pytest.fixture(scope="module")
def packed(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "nano"
    assert main([str(folder), "--model", str(tiny_checkpoint), "--codec", str(tiny_checkpoint / "codec")]) == 0
    return folder


def test_stored_in_half_precision_and_loaded_in_full(packed, tiny_checkpoint):
    for path in (packed / "model.safetensors", packed / "codec" / "model.safetensors"):
        with safe_open(path, "pt") as file:
            dtypes = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        assert dtypes == {"F16"}
        original = tiny_checkpoint / path.relative_to(packed)
        assert path.stat().st_size < 0.6 * original.stat().st_size
    model, ours = load_model(str(packed), device="cpu"), load_model(str(tiny_checkpoint), device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    for one, other in zip(model.parameters(), ours.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-3, rtol=1e-3)
    codec = load_codec(str(packed), device="cpu")
    assert codec.dtype == torch.float32
    assert codec.model.semantic_encoder.dtype == torch.float32


def test_mean_of_two_checkpoints(packed, tiny_checkpoint, tmp_path):
    other = load_model(str(tiny_checkpoint), device="cpu")
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(1.0)
    other.save_pretrained(tmp_path / "other")
    options = ["--model", str(tiny_checkpoint), "--codec", str(tiny_checkpoint / "codec")]
    assert main([str(tmp_path / "mean"), *options, "--average-with", str(tmp_path / "other")]) == 0
    model, ours = load_model(str(tmp_path / "mean"), device="cpu"), load_model(str(packed), device="cpu")
    for one, other_weight in zip(model.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(one, other_weight + 0.5, atol=2e-3, rtol=2e-3)


def test_it_speaks(packed):
    model, processor = load_model(str(packed), device="cpu"), load_processor(str(packed), codec_device="cpu")
    torch.manual_seed(0)
    sequences = model.generate(**processor(text="Hello.", duration=0.5))
    (waveform,) = processor.batch_decode(sequences)
    assert len(waveform) and waveform.dtype == "float32"


def test_errors(packed, tiny_checkpoint, tmp_path, capsys):
    options = ["--model", str(tiny_checkpoint), "--codec", str(tiny_checkpoint / "codec")]
    assert main([str(packed), *options]) == 1
    assert "exists; name a new folder" in capsys.readouterr().err
    assert main([str(tmp_path / "new"), *options[:3], str(tmp_path)]) == 1
    assert "no codec found" in capsys.readouterr().err and not (tmp_path / "new").exists()
