"""Reads reference recordings, and transcribes them when no transcript is given."""

import operator
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .audio import Waveform, check_waveform, resample, to_mono
from .audio_reading import AudioFile, load_audio


Transcriber = Callable[[Waveform, int], str]
# what `load_audio` reads, a waveform, an audio dict or decoder of `datasets`, or a dict with "codes"
ReferenceAudio = AudioFile | np.ndarray | torch.Tensor | dict[str, Any]

MAX_CHANNELS = 8


def read_reference(audio: ReferenceAudio, sampling_rate: int | None = None) -> tuple[Waveform, int]:
    """
    Reads reference audio.

    Args:
        audio: a path, the bytes of an audio file, or a binary file object; a float waveform `(num_samples,)`,
            `(num_samples, num_channels)` or `(num_channels, num_samples)` of at most 8 channels; a dict of the
            `datasets` library, with "array" and "sampling_rate" or with "bytes" or "path"; or a decoder as `datasets`
            and torchcodec have, with `get_all_samples()`.
        sampling_rate (`int`, *optional*): Hz, required for a waveform.

    Returns:
        `(waveform, sampling_rate)`: float32 of shape (num_samples,) or (num_samples, num_channels), and Hz.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: for any other type, an invalid waveform, or a file that cannot be decoded.
    """
    waveform: Any = audio
    if isinstance(audio, dict):
        if audio.get("bytes") is not None:
            waveform, sampling_rate = load_audio(audio["bytes"])
        elif "path" in audio and audio.get("array") is None:
            waveform, sampling_rate = load_audio(_path(audio["path"]))
        elif missing := sorted({"array", "sampling_rate"} - audio.keys()):
            raise ValueError(f"`reference_audio` lacks {missing}; a dict needs 'array' and 'sampling_rate'.")
        else:
            waveform, sampling_rate = audio["array"], audio["sampling_rate"]
    elif callable(getattr(audio, "get_all_samples", None)):
        samples: Any = audio.get_all_samples()  # type: ignore[union-attr]
        waveform, sampling_rate = samples.data, samples.sample_rate
    elif isinstance(audio, (str, os.PathLike, bytes, bytearray, memoryview)) or callable(getattr(audio, "read", None)):
        waveform, sampling_rate = load_audio(audio)  # type: ignore[arg-type]
    elif not isinstance(audio, (np.ndarray, torch.Tensor)):
        raise ValueError(
            "`reference_audio` must be a path, bytes, a binary file, a waveform, or a dict with 'array' and "
            f"'sampling_rate', got {type(audio).__name__}."
        )
    elif sampling_rate is None:
        raise ValueError("`sampling_rate` in Hz is required with a `reference_audio` waveform.")
    return check_waveform(_channels_last(waveform), sampling_rate, name="reference_audio"), sampling_rate


def _path(path: Any) -> str | os.PathLike[str]:
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"`reference_audio['path']` must be a path, got {path!r}; the dict has no 'bytes' either.")
    return path


def _channels_last(waveform: Any) -> Any:
    """Turns (num_channels, num_samples), the layout of torchaudio and torchcodec, around."""
    if not isinstance(waveform, (np.ndarray, torch.Tensor)) or waveform.ndim != 2:
        return waveform
    rows, columns = waveform.shape
    return waveform.T if rows < columns and rows <= MAX_CHANNELS else waveform


def load_transcriber(asr: str | Transcriber, device: str | torch.device | None = None) -> Transcriber:
    """
    Loads a speech recognition model as a function from (float32 waveform, sampling rate in Hz) to text.

    Args:
        asr (`str` or callable): Hub name or folder of a model for transformers' `automatic-speech-recognition`
            pipeline. A callable is returned unchanged.
        device (`str` or `torch.device`, *optional*): device of the model.

    Raises:
        OSError: if the model cannot be loaded.
    """
    if callable(asr):
        return asr
    from transformers import pipeline

    try:
        recognize: Any = pipeline("automatic-speech-recognition", model=asr, device=device)
    except (OSError, ValueError) as error:
        raise OSError(f"no speech recognition model can be loaded from `asr` {asr!r}: {error}") from error
    model_rate = recognize.feature_extractor.sampling_rate

    def transcribe(waveform: Waveform, sampling_rate: int) -> str:
        # resample here: the pipeline would require torchaudio
        mono = resample(to_mono(waveform), sampling_rate, model_rate)
        return recognize({"raw": mono, "sampling_rate": model_rate})["text"].strip()

    return transcribe


def read_codes(codes: Any, codebook_size: int) -> list[int]:
    """
    Converts the codes of a reference (list, array or tensor of integers) to a list.

    Raises:
        ValueError: if `codes` are empty, not integers, or not in [0, `codebook_size`).
    """
    try:
        read = [operator.index(code) for code in codes]
    except TypeError as error:
        raise ValueError(f"`reference_audio['codes']` must be a list of integers, got {codes!r:.100}.") from error
    if not read or not all(0 <= code < codebook_size for code in read):
        raise ValueError(f"`reference_audio['codes']` must be one or more codes below {codebook_size}, got {read[:8]}.")
    return read


__all__ = ["ReferenceAudio", "Transcriber", "load_transcriber", "read_codes", "read_reference"]
