"""Waveforms: checking, downmixing, resampling, and writing to audio files.

A waveform is a float array in [-1, 1] of shape (num_samples,) or (num_samples, num_channels), as in soundfile.
soundfile and soxr are imported at first use, so that the model loads without them.
"""

import io
import numbers
import os
import uuid
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch

from .audio_formats import WRITABLE_FORMATS
from .marks import check_watermark, write_tags
from .validation import is_finite_number


Waveform = npt.NDArray[np.float32]

WRITE_BLOCK_SAMPLES = 1 << 16


def save_audio(
    audio: npt.ArrayLike | torch.Tensor,
    path: str | os.PathLike[str],
    sampling_rate: float,
    overwrite: bool = False,
    watermark: str = "off",
) -> None:
    """
    Writes one waveform as 16-bit PCM (`.wav`, `.flac`) or Vorbis (`.ogg`); samples beyond [-1, 1] are clipped.

    Args:
        audio (`np.ndarray` or `torch.Tensor`): Floats of shape (num_samples,) or (num_samples, num_channels).
        path (`str` or `os.PathLike`): The suffix selects the format.
        sampling_rate (`int`): Hz.
        overwrite (`bool`, *optional*, defaults to `False`): Replace an existing file instead of raising an error.
        watermark (`str`, *optional*, defaults to `"off"`): "metadata" tags the file as synthetic speech.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        FileNotFoundError: if the folder of `path` does not exist.
        OSError: if writing fails; an existing file is left unchanged.
        ValueError: for an unknown suffix, NaN or infinite samples, an empty array, or a bad sampling rate.
    """
    path, marked = Path(path), check_watermark(watermark) == "metadata"
    if path.suffix.lower() not in WRITABLE_FORMATS:
        raise ValueError(f"`path` must end in one of {', '.join(WRITABLE_FORMATS)}, got {str(path)!r}.")
    waveform = check_waveform(audio, sampling_rate, name="audio", min_samples=1)
    if sampling_rate != int(sampling_rate):
        raise ValueError(f"`sampling_rate` of a file must be a whole number of Hz, got {sampling_rate!r}.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{str(path)!r} exists; pass `overwrite=True` to replace it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of {str(path)!r} does not exist.")
    peak = float(np.abs(waveform).max())
    if peak > 1:
        warnings.warn(f"`audio` peaks at {peak:.3f}, beyond 1.0: clipped in {str(path)!r}.", stacklevel=2)
        waveform = waveform.clip(-1, 1)
    file_format, subtype = WRITABLE_FORMATS[path.suffix.lower()]
    num_channels = 1 if waveform.ndim == 1 else waveform.shape[1]
    content = io.BytesIO()  # in memory first: libsndfile does not report a full disk
    with import_soundfile().SoundFile(
        content, "w", samplerate=int(sampling_rate), channels=num_channels, format=file_format, subtype=subtype
    ) as file:
        if marked:
            write_tags(file, at_end=False)
        # in blocks: libsndfile's Vorbis encoder overflows its stack when given minutes of audio in one call
        for start in range(0, len(waveform), WRITE_BLOCK_SAMPLES):
            file.write(waveform[start : start + WRITE_BLOCK_SAMPLES])
        if marked:
            write_tags(file, at_end=True)
    _write_whole(path, content.getbuffer())


def _write_whole(path: Path, content: memoryview) -> None:
    """Writes a temporary file and renames it, so that `path` is never partially written."""
    partial = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, f"{str(path)!r} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)


def check_waveform(
    waveform: npt.ArrayLike | torch.Tensor, sampling_rate: object, name: str = "waveform", min_samples: int = 2
) -> Waveform:
    """
    Checks a waveform and its sampling rate.

    Args:
        waveform (`np.ndarray`, `torch.Tensor` or `list[float]`): Shape (num_samples,) or (num_samples, num_channels).
        sampling_rate (`float`): Hz, above 0.
        name (`str`, *optional*, defaults to `"waveform"`): Argument name used in error messages.
        min_samples (`int`, *optional*, defaults to 2): Minimum length.

    Returns:
        `np.ndarray`: the samples as float32, same shape.

    Raises:
        ValueError: if the array is empty, too short, not floating point, of another shape, or has NaN or infinite
            samples; if `sampling_rate` is not a number above 0.
    """
    if isinstance(sampling_rate, bool) or not isinstance(sampling_rate, numbers.Real):
        raise ValueError(f"`sampling_rate` must be a number of Hz, got {sampling_rate!r}.")
    if not is_finite_number(sampling_rate) or sampling_rate <= 0:
        raise ValueError(f"`sampling_rate` must be above 0 Hz, got {sampling_rate!r}.")
    if isinstance(waveform, torch.Tensor):
        # numpy does not support bfloat16
        waveform = waveform.detach().cpu()
        waveform = (waveform.float() if waveform.is_floating_point() else waveform).numpy()
    waveform = np.asarray(waveform)
    if waveform.ndim not in (1, 2):
        raise ValueError(
            f"`{name}` must have shape (num_samples,) or (num_samples, num_channels), got {waveform.shape}."
        )
    if waveform.size == 0:
        raise ValueError(f"`{name}` is empty (shape {waveform.shape}).")
    if waveform.dtype.kind != "f":
        raise ValueError(
            f"`{name}` must hold floats in [-1, 1], got {waveform.dtype}; divide integer samples by their full scale, "
            "e.g. 32768 for 16 bits."
        )
    if waveform.ndim == 2 and waveform.shape[1] > waveform.shape[0]:
        raise ValueError(
            f"`{name}` has more channels than samples (shape {waveform.shape}): it must be (num_samples, num_channels);"
            " transpose it."
        )
    if len(waveform) < min_samples:
        raise ValueError(f"`{name}` must have at least {min_samples} samples, got {len(waveform)}.")
    waveform = waveform.astype(np.float32, copy=False)
    if not np.isfinite(waveform).all():
        raise ValueError(f"`{name}` has NaN or infinite samples.")
    return waveform


def to_mono(waveform: Waveform) -> Waveform:
    """Averages the channels: (num_samples, num_channels) -> (num_samples,). Mono input is returned unchanged."""
    return waveform if waveform.ndim == 1 else waveform.mean(axis=1)


def resample(waveform: Waveform, sampling_rate: float, target_sampling_rate: float) -> Waveform:
    """Resamples (num_samples,) or (num_samples, num_channels) with soxr at its "VHQ" quality; rates in Hz."""
    if sampling_rate == target_sampling_rate:
        return waveform
    try:
        import soxr
    except ImportError as error:
        raise ImportError(
            f"resampling from {sampling_rate} to {target_sampling_rate} Hz needs `pip install soxr`."
        ) from error
    return soxr.resample(waveform, sampling_rate, target_sampling_rate, quality="VHQ")


def import_soundfile() -> ModuleType:
    """The soundfile library, imported at first use."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: libsndfile is missing
        raise ImportError("reading and writing audio files needs `pip install soundfile`.") from error
    return soundfile


__all__ = ["Waveform", "check_waveform", "import_soundfile", "resample", "save_audio", "to_mono"]
