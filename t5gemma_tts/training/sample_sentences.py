"""Synthesizes fixed sentences during training, saves and measures the audio, and optionally transcribes it."""

from pathlib import Path

import torch

from .. import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from ..evaluation.text_errors import count_errors, error_rate
from ..model.language import detect_language
from ..model.reference import Transcriber


@torch.no_grad()
def speak_sentences(
    model: T5GemmaTTSForConditionalGeneration,
    processor: T5GemmaTTSProcessor,
    sentences: list[str],
    folder: Path,
    seed: int = 0,
    transcribe: Transcriber | None = None,
) -> tuple[dict[str, float], list]:
    """
    Synthesizes sentences without changing the random state of training.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`)
        processor (`T5GemmaTTSProcessor`)
        sentences (`list[str]`)
        folder (`Path`): folder for the WAV files; existing files are overwritten.
        seed (`int`, *optional*, defaults to 0)
        transcribe (callable, *optional*): speech recognition; needed for `wer` and `cer`.

    Returns:
        `(metrics, waveforms)`: `duration_error` is the mean of |spoken - planned| / planned length, `empty` the
        fraction of sentences without audio, `wer` and `cer` are those of [`error_rate`]; waveforms are float32 arrays
        of shape `(num_samples,)`.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    inputs = processor(text=sentences).to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        sequences = model.generate(**inputs).cpu()
    model.train(was_training)
    planned = inputs["num_frames"].cpu().tolist()
    spoken = [len(processor.speech_codes(sequence)) for sequence in sequences]
    metrics = {
        "duration_error": sum(abs(n - p) / p for n, p in zip(spoken, planned, strict=True)) / len(planned),
        "empty": sum(n == 0 for n in spoken) / len(planned),
    }
    waveforms = processor.batch_decode(sequences)
    folder.mkdir(parents=True, exist_ok=True)
    for number, waveform in enumerate(waveforms):
        if len(waveform):
            processor.save_audio(waveform, folder / f"{number}.wav", overwrite=True)
    if transcribe is not None:
        transcripts = [transcribe(w, processor.sampling_rate) if len(w) else "" for w in waveforms]
        languages = map(detect_language, sentences)
        counts = [count_errors(*one) for one in zip(sentences, transcripts, languages, strict=True)]
        metrics |= {"wer": error_rate(counts), "cer": error_rate(counts, "characters")}
    return metrics, waveforms


__all__ = ["speak_sentences"]
