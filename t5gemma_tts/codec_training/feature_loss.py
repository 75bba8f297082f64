"""Feature loss: distance between two waveforms in the hidden states of the codec's mel encoder.

With spectral losses alone, a decoder averages over the possible sounds of ambiguous codes, such as two vowels. The
features of a frozen encoder that was trained to distinguish words (`text_weight`) penalize this. XCodec (Ye et al.,
2024) uses a similar loss with the features of a speech model. The mel features are a differentiable version of
transformers' `SeamlessM4TFeatureExtractor`.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..model.xcodec2 import XCodec2


WINDOW, HOP, FFT_LENGTH = 400, 160, 512  # samples at 16 kHz, as in Kaldi
PREEMPHASIS = 0.97
FULL_SCALE = 32768
SMALLEST_POWER = 1.192092955078125e-07
MEL_POWER_FLOOR = 1e5  # about the mel band power of noise at -60 dBFS; reduces the effect of softer sounds
STRIDE = 2  # mel frames per code


class MelFeatures(nn.Module):
    """
    Differentiable version of the input features of the semantic encoder in `XCodec2.encode`.

    Args:
        codec (`XCodec2`)
        floor (`float`, *optional*, defaults to 0.0): Added to the power of each mel band.
    """

    def __init__(self, codec: XCodec2, floor: float = 0.0):
        super().__init__()
        self.floor = floor
        extractor = codec.feature_extractor
        self.padding = codec.hop_length // 2
        self.window = nn.Buffer(torch.from_numpy(np.asarray(extractor.window, dtype=np.float32)), persistent=False)
        filters = np.ascontiguousarray(extractor.mel_filters, dtype=np.float32)
        self.filters = nn.Buffer(torch.from_numpy(filters), persistent=False)  # (num_bins, num_bands)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """(batch_size, num_frames * hop_length) at 16 kHz -> float32 (batch_size, num_frames, num_features)."""
        frames = F.pad(audio.float() * FULL_SCALE, (self.padding, self.padding)).unfold(1, WINDOW, HOP)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * self.window, FFT_LENGTH)
        power = torch.view_as_real(spectrum).square().sum(-1)
        mel = torch.log((power @ self.filters + self.floor).clamp(min=SMALLEST_POWER))  # (batch, mel frames, bands)
        deviation = (mel.var(1, keepdim=True) + 1e-7).sqrt()
        mel = (mel - mel.mean(1, keepdim=True)) / deviation
        num_frames = mel.shape[1] // STRIDE
        return mel[:, : num_frames * STRIDE].reshape(len(mel), num_frames, -1)


class FeatureLoss(nn.Module):
    """
    Distance between output and recording in the hidden states of a frozen copy of the semantic encoder.

    Args:
        codec (`XCodec2`): Its semantic encoder is copied with its current weights.

    Raises:
        ValueError: if the output rate of the codec differs from its input rate.
    """

    def __init__(self, codec: XCodec2):
        super().__init__()
        if codec.sampling_rate != codec.input_sampling_rate:
            raise ValueError(
                f"`listening_weight` needs a codec that decodes to its input rate, {codec.input_sampling_rate} Hz, but "
                f"this codec decodes to {codec.sampling_rate} Hz."
            )
        self.features = MelFeatures(codec, MEL_POWER_FLOOR)
        self.encoder = copy.deepcopy(codec.model.semantic_encoder).eval().requires_grad_(False)

    def forward(self, audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """
        Args:
            audio, target (`torch.Tensor`): (batch_size, num_frames * hop_length).

        Returns:
            `torch.Tensor`: scalar, the mean squared error per layer relative to the variance of the target, averaged
            over layers. The target gets no gradient.
        """
        with torch.no_grad():
            target_states = self.encoder(self.features(target), output_hidden_states=True).hidden_states
        audio_states = self.encoder(self.features(audio), output_hidden_states=True).hidden_states
        distances = [
            F.mse_loss(output.float(), reference.float()) / reference.float().var()
            for output, reference in zip(audio_states, target_states, strict=True)
        ]
        return torch.stack(distances).mean()


__all__ = ["FeatureLoss", "MelFeatures"]
