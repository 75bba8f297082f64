"""Validation during training: runs the averaged codec on whole held-out clips, as at inference."""

import numpy as np
import torch

from ..model.xcodec2 import XCodec2
from .arguments import CodecTrainingArguments
from .cache import ClipCache
from .losses import SpectralLoss


class Validation:
    """
    Evaluates a codec on held-out clips.

    Args:
        cache (`ClipCache`)
        codec (`XCodec2`): Defines the sampling rates.
        loss (`SpectralLoss`)
        arguments (`CodecTrainingArguments`): `eval_clips` and `eval_audio_clips`.
    """

    def __init__(self, cache: ClipCache, codec: XCodec2, loss: SpectralLoss, arguments: CodecTrainingArguments):
        clips = cache.split("validation")
        # evenly spaced, because the split may be sorted by speaker
        chosen = np.linspace(0, len(clips) - 1, min(arguments.eval_clips, len(clips))).round().astype(int)
        self.clips = [clips[index] for index in chosen]
        self.cache, self.loss, self.num_sounds = cache, loss, arguments.eval_audio_clips
        self.sampling_rate = codec.sampling_rate

    def __call__(self, codec: XCodec2) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """
        Returns:
            `(metrics, sounds)`: mean spectral losses, the number of distinct codes, and the RMS of the output relative
            to the recordings; and float32 waveforms (num_samples,) by name.
        """
        distances, codes, sounds, energies = [], set(), {}, np.zeros(2)
        for number, clip in enumerate(self.clips):
            target = self.cache.segment(clip.start, clip.num_frames)["target"]
            clip_codes = codec.encode(self.cache.waveform(clip), codec.input_sampling_rate)
            audio = codec.decode(clip_codes)[: len(target)]
            codes.update(clip_codes.tolist())
            pair = [torch.from_numpy(waveform)[None].to(codec.device) for waveform in (audio, target[: len(audio)])]
            if pair[0].shape[1] > self.loss.longest:
                with torch.no_grad():
                    distances.append([float(value) for value in self.loss(*pair).values()])
            energies += [np.square(audio).sum(), np.square(target).sum()]
            if number < self.num_sounds:
                sounds[f"validation/{number}"] = audio
        mel, stft = np.mean(distances, axis=0) if distances else (float("nan"),) * 2
        metrics = {"eval_mel": float(mel), "eval_stft": float(stft), "eval_codes_used": len(codes)}
        metrics["eval_loudness"] = float(np.sqrt(energies[0] / max(energies[1], 1e-12)))
        return metrics, sounds


__all__ = ["Validation"]
