"""XCodec2: comparison with the original implementation, and unit tests."""

from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from codec_sets import GOLDEN_CODEC_SETS, clip, first_set, load_codec, read_config
from golden import GOLDEN_DIR
from safetensors.torch import load_file
from transformers import Xcodec2Model

from t5gemma_tts import T5GemmaTTSCodecConfig
from t5gemma_tts.model.xcodec2 import T5GemmaTTSCodecHead, T5GemmaTTSCodecModel, XCodec2


# largest absolute differences that the recording's README suggests
ENCODER_ATOL = {
    "input_features": 5e-4,
    "semantic_hidden_16": 2e-3,
    "semantic_encoded": 2e-3,
    "vq_emb": 5e-3,
    "fc_prior_out": 1e-3,
    "fsq_in": 1e-3,
    "fsq_bound1": 1e-3,
    "fsq_bound2": 1e-3,
    "vq_out": 2e-5,
}


def golden_cases(kind: str):
    """Returns (folder, file prefix, case) of each recorded case; variants have a prefix such as `variants/k8.`"""
    for folder in GOLDEN_CODEC_SETS:
        prefixes = [
            "",
            *(f"variants/{path.name[: -len('config.json')]}" for path in folder.glob("variants/*.config.json")),
        ]
        for prefix in sorted(prefixes):
            path = folder / f"{prefix}{kind}_cases.safetensors"
            if path.is_file():
                for case in sorted({key.split("/")[0] for key in load_file(path)}):
                    yield pytest.param(folder, prefix, case, id=f"{folder.name}-{prefix.replace('/', '-')}{case}")


def golden_tensors(folder: Path, prefix: str, kind: str, case: str) -> dict[str, torch.Tensor]:
    stored = load_file(folder / f"{prefix}{kind}_cases.safetensors")
    return {key.split("/", 1)[1]: value for key, value in stored.items() if key.startswith(f"{case}/")}


@pytest.fixture
def record():
    """Returns `record(module, name, pick, before=False)`, which stores a module's input or output in a dictionary."""
    kept, handles = {}, []

    def hook(module, name, pick=lambda value: value, before=False):
        def keep(_, inputs, output=None):
            kept[name] = pick(inputs[0] if before else output).clone()

        handles.append(module.register_forward_pre_hook(keep) if before else module.register_forward_hook(keep))
        return kept

    yield hook
    for handle in handles:
        handle.remove()


def assert_recorded(kept: dict, expected: dict, atol: dict):
    compared = kept.keys() & expected.keys()
    assert compared
    for name in sorted(compared):
        torch.testing.assert_close(
            kept[name], expected[name], rtol=0, atol=atol[name], msg=lambda m, n=name: f"{n}: {m}"
        )


def audio_atol(codec: XCodec2) -> float:
    return 5e-5 if getattr(codec.model.config, "upsample_factors", ()) else 2e-5


@pytest.mark.golden
def test_golden_sets_exist():
    assert GOLDEN_CODEC_SETS, f"no codec recordings in {GOLDEN_DIR}"
    assert list(golden_cases("encode")) and list(golden_cases("decode"))


@pytest.mark.golden
@pytest.mark.parametrize("folder, prefix, case", list(golden_cases("encode")))
def test_golden_encode(record, folder, prefix, case):
    codec = load_codec(folder, prefix)
    expected = golden_tensors(folder, prefix, "encode", case)
    model = codec.model

    def channels_last(value):
        return value.transpose(1, 2)

    record(model.semantic_encoder, "input_features", before=True)
    record(model.semantic_encoder, "semantic_hidden_16", lambda output: output.last_hidden_state)
    record(model.semantic_adapter, "semantic_encoded", channels_last)
    record(model.acoustic_encoder, "vq_emb", channels_last)
    record(model.fc_encoder, "fc_prior_out")
    record(model.quantizer.project_in, "fsq_in")
    record(model.quantizer.quantizer, "fsq_bound1", before=True)
    record(model.quantizer.quantizer, "fsq_bound2", model.quantizer.quantizer.bound, before=True)
    kept = record(model.quantizer, "vq_out", lambda output: output[0])

    waveform = expected["wav"][0]
    codes = codec.encode(waveform, codec.input_sampling_rate)
    assert codes.dtype == torch.int64 and codes.device.type == "cpu"
    assert len(codes) == len(waveform) // codec.hop_length + 1
    assert codes.tolist() == expected["codes"][0, 0].tolist()
    assert_recorded(kept, expected, ENCODER_ATOL)
    np.testing.assert_allclose(
        codec.decode(codes), expected["reconstruction"][0, 0].numpy(), rtol=0, atol=audio_atol(codec)
    )


@pytest.mark.golden
@pytest.mark.parametrize("folder, prefix, case", list(golden_cases("decode")))
def test_golden_decode(record, folder, prefix, case):
    codec = load_codec(folder, prefix)
    expected = golden_tensors(folder, prefix, "decode", case)
    decoder = codec.model.acoustic_decoder
    atol = audio_atol(codec)

    record(codec.model.quantizer.project_out, "vq_post_emb")
    record(decoder.fc, "fc_post_a_out")
    record(decoder.norm, "backbone_out")
    kept = record(decoder.head.linear, "x_pred", lambda output: output.transpose(1, 2))
    if hasattr(decoder.head, "upsampler"):
        record(decoder.head.upsampler, "upsampler_out")

    codes = list(expected["codes"][:, 0])
    audio = codec.decode_batch(codes, batch_size=len(codes))
    assert all(waveform.dtype == np.float32 for waveform in audio)
    np.testing.assert_allclose(np.stack(audio), expected["audio"][:, 0].numpy(), rtol=0, atol=atol)
    assert_recorded(kept, expected, dict.fromkeys(kept, atol))


@pytest.fixture(params=[False, True], ids=["plain", "upsampled"])
def codec(request):
    return load_codec(first_set(upsampled=request.param))


def test_properties(plain, upsampled):
    assert type(plain.model) is Xcodec2Model and type(upsampled.model) is T5GemmaTTSCodecModel
    assert (plain.sampling_rate, plain.input_sampling_rate) == (16000, 16000)
    assert upsampled.sampling_rate == read_config(first_set(upsampled=True))["sample_rate"]
    for codec in (plain, upsampled):
        assert (codec.hop_length, codec.frame_rate, codec.codebook_size) == (320, 50.0, 65536)
        assert (codec.device.type, codec.dtype) == ("cpu", torch.float32)
        assert not codec.model.training
        assert codec.to("cpu") is codec


def test_invalid_widths(upsampled):
    config = T5GemmaTTSCodecConfig.from_dict({**upsampled.model.config.to_dict(), "quantization_dim": 99})
    with pytest.raises(ValueError, match="`quantization_dim` must be .* got 99"):
        T5GemmaTTSCodecModel(config)


def test_invalid_frame_size(plain):
    config = type(plain.model.config).from_dict(
        {**plain.model.config.to_dict(), "downsampling_ratios": [2, 2, 4, 4, 4]}
    )
    with pytest.raises(ValueError, match="`downsampling_ratios` must be 320, .* got 256"):
        XCodec2(Xcodec2Model(config))


@pytest.mark.parametrize("hop_length", [4, 7])
def test_head_overlaps_and_adds(hop_length):
    """Compares with a simple overlap-add; an odd hop crops one sample more on the right than on the left."""
    torch.manual_seed(0)
    config = T5GemmaTTSCodecConfig(
        hidden_size=64, num_attention_heads=4, num_key_value_heads=4, head_dim=16, decoder_hop_length=hop_length
    )
    head = T5GemmaTTSCodecHead(config)
    hidden_states = torch.randn(2, 9, 64)
    with torch.no_grad():
        audio = head(hidden_states).double()
        log_magnitude, phase = head.linear(hidden_states).double().chunk(2, dim=-1)
    n_fft, num_frames = 4 * hop_length, hidden_states.shape[1]
    window = torch.hann_window(n_fft, dtype=torch.float64)
    frames = torch.fft.irfft(log_magnitude.exp().clamp(max=100) * torch.exp(1j * phase), n_fft) * window
    total = torch.zeros(2, (num_frames - 1) * hop_length + n_fft, dtype=torch.float64)
    envelope = torch.zeros_like(total[0])
    for index in range(num_frames):
        start = index * hop_length
        total[:, start : start + n_fft] += frames[:, index]
        envelope[start : start + n_fft] += window**2
    left = 3 * hop_length // 2
    expected = (total / envelope.clamp(min=1e-11))[:, left : left + num_frames * hop_length]
    assert audio.shape == (2, 1, num_frames * hop_length)
    torch.testing.assert_close(audio[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_samples", [2, 319, 320, 321, 3200])
def test_number_of_frames(plain, num_samples):
    codes = plain.encode(clip(num_samples), 16000)
    assert len(codes) == num_samples // 320 + 1
    assert len(plain.decode(codes)) == 320 * len(codes)


def test_resampling_and_channels(plain):
    waveform = clip(9600)
    expected = plain.encode(soxr.resample(waveform, 48000, 16000, quality="VHQ"), 16000)
    assert len(expected) == 3200 // 320 + 1
    assert torch.equal(plain.encode(waveform, 48000), expected)
    assert torch.equal(plain.encode(torch.from_numpy(waveform), 48000), expected)
    left, right = clip(4000, seed=1), clip(4000, seed=2)
    mixed = plain.encode((left + right) / 2, 16000)
    assert torch.equal(plain.encode(np.stack([left, right], axis=1), 16000), mixed)
    assert not torch.equal(plain.encode(left, 16000), mixed)
    assert torch.equal(plain.encode(left[:, None], 16000), plain.encode(left.astype(np.float64), 16000))


def test_codes_do_not_depend_on_modes(codec):
    codes = codec.encode(clip(3000), 16000)
    audio = codec.decode(codes)
    codec.model.train()
    try:
        assert torch.equal(codec.encode(clip(3000), 16000), codes)
        codec.model.train()
        np.testing.assert_array_equal(codec.decode(codes), audio)
    finally:
        codec.model.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(codec.encode(clip(3000), 16000), codes)
        np.testing.assert_array_equal(codec.decode(codes), audio)
    assert not codes.is_inference()


def test_half_precision(codec, tmp_path):
    codec.save_pretrained(tmp_path)
    half = XCodec2.from_pretrained(tmp_path, device="cpu", dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and half.model.acoustic_decoder.head.window.dtype == torch.float32
    assert len(half.encode(clip(3000), 16000)) == 3000 // 320 + 1
    codes = codec.encode(clip(3000), 16000)
    audio = half.decode(codes)
    assert audio.dtype == np.float32
    assert np.corrcoef(audio, codec.decode(codes))[0, 1] > 0.99


def test_decode_batch(codec):
    generator = np.random.default_rng(0)
    clips = [generator.integers(0, codec.codebook_size, size=n) for n in (5, 9, 5, 1, 9, 5, 5)]
    single = [codec.decode(clip) for clip in clips]
    for batch_size in (1, 2, 16):
        batch = codec.decode_batch(clips, batch_size=batch_size)
        assert len(batch) == len(clips)
        for one, other in zip(batch, single, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    assert codec.decode_batch([]) == []
    assert len({audio.tobytes() for audio in single}) == len(clips)


def test_decode_takes_every_kind_of_integers(plain):
    codes = [0, 65535, 7]
    expected = plain.decode(codes)
    for kind in (torch.tensor(codes), np.array(codes, dtype=np.uint16), np.array(codes, dtype=np.int32)):
        np.testing.assert_array_equal(plain.decode(kind), expected)


GOOD = clip(1000)


@pytest.mark.parametrize(
    "waveform, sampling_rate, message",
    [
        (np.zeros(0, np.float32), 16000, "`waveform` is empty"),
        (np.zeros(1, np.float32), 16000, "at least 2 samples, got 1"),
        (np.zeros(4, np.float32), 192000, "at least 2 samples at 16000 Hz, got"),
        (np.array([0.0, np.nan, 0.0]), 16000, "NaN or infinite"),
        (np.array([0.0, np.inf, 0.0]), 16000, "NaN or infinite"),
        (GOOD, 0, "`sampling_rate` must be above 0 Hz, got 0"),
        (GOOD, -16000, "`sampling_rate` must be above 0 Hz, got -16000"),
        (GOOD, float("nan"), "`sampling_rate` must be above 0 Hz, got nan"),
        (GOOD, None, "`sampling_rate` must be a number of Hz, got None"),
        (GOOD, True, "`sampling_rate` must be a number of Hz, got True"),
        (GOOD[None, None], 16000, r"must have shape .* got \(1, 1, 1000\)"),
        (np.float32(0.5), 16000, r"must have shape .* got \(\)"),
        (np.stack([GOOD, GOOD]), 16000, "more channels than samples .* transpose"),
        ((GOOD * 32767).astype(np.int16), 16000, "must hold floats in .* got int16"),
        (torch.zeros(1000, dtype=torch.int16), 16000, "must hold floats in .* got int16"),
    ],
)
def test_bad_waveforms(plain, waveform, sampling_rate, message):
    with pytest.raises(ValueError, match=message):
        plain.encode(waveform, sampling_rate)


@pytest.mark.parametrize(
    "codes, message",
    [
        ([], "`codes` is empty"),
        ([3, 65536, 70000], "got 65536 at position 1"),
        ([3, 4, -1], "got -1 at position 2"),
        ([0.0, 1.0], "must be integers, got float64"),
        ([True, False], "must be integers, got bool"),
        (torch.zeros(1, 5, dtype=torch.long), r"must have shape .* got \(1, 5\)"),
    ],
)
def test_bad_codes(plain, codes, message):
    with pytest.raises(ValueError, match=message):
        plain.decode(codes)
    with pytest.raises(ValueError, match=message):
        plain.decode_batch([[1, 2], codes])


def test_bad_batch_size(plain):
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        plain.decode_batch([[1]], batch_size=0)
