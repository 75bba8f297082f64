"""Feature loss of codec training: mel features with gradients, the loss, and training with it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from codec_runs import new_codec, save_recordings, tone, train

from t5gemma_tts.codec_training.cache import clip_features
from t5gemma_tts.codec_training.feature_loss import FeatureLoss, MelFeatures


def test_features_equal_the_feature_extractor():
    codec = new_codec()
    waveforms = np.stack([tone(9600, 0), tone(9600, 1)])
    # noise, because empty bands would compare rounding errors
    waveforms += np.random.default_rng(0).normal(0, 0.01, waveforms.shape).astype(np.float32)
    features = MelFeatures(codec)(torch.from_numpy(waveforms))
    expected = np.stack([clip_features(codec, waveform) for waveform in waveforms])
    assert features.shape == expected.shape == (2, 30, 160)
    np.testing.assert_allclose(features.numpy(), expected, atol=2e-3)


def test_loss_grows_with_noise_and_its_gradient_reduces_it():
    codec = new_codec()
    loss = FeatureLoss(codec)
    target = torch.from_numpy(np.stack([tone(9600, 0), tone(9600, 1)]))
    assert loss(target, target).item() == pytest.approx(0, abs=1e-6)
    noise = 0.01 * torch.randn_like(target)
    near, far = loss(target + noise / 10, target).item(), loss(target + noise, target).item()
    assert 0 < near < far
    assert loss(target.flip(0), target).item() > 0.1
    audio = (target + noise).requires_grad_()
    value = loss(audio, target)
    value.backward()
    step = audio.detach() - 0.02 * audio.grad / audio.grad.norm()
    assert loss(step, target).item() < value.item()
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_very_quiet_sound_has_little_weight():
    codec = new_codec()
    target = torch.from_numpy(tone(9600, 0))[None]
    target[:, 4000:] = 0
    noise = 1e-5 * torch.randn_like(target)
    without_floor, with_floor = MelFeatures(codec), FeatureLoss(codec).features
    change = [(features(target + noise) - features(target)).abs().mean() for features in (without_floor, with_floor)]
    assert change[1] < 0.1 * change[0]


def test_training_the_decoder(tmp_path, capsys):
    recordings = save_recordings(tmp_path / "data")
    train(recordings, tmp_path / "codec")
    frozen = {"model": tmp_path / "codec", "freeze_encoder": True, "max_steps": 40, "logging_steps": 10}
    frozen |= {"whole_clips": True, "frames_per_batch": 64}
    lines = train(recordings, tmp_path / "out", listening_weight=3.0, **frozen)
    losses = [line["listening"] for line in lines]
    assert losses[-1] < 0.9 * losses[0]
    with pytest.raises(ValueError, match="`frames_per_batch` must hold at least one whole clip"):
        train(recordings, tmp_path / "other", **(frozen | {"frames_per_batch": 32}))
    with pytest.raises(ValueError, match="`listening_weight` needs `model`"):
        train(recordings, tmp_path / "other", listening_weight=1.0)
    with pytest.raises(SystemExit):
        train(recordings, tmp_path / "other", listening_weight=-1.0, **frozen)
    assert "`listening_weight` must be at least 0, got -1.0" in capsys.readouterr().err


def test_error_for_another_output_rate():
    codec = SimpleNamespace(sampling_rate=44100, input_sampling_rate=16000)
    with pytest.raises(
        ValueError, match="`listening_weight` needs a codec that decodes to its input rate, 16000 Hz.*44100"
    ):
        FeatureLoss(codec)
