"""Audio files and waveforms."""

import sys

import numpy as np
import pytest
import soundfile
import torch

from t5gemma_tts.model.audio import check_waveform, resample, save_audio, to_mono
from t5gemma_tts.model.audio_reading import load_audio


def tone(num_samples: int = 8000, sampling_rate: int = 16000, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(num_samples) / sampling_rate)).astype(np.float32)


@pytest.mark.parametrize("suffix, tolerance", [(".wav", 2**-15), (".WAV", 2**-15), (".flac", 2**-15), (".ogg", 0.02)])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_save_and_load(tmp_path, suffix, tolerance, num_channels):
    audio = tone() if num_channels == 1 else np.stack([tone(), tone(frequency=300.0)], axis=1)
    path = tmp_path / f"audio{suffix}"
    save_audio(audio, path, 16000)
    loaded, sampling_rate = load_audio(path)
    assert (loaded.dtype, loaded.shape, sampling_rate) == (np.float32, audio.shape, 16000)
    np.testing.assert_allclose(loaded, audio, rtol=0, atol=tolerance)


def test_long_ogg(tmp_path):
    save_audio(tone(16000 * 600), tmp_path / "audio.ogg", 16000)
    loaded, _ = load_audio(tmp_path / "audio.ogg")
    assert len(loaded) == 16000 * 600
    np.testing.assert_allclose(loaded[-20000:-10000], tone(16000 * 600)[-20000:-10000], rtol=0, atol=0.02)


def test_files_have_16_bits(tmp_path):
    for suffix in (".wav", ".flac"):
        save_audio(torch.from_numpy(tone()), str(tmp_path / f"audio{suffix}"), 44100)
        info = soundfile.info(tmp_path / f"audio{suffix}")
        assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 44100, 1)


def test_existing_file_is_kept(tmp_path):
    path = tmp_path / "audio.wav"
    save_audio(tone(), path, 16000)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="audio.wav.*overwrite=True"):
        save_audio(tone(100), path, 16000)
    assert path.read_bytes() == before
    save_audio(tone(100), path, 16000, overwrite=True)
    assert len(load_audio(path)[0]) == 100


def test_peaks_are_clipped_with_a_warning(tmp_path):
    audio = np.array([0.0, 1.7, 0.25, -3.0, 1.0, -1.0], dtype=np.float32)
    with pytest.warns(UserWarning, match="peaks at 3.000.*clipped"):
        save_audio(audio, tmp_path / "audio.wav", 16000)
    np.testing.assert_allclose(load_audio(tmp_path / "audio.wav")[0], audio.clip(-1, 1), rtol=0, atol=2**-14)


@pytest.mark.filterwarnings("error")
def test_full_scale_is_written_without_a_warning(tmp_path):
    save_audio(np.array([1.0, -1.0], dtype=np.float32), tmp_path / "audio.wav", 16000)
    np.testing.assert_allclose(load_audio(tmp_path / "audio.wav")[0], [1, -1], rtol=0, atol=2**-14)


@pytest.mark.parametrize(
    "audio, name, sampling_rate, message",
    [
        (np.array([0.0, np.nan]), "audio.wav", 16000, "`audio` has NaN or infinite"),
        (np.zeros(0, np.float32), "audio.wav", 16000, "`audio` is empty"),
        (np.zeros(9, np.int16), "audio.wav", 16000, "`audio` must hold floats in .* got int16"),
        (np.zeros((2, 3, 4)), "audio.wav", 16000, r"`audio` must have shape .* got \(2, 3, 4\)"),
        (np.zeros((2, 300)), "audio.wav", 16000, "more channels than samples"),
        (tone(), "audio.mp4", 16000, "`path` must end in one of .wav, .flac, .ogg, got .*audio.mp4"),
        (tone(), "audio", 16000, "`path` must end in one of"),
        (tone(), "audio.wav", 0, "`sampling_rate` must be above 0 Hz, got 0"),
        (tone(), "audio.wav", 22050.5, "whole number of Hz, got 22050.5"),
    ],
)
def test_what_is_not_written(tmp_path, audio, name, sampling_rate, message):
    with pytest.raises(ValueError, match=message):
        save_audio(audio, tmp_path / name, sampling_rate)
    assert not list(tmp_path.iterdir())


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of .*nowhere.* does not exist"):
        save_audio(tone(), tmp_path / "nowhere" / "audio.wav", 16000)


def test_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no audio file at .*none.wav"):
        load_audio(tmp_path / "none.wav")
    with pytest.raises(FileNotFoundError, match="no audio file at"):
        load_audio(tmp_path)
    (tmp_path / "text.wav").write_text("these are not samples")
    with pytest.raises(ValueError, match=r"text\.wav' cannot be decoded: soundfile says: .*; PyAV says: "):
        load_audio(tmp_path / "text.wav")
    (tmp_path / "zero.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"zero\.wav' cannot be decoded"):
        load_audio(tmp_path / "zero.wav")
    soundfile.write(tmp_path / "silent.wav", np.zeros(0, np.float32), 16000)
    with pytest.raises(ValueError, match=r"silent\.wav.* holds no audio samples"):
        load_audio(tmp_path / "silent.wav")


def test_missing_libraries(tmp_path, monkeypatch):
    for name in ("soundfile", "soxr"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "audio.wav").write_bytes(b"RIFF")
    with pytest.raises(ImportError, match="pip install soundfile"):
        load_audio(tmp_path / "audio.wav")
    with pytest.raises(ImportError, match="pip install soundfile"):
        save_audio(tone(), tmp_path / "new.wav", 16000)
    with pytest.raises(ImportError, match="from 8000 to 16000 Hz needs `pip install soxr`"):
        resample(tone(), 8000, 16000)


def test_resample_keeps_pitch_and_duration():
    audio = tone(24000, sampling_rate=48000)
    resampled = resample(audio, 48000, 16000)
    assert resampled.shape == (8000,) and resampled.dtype == np.float32
    np.testing.assert_allclose(resampled[500:-500], tone(8000)[500:-500], rtol=0, atol=1e-3)
    stereo = resample(np.stack([audio, audio], axis=1), 48000, 16000)
    np.testing.assert_allclose(stereo, np.stack([resampled, resampled], axis=1), rtol=0, atol=1e-6)
    assert resample(audio, 16000, 16000) is audio


def test_check_waveform_and_to_mono():
    stereo = np.stack([tone(), -tone(), tone()], axis=1)
    np.testing.assert_allclose(to_mono(stereo), tone() / 3, rtol=0, atol=1e-7)
    for waveform in (tone().astype(np.float64), torch.from_numpy(tone()), tone().tolist()):
        checked = check_waveform(waveform, 16000)
        assert checked.dtype == np.float32
        np.testing.assert_array_equal(checked, tone())
    assert check_waveform(torch.zeros(9, dtype=torch.bfloat16, requires_grad=True), 16000).shape == (9,)
