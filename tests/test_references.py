"""Reference audio in all forms, and speech recognition for missing transcripts."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)
from voices import TEXT_EOS, TEXT_SEPARATOR, codes_of, text_ids, voice

from t5gemma_tts.model import speech_inputs
from t5gemma_tts.model.reference import load_transcriber


def count_calls(monkeypatch, target, name: str) -> list:
    """Records the first argument of each call."""
    calls, original = [], getattr(target, name)

    def counting(*args, **kwargs):
        calls.append(args[0])
        return original(*args, **kwargs)

    monkeypatch.setattr(target, name, counting)
    return calls


def test_forms_of_a_reference_give_the_same_codes(processor, tmp_path):
    path = tmp_path / "voice.wav"
    soundfile.write(path, voice(), 16000, subtype="FLOAT")
    expected = processor.codec.encode(voice(), 16000).tolist()
    assert expected != processor.codec.encode(voice(seed=1), 16000).tolist()
    forms = {
        "path": {"reference_audio": path},
        "string": {"reference_audio": str(path)},
        "array": {"reference_audio": voice(), "sampling_rate": 16000},
        "double": {"reference_audio": voice().astype(np.float64), "sampling_rate": 16000},
        "tensor": {"reference_audio": torch.from_numpy(voice()), "sampling_rate": 16000},
        "dict": {"reference_audio": {"array": voice(), "sampling_rate": 16000}},
        "dict of tensor": {"reference_audio": {"array": torch.from_numpy(voice()), "sampling_rate": 16000, "x": 1}},
    }
    for name, form in forms.items():
        assert codes_of(processor("Text", reference_text="Ref", duration=1.0, **form)) == expected, name


def test_stereo_and_other_rates(processor):
    codec, wave = processor.codec, voice(22050, 44100)
    options = {"reference_text": "Ref", "duration": 1.0}
    at_44100 = codes_of(processor("Text", reference_audio=wave, sampling_rate=44100, **options))
    resampled = soxr.resample(wave, 44100, 16000, quality="VHQ")
    assert len(at_44100) == 8000 // 320 + 1
    assert at_44100 == codec.encode(resampled, 16000).tolist() != codec.encode(wave[:8000], 16000).tolist()

    left, right = voice(), voice(seed=1)
    stereo = np.stack([left, right], axis=1)
    mixed = codes_of(processor("Text", reference_audio=stereo, sampling_rate=16000, **options))
    assert mixed == codec.encode((left + right) / 2, 16000).tolist()
    assert mixed not in (codec.encode(left, 16000).tolist(), codec.encode(right, 16000).tolist())


def test_one_reference_for_all_is_encoded_once(processor, monkeypatch):
    calls = count_calls(monkeypatch, processor.codec, "encode")
    texts = ["One.", "Two.", "Three."]
    options = {"reference_audio": voice(), "sampling_rate": 16000, "duration": 1.0}
    inputs = processor(texts, reference_text="Ref", **options)
    assert len(calls) == 1
    assert codes_of(inputs, 0) == codes_of(inputs, 1) == codes_of(inputs, 2) != []
    heard = []
    processor(texts, asr=lambda waveform, sampling_rate: heard.append(1) or "Ref", **options)
    assert len(calls) == 2 and len(heard) == 1


def test_the_same_array_at_two_rates_is_encoded_twice(processor):
    wave = voice()
    inputs = processor(
        ["One.", "Two."], reference_audio=[wave, wave], reference_text="Ref", sampling_rate=[16000, 32000], duration=1.0
    )
    assert (len(codes_of(inputs, 0)), len(codes_of(inputs, 1))) == (26, 13)


def test_asr_function(processor):
    heard = []

    def transcribe(waveform, sampling_rate):
        heard.append((waveform, sampling_rate))
        return "Words"

    options = {"reference_audio": voice(8820, 44100), "sampling_rate": 44100, "duration": 1.0, "asr": transcribe}
    ids = processor("Text", **options)["input_ids"][0].tolist()
    assert ids == [*text_ids("Words"), TEXT_SEPARATOR, *text_ids("Text"), TEXT_EOS]
    ((waveform, sampling_rate),) = heard
    np.testing.assert_array_equal(waveform, voice(8820, 44100))
    assert sampling_rate == 44100
    ids = processor("Text", reference_text="Given", **options)["input_ids"][0].tolist()
    assert ids[:5] == text_ids("Given") and len(heard) == 1


@pytest.fixture(scope="module")
def asr_folder(tmp_path_factory) -> Path:
    """A speech recognition model with random weights, which returns random letters."""
    folder = tmp_path_factory.mktemp("asr")
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnop"]
    (folder / "vocab.json").write_text(json.dumps({symbol: number for number, symbol in enumerate(symbols)}))
    torch.manual_seed(0)
    recogniser = Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=len(symbols),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            conv_dim=(16, 16),
            conv_kernel=(20, 20),
            conv_stride=(20, 20),
            num_feat_extract_layers=2,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
            pad_token_id=0,
        )
    )
    with torch.no_grad():
        recogniser.lm_head.weight.normal_(0.0, 3.0)
        recogniser.lm_head.bias[:5] = -1e4
    recogniser.save_pretrained(folder)
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json")
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(sampling_rate=16000), tokenizer).save_pretrained(folder)
    return folder


def test_asr_model_in_a_folder(processor, asr_folder, monkeypatch):
    def expected_words(waveform):
        recogniser = Wav2Vec2ForCTC.from_pretrained(asr_folder)
        parts = Wav2Vec2Processor.from_pretrained(asr_folder)
        features = parts(waveform, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            return parts.batch_decode(recogniser(**features).logits.argmax(-1))[0]

    stereo = np.stack([voice(11025, 44100), voice(11025, 44100, seed=1)], axis=1)
    mono = soxr.resample(stereo.mean(axis=1), 44100, 16000, quality="VHQ")
    references = [(voice(), 16000), (stereo, 44100)]
    words = [expected_words(voice()), expected_words(mono)]
    assert words[0] != words[1] and all(len(set(word)) > 1 for word in words)

    calls = count_calls(monkeypatch, speech_inputs, "load_transcriber")
    for (waveform, sampling_rate), word in zip(references, words, strict=True):
        inputs = processor(
            "Text", reference_audio=waveform, sampling_rate=sampling_rate, asr=str(asr_folder), duration=1.0
        )
        ids = inputs["input_ids"][0].tolist()
        assert ids == [*text_ids(word), TEXT_SEPARATOR, *text_ids("Text"), TEXT_EOS]
    assert calls == [str(asr_folder)]  # loaded once


def test_asr_model_that_is_not_there(processor, tmp_path):
    def transcriber(*args):
        return ""

    assert load_transcriber(transcriber) is transcriber
    with pytest.raises(OSError, match="no speech recognition model can be loaded from `asr` .*none"):
        processor("Text", reference_audio=voice(), sampling_rate=16000, asr=str(tmp_path / "none"), duration=1.0)
