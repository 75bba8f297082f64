"""Spectral losses: log mel spectrograms and STFT magnitudes at several window lengths.

The loss uses log(mel + floor) instead of a clamped logarithm, so that a model with silent output still gets gradients.
It ignores phase, which the decoder may choose freely.
"""

import numpy as np
import torch
from torch import nn
from transformers.audio_utils import mel_filter_bank


RESOLUTIONS = (256, 512, 1024, 2048)
MEL_BANDS = {256: 20, 512: 40}  # short windows cannot resolve more bands
MAX_MEL_BANDS = 80
SMALLEST_POWER = 1e-14  # the gradient of sqrt is infinite at 0


def mel_filters(window_length: int, num_bands: int, sampling_rate: int) -> torch.Tensor:
    """
    Mel filter bank with Slaney's scale and normalization, from 0 Hz to half the sampling rate.

    Returns:
        `torch.Tensor`: float32 of shape (num_bands, window_length // 2 + 1).
    """
    filters = mel_filter_bank(
        num_frequency_bins=window_length // 2 + 1,
        num_mel_filters=num_bands,
        min_frequency=0.0,
        max_frequency=sampling_rate / 2,
        sampling_rate=sampling_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(np.ascontiguousarray(filters.T, dtype=np.float32))


class MelSpectrogram(nn.Module):
    """
    STFT magnitudes with a Hann window and a hop of a quarter window, and the log mel spectrogram.

    Args:
        window_length (`int`): Samples.
        sampling_rate (`int`): Hz.
        floor (`float`): Added before the logarithm.
    """

    def __init__(self, window_length: int, sampling_rate: int, floor: float):
        super().__init__()
        self.window_length, self.floor = window_length, floor
        num_bands = MEL_BANDS.get(window_length, MAX_MEL_BANDS)
        self.window = nn.Buffer(torch.hann_window(window_length), persistent=False)
        self.filters = nn.Buffer(mel_filters(window_length, num_bands, sampling_rate), persistent=False)

    def forward(self, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch_size, num_samples) -> log mel (batch_size, num_bands, num_frames), magnitudes (…, num_bins, …)."""
        spectrum = torch.stft(
            audio.float(), self.window_length, self.window_length // 4, window=self.window, return_complex=True
        )
        spectrum = torch.view_as_real(spectrum)
        magnitudes = (spectrum.square().sum(-1) + SMALLEST_POWER).sqrt()
        return torch.log(self.filters @ magnitudes + self.floor), magnitudes


class SpectralLoss(nn.Module):
    """
    L1 distance of log mel spectrograms, and spectral convergence (Arik et al., 2018): the norm of the difference of
    magnitudes relative to the norm of the target, per clip. Both are averaged over several window lengths.

    Args:
        sampling_rate (`int`): Hz.
        resolutions (`list[int]`, *optional*): Window lengths in samples.
        floor (`float`, *optional*, defaults to 1e-4)
    """

    def __init__(self, sampling_rate: int, resolutions=RESOLUTIONS, floor: float = 1e-4):
        super().__init__()
        if not resolutions or min(resolutions) < 16:
            raise ValueError(f"`resolutions` must be window lengths of 16 samples or more, got {list(resolutions)}.")
        self.longest = max(resolutions)
        self.spectrograms = nn.ModuleList(MelSpectrogram(length, sampling_rate, floor) for length in resolutions)

    def forward(self, audio: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            audio, target (`torch.Tensor`): (batch_size, num_samples), longer than half the longest window.

        Returns:
            `dict[str, torch.Tensor]`: scalars "mel" and "stft"; the target gets no gradient.
        """
        mel, stft = [], []
        for spectrogram in self.spectrograms:
            log_mel, magnitudes = spectrogram(audio)
            with torch.no_grad():
                target_log_mel, target_magnitudes = spectrogram(target)
                norms = target_magnitudes.flatten(1).norm(dim=1).clamp(min=1e-3)  # avoids division by 0 for silence
            mel.append((log_mel - target_log_mel).abs().mean())
            stft.append(((magnitudes - target_magnitudes).flatten(1).norm(dim=1) / norms).mean())
        return {"mel": torch.stack(mel).mean(), "stft": torch.stack(stft).mean()}


__all__ = ["RESOLUTIONS", "MelSpectrogram", "SpectralLoss", "mel_filters"]
