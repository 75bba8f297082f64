"""Codec training: trained and frozen parts, outputs, errors."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from codec_runs import DISCRIMINATORS, new_codec, options, save_recordings, tone, train
from safetensors.torch import load_file
from transformers.models.xcodec2.modeling_xcodec2 import Xcodec2Encoder

from t5gemma_tts import T5GemmaTTSCodecConfig, T5GemmaTTSCodecModel
from t5gemma_tts.codec_training.cache import ClipCache
from t5gemma_tts.codec_training.codebook_spread import CodebookSpreadLoss
from t5gemma_tts.codec_training.codebook_use import perplexity
from t5gemma_tts.codec_training.discriminators import Discriminators, discriminator_loss, feature_matching_loss
from t5gemma_tts.codec_training.ema import AveragedModel
from t5gemma_tts.codec_training.losses import SpectralLoss
from t5gemma_tts.codec_training.model import CodecForTraining, initialize, new_config
from t5gemma_tts.codec_training.trainer import learning_rate_factor
from t5gemma_tts.codec_training.waveform_encoder import encode_waveform
from t5gemma_tts.model.xcodec2 import XCodec2
from training.train_codec import main, parse_arguments


ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return save_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def trained(recordings, tmp_path_factory):
    """Returns the folder and the log of a run of 40 steps."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    log = train(recordings, folder, max_steps=40, logging_steps=10, eval_steps=40, save_steps=40)
    return folder, log


def test_loss_falls_and_logs_say_how(trained):
    _, log = trained
    lines = [line for line in log if "loss" in line]
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert lines[-1]["mel"] < 0.75 * lines[0]["mel"]
    assert max(line["codes_used"] for line in lines) > 4 and max(line["code_perplexity"] for line in lines) > 1.5
    (evaluation,) = [line for line in log if "eval_mel" in line]
    assert 0.2 < evaluation["eval_loudness"] < 5 and evaluation["eval_codes_used"] >= 1


def test_output_is_a_codec_of_averaged_weights(trained):
    folder, _ = trained
    codec = XCodec2.from_pretrained(folder)
    codes = codec.encode(tone(9000, seed=3), 16000)
    assert len(codes) == 9000 // 320 + 1
    audio = codec.decode(codes)
    assert audio.shape == (len(codes) * 320,) and np.isfinite(audio).all() and np.abs(audio).max() > 1e-3
    average = load_file(folder / "checkpoint-40" / "average.safetensors")
    for name, tensor in codec.model.state_dict().items():
        if name in average:
            assert torch.equal(tensor, average[name]), name
    recipe = json.loads((folder / "training_recipe.json").read_text())
    assert recipe["hidden_size"] == 32 and recipe["max_steps"] == 40


def test_frozen_encoder_keeps_codes_while_the_decoder_learns(trained, recordings, tmp_path):
    before, _ = trained
    train(recordings, tmp_path / "run", model=before, freeze_encoder=True, max_steps=4, **DISCRIMINATORS)
    old, new = XCodec2.from_pretrained(before), XCodec2.from_pretrained(tmp_path / "run")
    changed = set()
    for name, tensor in old.model.state_dict().items():
        if not torch.equal(tensor, new.model.state_dict()[name]):
            changed.add(name.split(".")[0])
    assert changed == {"acoustic_decoder"}
    waveform = tone(12000, seed=9)
    codes = old.encode(waveform, 16000)
    assert torch.equal(codes, new.encode(waveform, 16000))
    assert not np.allclose(old.decode(codes), new.decode(codes), atol=1e-4)


def test_frozen_decoder_keeps_what_codes_sound_like_while_the_encoder_learns(trained, recordings, tmp_path):
    before, _ = trained
    train(recordings, tmp_path / "run", model=before, freeze_decoder=True, freeze_waveform_encoder=True, max_steps=8)
    old, new = XCodec2.from_pretrained(before), XCodec2.from_pretrained(tmp_path / "run")
    weights = new.model.state_dict()
    changed = {name for name, tensor in old.model.state_dict().items() if not torch.equal(tensor, weights[name])}
    assert {name.split(".")[0] for name in changed} == {
        "semantic_encoder",
        "semantic_adapter",
        "fc_encoder",
        "quantizer",
    }
    assert not any("project_out" in name for name in changed) and any("project_in" in name for name in changed)
    codes = old.encode(tone(12000, seed=9), 16000)
    np.testing.assert_array_equal(old.decode(codes), new.decode(codes))


@pytest.mark.parametrize("freeze_encoder", [True, False])
def test_decoder_of_a_higher_rate(tmp_path, freeze_encoder):
    """The community variant: 16 kHz in, 44.1 kHz out, from 44.1 kHz recordings."""
    small = new_codec().model.config
    sizes = {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 64}
    upsampler = {"upsample_factors": [3, 3], "upsample_kernel_sizes": [9, 9], "decoder_hop_length": 98}
    config = T5GemmaTTSCodecConfig(
        **{**small.to_dict(), **sizes, **upsampler}, output_sampling_rate=44100, acoustic_hidden_size=32
    )
    torch.manual_seed(0)
    model = T5GemmaTTSCodecModel(config)
    initialize(model)
    XCodec2(model).save_pretrained(tmp_path / "codec")
    data = save_recordings(tmp_path / "data", count=3, sampling_rate=44100)
    run = {"max_steps": 12, "save_steps": 12, "logging_steps": 3, "eval_steps": 12}
    log = train(data, tmp_path / "run", model=tmp_path / "codec", freeze_encoder=freeze_encoder, **run)
    assert log[-2]["loss"] < log[0]["loss"] and np.isfinite(log[-1]["eval_mel"])
    codec = XCodec2.from_pretrained(tmp_path / "run")
    (cache,) = (ClipCache(path) for path in (tmp_path / "run" / "cache").iterdir())
    segment = cache.segment(0, 16)
    assert segment["target"].shape == (16 * 882,)
    expected, _ = soundfile.read(data / "0.wav", dtype="float32")
    np.testing.assert_array_equal(segment["target"], expected[: 16 * 882])
    assert len(codec.decode(np.arange(16))) == 16 * 882 and codec.sampling_rate == 44100
    before = XCodec2.from_pretrained(tmp_path / "codec").model.state_dict()
    same = {name for name, tensor in codec.model.state_dict().items() if torch.equal(tensor, before[name])}
    assert ("fc_encoder.weight" in same) == freeze_encoder and "acoustic_decoder.fc.weight" not in same


@pytest.mark.parametrize("kind", ["least_squares", "hinge"])
def test_discriminators_are_trained_and_affect_the_codec(recordings, tmp_path, kind):
    log = train(recordings, tmp_path / kind, logging_steps=1, adversarial_loss=kind, **DISCRIMINATORS)
    assert "discriminator" not in log[0] and "adversarial" not in log[1]
    assert all(np.isfinite([line["discriminator"], line["adversarial"]]).all() for line in log[2:])
    weights = [load_file(tmp_path / kind / f"checkpoint-{step}" / "discriminators.safetensors") for step in (3, 6)]
    assert all(not torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_discriminators_use_a_segment(recordings, tmp_path):
    parts = {"discriminator_segment_frames": 4, **DISCRIMINATORS}
    log = train(recordings, tmp_path / "parts", max_steps=3, logging_steps=1, **parts)
    assert np.isfinite(log[-1]["feature_matching"])


@pytest.mark.parametrize("periods, windows", [([2], []), ([], [256])])
def test_discriminators_can_learn_to_tell(periods, windows):
    torch.manual_seed(0)
    networks = Discriminators(periods, windows, channels=4)
    real, made = 5 * torch.from_numpy(tone(8000, 0)).view(2, 4000), torch.randn(2, 4000) / 2
    optimizer = torch.optim.Adam(networks.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = discriminator_loss(networks(real)[0], networks(made)[0], "least_squares")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 < losses[0]
    assert feature_matching_loss(networks(real)[1], networks(real)[1]) == 0
    assert feature_matching_loss(networks(real)[1], networks(made)[1]) > 0.1


def test_gradient_passes_through_the_codes_to_both_encoders():
    codec = CodecForTraining(new_codec().model).train()
    audio, features = torch.from_numpy(tone(6400, 0))[None], torch.randn(1, 20, 160)
    latents, codes, projected = codec.encode(audio, codec.semantic(features))
    assert codes.shape == (1, 20) and codes.dtype in (torch.int32, torch.int64)
    assert torch.equal(latents, codec.model.quantizer.from_codes(codes[..., None]))
    codec.decode(latents).square().sum().backward()
    for part in ("semantic_encoder", "semantic_adapter", "acoustic_encoder", "fc_encoder", "quantizer"):
        gradients = [p.grad for p in getattr(codec.model, part).parameters() if p.grad is not None]
        assert gradients and max(float(g.abs().max()) for g in gradients) > 0, part


def test_waveform_encoder_can_be_left_as_it_is():
    codec = CodecForTraining(new_codec().model, freeze_waveform_encoder=True).train()
    audio, features = torch.from_numpy(tone(6400, 0))[None], torch.randn(1, 20, 160)
    latents, _, _ = codec.encode(audio, codec.semantic(features))
    codec.decode(latents).square().sum().backward()
    assert all(parameter.grad is None for parameter in codec.model.acoustic_encoder.parameters())
    assert codec.model.fc_encoder.weight.grad[:, -1].abs().max() > 0  # what it says still counts


def test_new_model_is_not_silent():
    codec = new_codec()
    phase = codec.model.acoustic_decoder.head.linear.bias.chunk(2)[1]
    assert phase.min() < -2.5 and phase.max() > 2.5
    audio = codec.decode(np.arange(30) % codec.codebook_size)
    assert 1e-3 < np.abs(audio).max() < 1


@pytest.mark.parametrize("ratios, num_samples", [([2, 2, 4, 4, 5], 6400), ([8, 5, 4, 2], 10240), ([16, 20], 20800)])
def test_waveform_encoder_is_that_of_the_library(ratios, num_samples):
    config = new_codec(downsampling_ratios=ratios, encoder_hidden_size=2).model.config
    torch.manual_seed(1)
    encoder = Xcodec2Encoder(config)
    for name, parameter in encoder.named_parameters():
        if name.endswith(("alpha", "beta")):
            torch.nn.init.normal_(parameter, std=0.3)
    audio = torch.randn(2, 1, num_samples, requires_grad=True)
    results = []
    for encode in (encoder, lambda audio: encode_waveform(encoder, audio)):
        encoder.zero_grad()
        audio.grad = None
        output = encode(audio)
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
        results.append([output.detach(), audio.grad.clone(), *(p.grad.clone() for p in encoder.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_average_of_weights():
    model = torch.nn.Linear(2, 1, bias=False)
    model.weight.data[:] = 1.0
    average = AveragedModel(model, decay=0.5)
    weights = average.model.weight
    expected = 1.0
    for updates, value in enumerate((3.0, -1.0, 2.0, 7.0, 5.0, 4.0, 0.0, 1.0, 9.0)):
        model.weight.data[:] = value
        average.update(updates)
        decay = min(0.5, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay) * value
        torch.testing.assert_close(weights, torch.full_like(weights, expected))


def test_spectral_loss():
    loss = SpectralLoss(16000)
    sound = torch.from_numpy(np.stack([tone(8000, 0), tone(8000, 1)]))
    assert all(value == 0 for value in loss(sound, sound).values())
    quiet, off = loss(0.9 * sound, sound), loss(sound.flip(0), sound)
    assert 0 < quiet["mel"] < off["mel"] and quiet["stft"] == pytest.approx(0.1, abs=1e-3)
    silence = torch.zeros(2, 8000, requires_grad=True)
    loss(silence + 1e-4 * torch.randn(2, 8000), sound)["mel"].backward()
    assert silence.grad.abs().max() > 0
    assert torch.isfinite(loss(sound, torch.zeros_like(sound))["stft"])


def test_schedule_and_perplexity():
    factors = [learning_rate_factor(step, 100, 10, 0.1) for step in range(101)]
    assert factors[0] == 0.1 and factors[9] == factors[10] == 1.0 and factors[100] == pytest.approx(0.1)
    assert factors[55] == pytest.approx(0.55)
    assert perplexity(Counter({1: 5, 2: 5, 3: 5})) == pytest.approx(3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"learning_rat": 1}, "learning_rat"),
        ({"model": "somewhere", "hidden_size": 64}, "hidden_size"),
        ({"freeze_encoder": True}, "freeze_encoder"),
        ({"freeze_decoder": True}, "`freeze_decoder` needs `model`"),
        (
            {"model": "somewhere", "freeze_encoder": True, "freeze_decoder": True},
            "cannot be combined with `freeze_encoder`",
        ),
        ({"hidden_size": 48}, "48"),
        ({"segment_frames": [64]}, "segment_frames"),
        ({"mixed_precision": "fp16"}, "mixed_precision|invalid choice"),
        ({"validation_count": 2}, "validation_count"),
        ({"model": "nowhere/at-all"}, "nowhere"),
    ],
)
def test_invalid_options(tmp_path, recordings, changes, message, capsys):
    with pytest.raises((ValueError, OSError, SystemExit)) as refused:
        main(options(recordings, tmp_path / "out", **changes))
    said = f"{refused.value} {capsys.readouterr().err}"
    assert any(part in said for part in message.split("|")), said


def test_recipes(tmp_path, recordings):
    recipe = tmp_path / "recipe.yaml"
    lines = options(recordings, tmp_path / "out", max_steps=2)
    pairs, name = {}, None
    for item in lines:
        if item.startswith("--"):
            name = item[2:]
            pairs[name] = []
        else:
            pairs[name].append(item)
    text = "".join(f"{key}: {values[0] if len(values) == 1 else json.dumps(values)}\n" for key, values in pairs.items())
    recipe.write_text(text.replace('"', ""))
    main([str(recipe), "--max_steps", "1"])
    assert json.loads((tmp_path / "out" / "training_recipe.json").read_text())["max_steps"] == 1
    with pytest.raises(ValueError, match="already has"):
        main([str(recipe)])
    recipe.write_text(text.replace('"', "") + "max_step: 3\n")
    with pytest.raises(SystemExit):
        main([str(recipe), "--output_dir", str(tmp_path / "other")])


@pytest.mark.parametrize("levels", [[4] * 3, [3, 5, 4]])
def test_spread_is_least_where_all_levels_are_used(levels):
    quantizer = new_codec(quantization_levels=levels).model.quantizer
    loss = CodebookSpreadLoss(quantizer)
    torch.manual_seed(0)
    even = loss.mean + loss.deviation * torch.randn(1, 20000, 3)
    rounded = quantizer.quantizer.bound(quantizer.quantizer.bound(even)).round()[0]
    for dimension, count in enumerate(levels):
        shares = rounded[:, dimension].unique(return_counts=True)[1] / len(rounded)
        assert len(shares) == count and shares.min() > 0.75 / count
    assert loss(even) < 0.01
    twins = torch.cat([even[..., :1], even[..., :2]], dim=-1)
    for worse in (even + 1, 3 * even, even / 3, twins):
        assert loss(worse) > 0.2
    with pytest.raises(ValueError, match="2 levels"):
        new_codec(quantization_levels=[2, 4])


def test_figures_and_sounds_go_to_tensorboard(recordings, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(recordings, tmp_path / "run", max_steps=4, eval_steps=4, save_steps=4, report_to=["tensorboard"])
    (events,) = (tmp_path / "run").rglob("events.out.tfevents*")
    found = EventAccumulator(str(events)).Reload().Tags()
    assert {"mel", "codes_used", "eval_mel"} <= set(found["scalars"]) and found["audio"] == ["validation/0"]


@pytest.mark.parametrize("name", ["codec", "codec_decoder", "codec_2", "codec_encoder"])
def test_recipes_of_the_small_voice(name):
    model, data, training = parse_arguments([str(ROOT / "training" / "recipes" / "nano" / f"{name}.yaml")])
    assert data.data == ["data/nano/corpus"] and training.output_dir.startswith("runs/nano/codec")
    assert (training.listening_weight > 0) == (model.model is not None)
    if model.model is None:
        config = new_config(model)
        assert math.prod(config.quantization_levels) == 4096 and config.hop_length == 320
        assert training.text_tokenizer == "runs/nano/tokenizer"
