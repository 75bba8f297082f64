"""Multi-period and multi-resolution STFT discriminators, and their losses.

The period discriminators (Kong et al., 2020, "HiFi-GAN") fold the waveform by a period and detect errors of pitch and
harmonics; the STFT discriminators take real and imaginary parts and detect errors of noise, onsets and phase. Few
channels keep them fast on a CPU.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


SLOPE = 0.1


def convolution(*args, **kwargs) -> nn.Module:
    """Returns a weight-normalized 2-d convolution."""
    return weight_norm(nn.Conv2d(*args, **kwargs))


class ConvolutionStack(nn.Module):
    """2-d convolutions with leaky ReLU, and a final convolution that gives a score per position."""

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
    """Folds the waveform into rows of `period` samples; convolutions run along time only."""

    def __init__(self, period: int, channels: int):
        widths = [channels * factor for factor in (1, 2, 4, 8)]
        layers, in_channels = [], 1
        for width in widths:
            layers.append(convolution(in_channels, width, (5, 1), stride=(3, 1), padding=(2, 0)))
            in_channels = width
        super().__init__(layers, in_channels)
        self.period = period

    def forward(self, audio: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(batch_size, num_samples) -> scores, hidden states."""
        audio = F.pad(audio, (0, -audio.shape[1] % self.period), mode="reflect")
        return super().forward(audio.view(len(audio), 1, -1, self.period))


class SpectrumDiscriminator(ConvolutionStack):
    """Convolves the complex STFT with a window of `window_length` samples; strides run along frequency."""

    def __init__(self, window_length: int, channels: int):
        layers, in_channels = [], 2
        for factor in (1, 2, 4, 8):
            layers.append(convolution(in_channels, channels * factor, (5, 3), stride=(3, 1), padding=(2, 1)))
            in_channels = channels * factor
        super().__init__(layers, in_channels)
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
    All period and STFT discriminators.

    Args:
        periods (`list[int]`): Periods in samples, one discriminator each.
        windows (`list[int]`): STFT window lengths in samples, one discriminator each.
        channels (`int`): Channels of the first layers.
    """

    def __init__(self, periods: list[int], windows: list[int], channels: int):
        if not periods and not windows:
            raise ValueError("`discriminator_periods` and `discriminator_windows` cannot both be empty.")
        super().__init__(
            [PeriodDiscriminator(period, channels) for period in periods]
            + [SpectrumDiscriminator(length, channels) for length in windows]
        )

    def forward(self, audio: torch.Tensor) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
        """(batch_size, num_samples) -> scores and hidden states of each discriminator."""
        scores, features = zip(*(discriminator(audio) for discriminator in self), strict=True)
        return list(scores), list(features)


def discriminator_loss(real: list[torch.Tensor], generated: list[torch.Tensor], kind: str) -> torch.Tensor:
    """
    Loss of the discriminators, averaged over them.

    Args:
        real, generated (`list[torch.Tensor]`): Scores of recordings and of the codec's audio, one per discriminator.
        kind (`str`): "hinge" or "least_squares" (Mao et al., 2017).
    """
    losses = []
    for real_scores, generated_scores in zip(real, generated, strict=True):
        real_scores, generated_scores = real_scores.float(), generated_scores.float()
        if kind == "hinge":
            losses.append(F.relu(1 - real_scores).mean() + F.relu(1 + generated_scores).mean())
        else:
            losses.append((1 - real_scores).square().mean() + generated_scores.square().mean())
    return torch.stack(losses).mean()


def adversarial_loss(generated: list[torch.Tensor], kind: str) -> torch.Tensor:
    """Adversarial loss of the codec from the scores of its audio, averaged over discriminators."""
    if kind == "hinge":
        return torch.stack([-scores.float().mean() for scores in generated]).mean()
    return torch.stack([(1 - scores.float()).square().mean() for scores in generated]).mean()


def feature_matching_loss(real: list[list[torch.Tensor]], generated: list[list[torch.Tensor]]) -> torch.Tensor:
    """L1 distance of hidden states relative to the mean magnitude of the recording's, averaged over layers."""
    distances = []
    for generated_layers, real_layers in zip(generated, real, strict=True):
        for output, target in zip(generated_layers, real_layers, strict=True):
            target = target.detach().float()
            distances.append((output.float() - target).abs().mean() / target.abs().mean().clamp(min=1e-6))
    return torch.stack(distances).mean()


__all__ = ["Discriminators", "adversarial_loss", "discriminator_loss", "feature_matching_loss"]
