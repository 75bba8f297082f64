"""Speaker embeddings and their cosine similarity."""

from collections.abc import Callable

import numpy as np
import torch

from ..model.audio import resample


RESEMBLYZER = "resemblyzer"
# (float32 waveform (num_samples,), Hz) -> float32 unit vector (size,)
SpeakerEncoder = Callable[[np.ndarray, float], np.ndarray]


def load_speaker_encoder(name: str = RESEMBLYZER, device: str | torch.device = "cpu") -> SpeakerEncoder:
    """
    Loads a speaker encoder.

    Args:
        name (`str`, *optional*): `"resemblyzer"` (Wan et al., 2018), whose package includes the weights; or Hub name or
            folder of an x-vector model, e.g. "microsoft/wavlm-base-plus-sv".
        device (`str`, *optional*, defaults to `"cpu"`)

    Raises:
        ImportError: if resemblyzer is selected but missing.
        OSError: if the model cannot be loaded.
    """
    return _resemblyzer(device) if name == RESEMBLYZER else _x_vectors(name, device)


def _resemblyzer(device) -> SpeakerEncoder:
    try:
        from resemblyzer import VoiceEncoder, normalize_volume, sampling_rate, trim_long_silences
        from resemblyzer.hparams import audio_norm_target_dBFS
    except ImportError as error:
        raise ImportError(
            f'`{RESEMBLYZER}` needs `pip install resemblyzer webrtcvad-wheels "setuptools<81"`.'
        ) from error
    encoder = VoiceEncoder(str(device), verbose=False)

    def embed(waveform: np.ndarray, rate: float) -> np.ndarray:
        audio = resample(waveform, rate, sampling_rate).astype(np.float32)
        if not np.any(audio):  # volume normalization fails on silence
            return np.zeros(256, np.float32)
        loud = normalize_volume(audio, audio_norm_target_dBFS, increase_only=True).clip(-1, 1)
        voiced = trim_long_silences(loud)
        return encoder.embed_utterance(voiced if len(voiced) else loud)

    return embed


def _x_vectors(name: str, device) -> SpeakerEncoder:
    from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

    try:
        extractor = AutoFeatureExtractor.from_pretrained(name)
        model = AutoModelForAudioXVector.from_pretrained(name).to(device).eval()
    except (OSError, ValueError) as error:
        raise OSError(f"no speaker encoder can be loaded from {name!r}: {error}") from error

    @torch.no_grad()
    def embed(waveform: np.ndarray, rate: float) -> np.ndarray:
        audio = resample(waveform, rate, extractor.sampling_rate)
        # minimum length for the convolutions and pooling of the model
        audio = np.pad(audio, (0, max(0, extractor.sampling_rate // 2 - len(audio))))
        inputs = extractor(audio, sampling_rate=extractor.sampling_rate, return_tensors="pt").to(device)
        vector = model(**inputs).embeddings[0].float().cpu().numpy()
        return vector / max(np.linalg.norm(vector), 1e-12)

    return embed


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the cosine similarity of two vectors, or 0 if one of them is 0."""
    length = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / length) if length else 0.0


__all__ = ["RESEMBLYZER", "SpeakerEncoder", "cosine", "load_speaker_encoder"]
