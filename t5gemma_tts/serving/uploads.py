"""Decodes uploaded recordings in memory, within the configured limits."""

import base64
import binascii

from ..model.audio import Waveform, check_waveform, to_mono
from ..model.audio_reading import open_audio
from .errors import BadRequest, PayloadTooLarge
from .limits import Limits


MIN_RATE, MAX_RATE = 4_000, 192_000  # Hz
MAX_CHANNELS = 8


def decode_base64(text: str, limits: Limits, param: str = "reference_audio") -> bytes:
    """
    Decodes base64. The size is checked first, so that a large text costs no memory.

    Raises:
        BadRequest: if `text` is not base64.
        PayloadTooLarge: if the result would have more than `limits.max_reference_bytes`.
    """
    if len(text) * 3 // 4 > limits.max_reference_bytes + 3:
        raise PayloadTooLarge(f"`{param}` must be at most {limits.max_reference_bytes} bytes of audio.", param=param)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"`{param}` must be an audio file in base64: {error}.", param=param) from error


def decode_recording(data: bytes, limits: Limits, param: str = "reference_audio") -> tuple[Waveform, int]:
    """
    Decodes an audio file in memory.

    Args:
        data (`bytes`): anything that `load_audio` reads.
        limits (`Limits`): limits on bytes and duration.
        param (`str`): name of the request field, for error messages.

    Returns:
        `(waveform, sampling_rate)`: float32 `(num_samples,)`, the mean of the channels, and Hz.

    Raises:
        BadRequest: if the file cannot be decoded, is too short or too long, or has NaN or infinite samples.
        PayloadTooLarge: if the file has too many bytes.
    """
    if len(data) > limits.max_reference_bytes:
        raise PayloadTooLarge(
            f"`{param}` must be at most {limits.max_reference_bytes} bytes, got {len(data)}.", param=param
        )
    try:
        with open_audio(data, f"`{param}`") as audio:
            rate, channels = audio.sampling_rate, audio.num_channels
            if not MIN_RATE <= rate <= MAX_RATE or channels > MAX_CHANNELS:
                raise BadRequest(
                    f"`{param}` must have {MIN_RATE} to {MAX_RATE} Hz and at most {MAX_CHANNELS} channels, got {rate} "
                    f"Hz and {channels}.",
                    param=param,
                )
            waveform = to_mono(audio.read(int(limits.max_reference_seconds * rate) + 1))
    except BadRequest:
        raise
    except ValueError as error:
        raise BadRequest(str(error), param=param) from error
    seconds = len(waveform) / rate
    if not limits.min_reference_seconds <= seconds <= limits.max_reference_seconds:
        got = f"{seconds:.2f} s" if seconds <= limits.max_reference_seconds else "more"
        raise BadRequest(
            f"`{param}` must take {limits.min_reference_seconds} to {limits.max_reference_seconds} seconds, got {got}.",
            param=param,
        )
    try:
        return check_waveform(waveform, rate, name=param), rate
    except ValueError as error:
        raise BadRequest(str(error), param=param) from error


__all__ = ["decode_base64", "decode_recording"]
