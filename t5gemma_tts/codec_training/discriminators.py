"""Discriminators: networks that learn to tell the codec's audio from recordings, and what the codec learns from them.

Two kinds, several of each: one folds the waveform into rows of a period (pitch and its harmonics), one looks at real
and imaginary parts of an STFT (noise, onsets, phase). Small channel counts keep them affordable on a CPU.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


SLOPE = 0.1


def convolution(*args, **kwargs) -> nn.Module:
    return weight_norm(nn.Conv2d(*args, **kwargs))


class ConvolutionStack(nn.Module):
    """2-d convolutions with leaky ReLU, and one that gives a score per place."""

    def __init__(self, layers: list[nn.Module], width: int):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.score = convolution(width, 1, (3, 1), padding=(1, 0))

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        features = []
        for layer in self.layers:
            hidden_states = F.leaky_relu(layer(hidden_states), SLOPE)
            features.append(hidden_states)
        return self.score(hidden_states), features


class PeriodDiscriminator(ConvolutionStack):
    """Sees every `period`-th sample side by side; convolutions run along time only."""

    def __init__(self, period: int, channels: int):
        widths = [channels * factor for factor in (1, 2, 4, 8)]
        layers, before = [], 1
        for width in widths:
            layers.append(convolution(before, width, (5, 1), stride=(3, 1), padding=(2, 0)))
            before = width
        super().__init__(layers, before)
        self.period = period

    def forward(self, audio: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(batch_size, num_samples) -> scores, hidden states."""
        audio = F.pad(audio, (0, -audio.shape[1] % self.period), mode="reflect")
        return super().forward(audio.view(len(audio), 1, -1, self.period))


class SpectrumDiscriminator(ConvolutionStack):
    """Sees the complex STFT with a window of `window_length` samples; strides run along frequency."""

    def __init__(self, window_length: int, channels: int):
        layers, before = [], 2
        for factor in (1, 2, 4, 8):
            layers.append(convolution(before, channels * factor, (5, 3), stride=(3, 1), padding=(2, 1)))
            before = channels * factor
        super().__init__(layers, before)
        self.window_length = window_length
        self.window = nn.Buffer(torch.hann_window(window_length), persistent=False)

    def forward(self, audio: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(batch_size, num_samples) -> scores, hidden states."""
        spectrum = torch.stft(
            audio.float(),
            self.window_length,
            self.window_length // 4,
            window=self.window,
            normalized=True,
            return_complex=True,
        )
        return super().forward(torch.view_as_real(spectrum).permute(0, 3, 1, 2))


class Discriminators(nn.ModuleList):
    """
    All of them.

    Args:
        periods (`list[int]`): Of the period discriminators, in samples.
        windows (`list[int]`): Of the STFT discriminators, in samples.
        channels (`int`): Of the first layers.
    """

    def __init__(self, periods: list[int], windows: list[int], channels: int):
        if not periods and not windows:
            raise ValueError("`discriminator_periods` and `discriminator_windows` cannot both be empty.")
        super().__init__(
            [PeriodDiscriminator(period, channels) for period in periods]
            + [SpectrumDiscriminator(length, channels) for length in windows]
        )

    def forward(self, audio: torch.Tensor) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
        """(batch_size, num_samples) -> scores and hidden states of each."""
        scores, features = zip(*(discriminator(audio) for discriminator in self), strict=True)
        return list(scores), list(features)


def discriminator_loss(real: list[torch.Tensor], made: list[torch.Tensor], kind: str) -> torch.Tensor:
    """What discriminators minimise, from their scores of recordings and of the codec's audio; a mean over them."""
    losses = []
    for yes, no in zip(real, made, strict=True):
        yes, no = yes.float(), no.float()
        if kind == "hinge":
            losses.append(F.relu(1 - yes).mean() + F.relu(1 + no).mean())
        else:
            losses.append((1 - yes).square().mean() + no.square().mean())
    return torch.stack(losses).mean()


def adversarial_loss(made: list[torch.Tensor], kind: str) -> torch.Tensor:
    """What the codec minimises, from the scores of its audio; a mean over discriminators."""
    if kind == "hinge":
        return torch.stack([-scores.float().mean() for scores in made]).mean()
    return torch.stack([(1 - scores.float()).square().mean() for scores in made]).mean()


def feature_matching_loss(real: list[list[torch.Tensor]], made: list[list[torch.Tensor]]) -> torch.Tensor:
    """L1 distance of hidden states as a share of the recording's own size, a mean over all layers."""
    distances = []
    for ours, theirs in zip(made, real, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            other = other.detach().float()
            distances.append((one.float() - other).abs().mean() / other.abs().mean().clamp(min=1e-6))
    return torch.stack(distances).mean()


__all__ = ["Discriminators", "adversarial_loss", "discriminator_loss", "feature_matching_loss"]
