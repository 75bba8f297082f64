"""Feature loss: distance between two waveforms in the features of the codec's mel encoder.

Spectral distances leave a decoder between two vowels where codes are not sure, which is neither. A frozen encoder that
has learnt to tell words apart (`text_weight`) pulls it to the side of the recording. XCodec (Ye et al., 2024)
trains with a like distance of a speech model's features. Gradients reach the waveform through the features, which
are those of transformers' `SeamlessM4TFeatureExtractor`.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..model.xcodec2 import XCodec2


WINDOW, HOP, FFT_LENGTH = 400, 160, 512  # samples at 16 kHz, as Kaldi takes them
PREEMPHASIS = 0.97
FULL_SCALE = 32768
SMALLEST_POWER = 1.192092955078125e-07
HEARD_POWER = 1e5  # of a mel band, about that of noise 60 dB below full scale: what is softer hardly counts
STRIDE = 2  # mel frames in a code's frame


class MelFeatures(nn.Module):
    """
    The features that `XCodec2.encode` gives its semantic encoder, with gradients.

    Args:
        codec (`XCodec2`)
        floor (`float`, *optional*, defaults to 0.0): Added to the power of every mel band.
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
    Args:
        codec (`XCodec2`): Its semantic encoder is copied as it is.

    Raises:
        ValueError: if it decodes to another rate than it hears.
    """

    def __init__(self, codec: XCodec2):
        super().__init__()
        if codec.sampling_rate != codec.input_sampling_rate:
            raise ValueError(
                f"`listening_weight` needs a codec that decodes to {codec.input_sampling_rate} Hz, the rate it hears, "
                f"got one of {codec.sampling_rate} Hz."
            )
        self.features = MelFeatures(codec, HEARD_POWER)
        self.encoder = copy.deepcopy(codec.model.semantic_encoder).eval().requires_grad_(False)

    def forward(self, audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """
        Args:
            audio, target (`torch.Tensor`): (batch_size, num_frames * hop_length).

        Returns:
            `torch.Tensor`: scalar, the mean over layers of the squared distance of their outputs as a share of the
            target's variance; the target gets no gradient.
        """
        with torch.no_grad():
            wanted = self.encoder(self.features(target), output_hidden_states=True).hidden_states
        heard = self.encoder(self.features(audio), output_hidden_states=True).hidden_states
        distances = [
            F.mse_loss(one.float(), other.float()) / other.float().var()
            for one, other in zip(heard, wanted, strict=True)
        ]
        return torch.stack(distances).mean()


__all__ = ["FeatureLoss", "MelFeatures"]
