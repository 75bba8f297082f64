"""Evaluates a codec: encodes and decodes held-out speech and compares the output with the recordings."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from ..evaluation.text_errors import word_error_rate
from ..model.audio import resample, save_audio
from ..model.xcodec2 import XCodec2
from ..preparation.recordings import Recording, read_audio
from .codebook_use import perplexity
from .losses import SpectralLoss


def evaluate_codec(
    codec: XCodec2,
    recordings: Iterable[Recording],
    recognize: Callable[[np.ndarray, float], str] | None = None,
    rate: Callable[[np.ndarray, float], dict[str, float]] | None = None,
    language: str = "en",
    audio_folder: Path | None = None,
) -> tuple[dict, list[dict]]:
    """
    Encodes and decodes recordings, and computes metrics of the output and of the recordings.

    Args:
        codec (`XCodec2`)
        recordings (iterable of `Recording`)
        recognize (callable, *optional*): Return value of `load_recognizer`; needed for word error rates.
        rate (callable, *optional*): Return value of `load_dnsmos`; needed for DNSMOS ratings.
        language (`str`, *optional*, defaults to `"en"`): Language of the texts.
        audio_folder (`Path`, *optional*): Folder for recordings and decoded audio as WAV files.

    Returns:
        `(summary, clips)`: metrics over all clips, and a `dict` per clip. "mel" and "stft" are the losses of training;
        names that end in "_recording" are metrics of the recordings.

    Raises:
        ValueError: if a recording cannot be read, or has no text although `recognize` is given.
    """
    loss = SpectralLoss(codec.sampling_rate)
    clips, counts, seconds, encoding, decoding = [], Counter(), 0.0, 0.0, 0.0
    for recording in recordings:
        original, original_rate = read_audio(recording)
        target = resample(original, original_rate, codec.sampling_rate)
        started = time.perf_counter()
        codes = codec.encode(original, original_rate)
        encoded = time.perf_counter()
        audio = codec.decode(codes)
        decoding += time.perf_counter() - encoded
        encoding += encoded - started
        seconds += len(target) / codec.sampling_rate
        counts.update(codes.tolist())
        audio = np.pad(audio, (0, max(0, len(target) - len(audio))))[: len(target)]
        clip = {"id": recording.id, "file": recording.file, "seconds": len(target) / codec.sampling_rate}
        if len(target) > loss.longest:
            pair = [torch.from_numpy(waveform)[None] for waveform in (audio, target.astype(np.float32))]
            clip |= {name: float(value) for name, value in loss(*pair).items()}
        sounds = {"recording": target, "codec": audio}
        if recognize is not None:
            text = recording.row().text
            if not text:
                raise ValueError(f"{recording.file} ({recording.id!r}) has no text to compare with.")
            clip["text"] = text
            clip |= {f"heard_{name}": recognize(sound, codec.sampling_rate) for name, sound in sounds.items()}
        if rate is not None:
            for name, sound in sounds.items():
                clip |= {f"{kind}_{name}": value for kind, value in rate(sound, codec.sampling_rate).items()}
        if audio_folder is not None:
            audio_folder.mkdir(parents=True, exist_ok=True)
            for name, sound in sounds.items():
                path = audio_folder / f"{len(clips):04d}-{name}.wav"
                save_audio(sound.clip(-1, 1), path, codec.sampling_rate, overwrite=True)
        clips.append(clip)
    if not clips:
        raise ValueError("there are no recordings to evaluate on.")
    summary = {
        "clips": len(clips),
        "seconds": seconds,
        "codebook_size": codec.codebook_size,
        "codes_used": len(counts),
        "codes_used_share": len(counts) / codec.codebook_size,
        "code_perplexity": perplexity(counts),
        "encoding_seconds_per_second": encoding / seconds,
        "decoding_seconds_per_second": decoding / seconds,
    }
    for name in clips[0].keys() - {"id", "file", "seconds", "text", "heard_recording", "heard_codec"}:
        summary[name] = float(np.mean([clip[name] for clip in clips if name in clip]))
    if recognize is not None:
        summary |= word_error_rates(clips, language)
    return summary, clips


def word_error_rates(clips: list[dict], language: str) -> dict[str, float]:
    """Returns the word error rates of the recordings and of the codec, over all words of all clips."""
    texts = [clip["text"] for clip in clips]
    return {
        f"wer_{name}": word_error_rate(texts, [clip[f"heard_{name}"] for clip in clips], language)
        for name in ("recording", "codec")
    }


__all__ = ["evaluate_codec", "word_error_rates"]
