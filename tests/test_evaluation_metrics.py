"""Metrics for `evaluate.load`, and their networks."""

from pathlib import Path

import evaluate
import numpy as np
import pytest
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

from t5gemma_tts.evaluation.similarity import cosine, load_speaker_encoder


METRICS = Path(__file__).parents[1] / "t5gemma_tts" / "evaluation" / "metrics"


@pytest.fixture(autouse=True, scope="module")
def modules_of_their_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        yield


def load(name):
    return evaluate.load(str(METRICS / name))


def test_error_rate():
    found = load("error_rate").compute(
        predictions=["the old fox", "今日わ"], references=["The old dog.", "今日は。"], languages=["en", "ja"]
    )
    assert found == {"cer": 3 / 14, "wer": 1 / 3}


def test_duration_error():
    metric = load("duration_error")
    found = metric.compute(predictions=[1.0, 2.2], references=[1.0, 2.0])
    assert found["duration_error"] == pytest.approx(0.05) and found["within_5_percent"] == 0.5
    with pytest.raises(ValueError, match="above 0"):
        metric.compute(predictions=[1.0], references=[0.0])


@pytest.fixture
def x_vectors(tmp_path):
    config = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(8, 8),
        conv_kernel=(8, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embedding_groups=2,
        num_conv_pos_embeddings=4,
        tdnn_dim=(8, 8),
        tdnn_kernel=(3, 1),
        tdnn_dilation=(1, 1),
        xvector_output_dim=12,
    )
    WavLMForXVector(config).save_pretrained(tmp_path / "wavlm")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "wavlm")
    return str(tmp_path / "wavlm")


def test_speaker_similarity_of_x_vectors(x_vectors):
    generator = np.random.default_rng(0)
    first, second = generator.normal(0, 0.1, (2, 9000)).astype(np.float32)
    embed = load_speaker_encoder(x_vectors)
    assert embed(first, 16000).shape == (12,) and np.linalg.norm(embed(first[:10], 22050)) == pytest.approx(1)
    found = load("speaker_similarity").compute(
        predictions=[first, first], references=[first, second], sampling_rate=16000, encoder=x_vectors
    )
    assert found["similarities"][0] == pytest.approx(1, abs=1e-5)
    assert found["similarities"][1] == pytest.approx(cosine(embed(first, 16000), embed(second, 16000)), abs=1e-5)
    with pytest.raises(OSError, match="no speaker encoder can be loaded from 'nobody/nothing'"):
        load_speaker_encoder("nobody/nothing")


def test_resemblyzer():
    pytest.importorskip("resemblyzer")
    embed = load_speaker_encoder()
    tone = (0.1 * np.sin(np.arange(24000) * 0.1)).astype(np.float32)
    assert embed(tone, 24000).shape == (256,) and not embed(np.zeros(16000, np.float32), 16000).any()


def test_dnsmos():
    pytest.importorskip("speechmos")
    pytest.importorskip("onnxruntime")
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    found = load("dnsmos_rating").compute(predictions=[noise], sampling_rate=16000)
    assert 1 <= found["overall"] < 2 and set(found) == {"overall", "signal", "background"}
