"""Codec training: what it learns, what it leaves alone, what it writes, and what it refuses."""

import json
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from codec_runs import DISCRIMINATORS, new_codec, options, save_recordings, tone, train
from safetensors.torch import load_file
from transformers.models.xcodec2.modeling_xcodec2 import Xcodec2Encoder

from t5gemma_tts import T5GemmaTTSCodecConfig, T5GemmaTTSCodecModel
from t5gemma_tts.xcodec2_t5gemma_tts import XCodec2
from training.codec_training.arguments import CodecDataArguments
from training.codec_training.cache import ClipCache, build_cache
from training.codec_training.data import list_recordings
from training.codec_training.discriminators import Discriminators, discriminator_loss, feature_matching_loss
from training.codec_training.ema import AveragedModel
from training.codec_training.loop import learning_rate_factor
from training.codec_training.losses import SpectralLoss
from training.codec_training.model import CodecForTraining, initialize
from training.codec_training.segments import SegmentBatches
from training.codec_training.spread import SpreadLoss
from training.codec_training.statistics import perplexity
from training.codec_training.waveform_encoder import encode_waveform
from training.train_codec import main


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return save_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def trained(recordings, tmp_path_factory):
    """A run of 40 steps: its folder, its log."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    log = train(recordings, folder, max_steps=40, logging_steps=10, eval_steps=40, save_steps=40)
    return folder, log


def cache_of(folder, data, codec, min_frames=16):
    return build_cache(folder, list_recordings(CodecDataArguments(data=[str(data)])), codec, min_frames)


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


def test_frozen_encoder_trains_on_the_codes_of_whole_clips(trained, recordings, tmp_path):
    codec = XCodec2.from_pretrained(trained[0])
    cache = cache_of(tmp_path, recordings, codec)
    cache.load_codes(codec)
    clip = cache.clips[1]
    segment = cache.segment(clip.start, clip.num_frames)
    audio, rate = soundfile.read(recordings / "1.wav", dtype="float32")
    np.testing.assert_array_equal(segment["codes"], codec.encode(audio, rate))
    np.testing.assert_array_equal(segment["target"][: len(audio)], audio)
    assert not segment["target"][len(audio) :].any()


@pytest.mark.parametrize("kind", ["least_squares", "hinge"])
def test_discriminators_train_and_are_listened_to(recordings, tmp_path, kind):
    log = train(recordings, tmp_path / kind, logging_steps=1, adversarial_loss=kind, **DISCRIMINATORS)
    assert "discriminator" not in log[0] and "adversarial" not in log[1]
    assert all(np.isfinite([line["discriminator"], line["adversarial"]]).all() for line in log[2:])
    weights = [load_file(tmp_path / kind / f"checkpoint-{step}" / "discriminators.safetensors") for step in (3, 6)]
    assert all(not torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_discriminators_hear_a_part(recordings, tmp_path):
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
    latents, codes, projected = codec.encode(audio, features)
    assert codes.shape == (1, 20) and codes.dtype in (torch.int32, torch.int64)
    assert torch.equal(latents, codec.model.quantizer.from_codes(codes[..., None]))
    codec.decode(latents).square().sum().backward()
    for part in ("semantic_encoder", "semantic_adapter", "acoustic_encoder", "fc_encoder", "quantizer"):
        gradients = [p.grad for p in getattr(codec.model, part).parameters() if p.grad is not None]
        assert gradients and max(float(g.abs().max()) for g in gradients) > 0, part


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


def test_features_and_codes_are_those_of_encode(recordings, tmp_path):
    codec = new_codec()
    cache = cache_of(tmp_path, recordings, codec)
    clip = cache.split("validation")[0]
    segment = cache.segment(clip.start, clip.num_frames)
    audio, rate = soundfile.read(recordings / "5.wav", dtype="float32")
    expected = codec.encode(audio, rate)
    assert clip.num_frames == len(expected)
    batch = {name: torch.from_numpy(array)[None] for name, array in segment.items()}
    with torch.no_grad():
        _, codes, _ = CodecForTraining(codec.model).encode(batch["audio"], batch["features"])
    # features are kept in half precision
    assert float((codes[0] == expected).float().mean()) > 0.9


def test_cache_is_made_once_and_follows_its_recordings(recordings, tmp_path):
    codec = new_codec()
    first = cache_of(tmp_path, recordings, codec)
    written = (first.folder / "audio.int16").stat().st_mtime_ns
    again = cache_of(tmp_path, recordings, codec)
    assert again.folder == first.folder and (again.folder / "audio.int16").stat().st_mtime_ns == written
    other = cache_of(tmp_path, save_recordings(tmp_path / "other", count=3), codec)
    assert other.folder != first.folder and len(other.clips) == 3


def test_other_rates_are_resampled(tmp_path):
    codec = new_codec()
    data = save_recordings(tmp_path / "data", count=2, sampling_rate=24000)
    cache = cache_of(tmp_path / "cache", data, codec)
    clip = cache.clips[0]
    assert clip.num_samples == pytest.approx(0.8 * 16000, abs=2)
    expected = tone(clip.num_samples, 0)
    error = cache.waveform(clip) - expected
    assert np.square(error[500:-500]).mean() < 1e-3 * np.square(expected).mean()


def test_batches_depend_on_seed_step_and_process_alone(recordings, tmp_path):
    cache = cache_of(tmp_path, recordings, new_codec())
    clips = cache.split("train")
    one = SegmentBatches(cache, clips, [8, 16], 32, seed=5)
    other = SegmentBatches(cache, clips, [8, 16], 32, seed=5)
    [one(step) for step in range(3)]
    for step in (7, 3):
        assert torch.equal(one(step)["audio"], other(step)["audio"])
    second = SegmentBatches(cache, clips, [8, 16], 32, seed=5, process_index=1)
    shapes = [(one(step)["audio"].shape, second(step)["audio"].shape) for step in range(8)]
    assert all(ours == theirs for ours, theirs in shapes) and len(set(shapes)) == 2
    assert not torch.equal(one(0)["audio"], second(0)["audio"])


def test_segments_stay_inside_their_clips(recordings, tmp_path):
    cache = cache_of(tmp_path, recordings, new_codec())
    clips = cache.split("train")
    longest = max(clip.num_frames for clip in clips)
    batches = SegmentBatches(cache, clips, [longest], 4 * longest, seed=0)
    clip = next(clip for clip in clips if clip.num_frames == longest)
    expected = torch.from_numpy(cache.segment(clip.start, longest)["target"])
    assert all(torch.equal(row, expected) for row in batches(0)["target"])


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


def test_refusals_of_recordings(tmp_path, recordings):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(options(tmp_path / "nowhere", tmp_path / "out"))
    data = save_recordings(tmp_path / "nan", count=3)
    bad = tone(16000, 0)
    bad[77] = np.nan
    soundfile.write(data / "1.wav", bad, 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"1\.wav.*NaN"):
        main(options(data, tmp_path / "out"))
    assert not list((tmp_path / "out" / "cache").glob("*"))
    short = save_recordings(tmp_path / "short", count=3, seconds=0.1)
    with pytest.raises(ValueError, match=r"none of the 3 clips is long enough.*16"):
        main(options(short, tmp_path / "out"))


def test_short_clips_are_left_out_with_a_warning(tmp_path, caplog):
    data = save_recordings(tmp_path / "data", count=4)
    soundfile.write(data / "2.wav", tone(1000, 0), 16000)
    cache = cache_of(tmp_path / "cache", data, new_codec())
    assert [clip.id for clip in cache.clips] == ["clip-0", "clip-1", "clip-3"]
    assert "2.wav" in caplog.text


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"learning_rat": 1}, "learning_rat"),
        ({"model": "somewhere", "hidden_size": 64}, "hidden_size"),
        ({"freeze_encoder": True}, "freeze_encoder"),
        ({"hidden_size": 48}, "48"),
        ({"segment_frames": [64]}, "segment_frames"),
        ({"mixed_precision": "fp16"}, "mixed_precision|invalid choice"),
        ({"validation_count": 2}, "validation_count"),
        ({"model": "nowhere/at-all"}, "nowhere"),
    ],
)
def test_refusals_of_options(tmp_path, recordings, changes, message, capsys):
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
    with pytest.raises(ValueError, match="max_step"):
        main([str(recipe), "--output_dir", str(tmp_path / "other")])


@pytest.mark.parametrize("levels", [[4] * 3, [3, 5, 4]])
def test_spread_is_least_where_all_levels_are_used(levels):
    quantizer = new_codec(quantization_levels=levels).model.quantizer
    loss = SpreadLoss(quantizer)
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
