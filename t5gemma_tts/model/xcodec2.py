"""XCodec2: a speech codec with 50 codes per second and an output of 16 kHz or, with an upsampler, 44.1 kHz.

`T5GemmaTTSCodecModel` is transformers' `Xcodec2Model` with the upsampler. `XCodec2` wraps either model: it encodes and
decodes waveforms, and loads all checkpoint layouts.
"""

import contextlib
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import AutoModel, SeamlessM4TFeatureExtractor, Xcodec2Config, Xcodec2Model
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.xcodec2.modeling_xcodec2 import Xcodec2ISTFTHead, Xcodec2ResNetBlock

from .audio import Waveform, check_waveform, resample, to_mono
from .configuration_checks import explain_weight_errors
from .configuration_t5gemma_tts import T5GemmaTTSCodecConfig
from .xcodec2_original import (
    config_from_original,
    convert_original_state_dict,
    is_original_config,
    load_original_state_dict,
    shorten,
)


# the semantic encoder stacks two mel frames of 10 ms per code
MEL_HOP_LENGTH, MEL_STRIDE = 160, 2
Codes = Sequence[int] | np.ndarray | torch.Tensor
HUB_ARGUMENTS = {"revision", "token", "cache_dir", "local_files_only", "force_download"}


class T5GemmaTTSCodecUpsampler(nn.Module):
    """
    Increases the frame rate before the decoder's head.

    Each stage is a transposed convolution that halves the channels, and a residual block. A projection to `hidden_size`
    and SiLU follow. A stage with factor u and kernel size k turns L frames into u L if k - u is even, else u L + 1.
    """

    def __init__(self, config: T5GemmaTTSCodecConfig):
        super().__init__()
        self.convs, self.blocks = nn.ModuleList(), nn.ModuleList()
        width = config.hidden_size
        for factor, kernel_size in zip(config.upsample_factors, config.upsample_kernel_sizes, strict=True):
            padding = (kernel_size - factor) // 2
            self.convs.append(nn.ConvTranspose1d(width, width // 2, kernel_size, stride=factor, padding=padding))
            width //= 2
            block_config: Any = SimpleNamespace(hidden_size=width, activation_dropout=config.activation_dropout)
            self.blocks.append(Xcodec2ResNetBlock(block_config))
        self.out_proj = nn.Linear(width, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch_size, num_frames, hidden_size) -> (batch_size, about num_frames * product of factors, hidden_size)."""
        for conv, block in zip(self.convs, self.blocks, strict=True):
            hidden_states = block(conv(hidden_states.transpose(1, 2)).transpose(1, 2))
        return nn.functional.silu(self.out_proj(hidden_states))


class T5GemmaTTSCodecHead(Xcodec2ISTFTHead):
    """ISTFT head with a hop of `decoder_hop_length` samples, after the optional upsampler."""

    def __init__(self, config: T5GemmaTTSCodecConfig):
        hop_length = config.decoder_hop_length
        sizes: Any = SimpleNamespace(hidden_size=config.hidden_size, n_fft=4 * hop_length, hop_length=hop_length)
        super().__init__(sizes)
        self.upsampler = T5GemmaTTSCodecUpsampler(config) if config.upsample_factors else nn.Identity()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch_size, num_frames, hidden_size) -> (batch_size, 1, num_upsampled_frames * hop_length)."""
        hidden_states = self.upsampler(hidden_states)
        # transformers' head returns one sample too many if 3 * hop_length is odd
        return super().forward(hidden_states)[..., : hidden_states.shape[1] * self.hop_length]


class T5GemmaTTSCodecModel(Xcodec2Model):
    """`Xcodec2Model` with an optional upsampler and an optional separate width of the acoustic encoder."""

    config: T5GemmaTTSCodecConfig
    config_class = T5GemmaTTSCodecConfig

    def __init__(self, config: T5GemmaTTSCodecConfig):
        super().__init__(config)
        semantic_model_config: Any = config.semantic_model_config
        width = config.acoustic_hidden_size + semantic_model_config.hidden_size
        if config.quantization_dim != width:
            raise ValueError(
                "`quantization_dim` must be `acoustic_hidden_size` + `semantic_model_config.hidden_size`, "
                f"{width}, got {config.quantization_dim}."
            )
        if config.acoustic_hidden_size != config.hidden_size:
            channels = self.acoustic_encoder.conv2.in_channels
            self.acoustic_encoder.conv2 = nn.Conv1d(channels, config.acoustic_hidden_size, kernel_size=3, padding=1)
            self.fc_encoder = nn.Linear(width, width)
            self.acoustic_decoder.fc = nn.Linear(width, config.hidden_size)
        if config.upsample_factors or config.decoder_hop_length != config.hop_length:
            self.acoustic_decoder.head = T5GemmaTTSCodecHead(config)
        self.post_init()


MODEL_CLASSES = {Xcodec2Config.model_type: Xcodec2Model, T5GemmaTTSCodecConfig.model_type: T5GemmaTTSCodecModel}


class XCodec2:
    """
    The codec: `encode` turns a waveform into codes, `decode` turns codes into a waveform.

    Clips are encoded one at a time, and only clips of equal length are decoded together: padding would change the codes
    of the last frames, and the decoder's normalization and attention span the whole clip.

    Args:
        model (`Xcodec2Model` or `T5GemmaTTSCodecModel`): Model; set to eval mode.
    """

    def __init__(self, model: Xcodec2Model):
        self.model = model.eval()
        config = model.config
        if config.hop_length != MEL_HOP_LENGTH * MEL_STRIDE:
            raise ValueError(
                f"the product of `downsampling_ratios` must be {MEL_HOP_LENGTH * MEL_STRIDE}, the samples per frame of "
                f"the semantic encoder, got {config.hop_length}."
            )
        semantic_model_config: Any = config.semantic_model_config
        num_mel_bins = semantic_model_config.feature_projection_input_dim // MEL_STRIDE
        self.feature_extractor = SeamlessM4TFeatureExtractor(
            feature_size=num_mel_bins,
            num_mel_bins=num_mel_bins,
            sampling_rate=config.sampling_rate,
            stride=MEL_STRIDE,
            padding_value=1.0,
        )

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        subfolder: str = "",
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        **hub_kwargs: Any,
    ) -> "XCodec2":
        """
        Loads a codec of any supported layout from a folder or the Hub.

        Args:
            name_or_path (`str` or `os.PathLike`): A checkpoint of transformers' `Xcodec2Model`, of
                `T5GemmaTTSCodecModel`, or of the original project (16 kHz or 44.1 kHz; safetensors or pickled tensors).
            subfolder (`str`, *optional*, defaults to `""`): Folder inside the repository.
            device (`str` or `torch.device`, *optional*): Device; the CPU by default.
            dtype (`torch.dtype`, *optional*): Dtype; float32 by default. Other dtypes can change the codes of `encode`.
            hub_kwargs: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`.

        Raises:
            OSError: if there is no `config.json`, or the Hub cannot be reached.
            ValueError: if it is not an XCodec2, or its weights are missing, unexpected or of other shapes.
        """
        if unknown := sorted(hub_kwargs.keys() - HUB_ARGUMENTS):
            raise TypeError(f"from_pretrained() got unexpected arguments: {', '.join(unknown)}.")
        hub_kwargs["subfolder"] = subfolder
        try:
            config, _ = PreTrainedConfig.get_config_dict(name_or_path, **hub_kwargs)
        except OSError as error:
            raise OSError(f"no codec found at {str(name_or_path)!r}: {error}") from error
        if not config:
            raise OSError(f"no codec found at {str(name_or_path)!r}: it has no config.json.")
        model_type = config.get("model_type")
        source: dict[str, Any]
        if is_original_config(config):
            state_dict = convert_original_state_dict(load_original_state_dict(name_or_path, **hub_kwargs))
            original_config = config_from_original(config)
            model_class = MODEL_CLASSES[original_config.model_type]
            source = {"pretrained_model_name_or_path": None, "config": original_config, "state_dict": state_dict}
        elif model_type in MODEL_CLASSES:
            model_class = MODEL_CLASSES[model_type]
            source = {"pretrained_model_name_or_path": name_or_path, **hub_kwargs}
        else:
            raise ValueError(
                f"{str(name_or_path)!r} must be an XCodec2 checkpoint: `model_type` {' or '.join(MODEL_CLASSES)}, or a "
                f"configuration of the original project; got `model_type` {model_type!r}."
            )
        # loading, which may happen during a seeded generation, must not change the random state
        with torch.random.fork_rng(devices=[]), explain_weight_errors(name_or_path):
            loaded: Any = model_class.from_pretrained(
                **source, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
            )
        model, info = loaded
        for problem in ("missing", "unexpected", "mismatched"):
            if names := info[f"{problem}_keys"]:
                raise ValueError(f"{len(names)} {problem} weights in {str(name_or_path)!r}: {shorten(names)}.")
        codec = cls(model)
        if dtype is not None:
            codec._cast(dtype)
        return codec if device is None else codec.to(device)

    def _cast(self, dtype: torch.dtype) -> None:
        self.model.to(dtype)
        # the overlap-add always runs in float32
        head = self.model.acoustic_decoder.head
        head.window = torch.hann_window(head.n_fft, device=self.device)

    def to(self, device: str | torch.device) -> "XCodec2":
        """Moves the model to `device` and returns the codec."""
        self.model.to(device)
        return self

    def save_pretrained(self, folder: str | os.PathLike[str], **kwargs: Any) -> None:
        """
        Saves the model to `folder` in the format of transformers; `kwargs` are passed to its `save_pretrained`.
        """
        self.model.save_pretrained(folder, **kwargs)

    @property
    def sampling_rate(self) -> int:
        """Sampling rate in Hz of the waveforms that `decode` returns."""
        return getattr(self.model.config, "output_sampling_rate", None) or self.model.config.sampling_rate

    @property
    def input_sampling_rate(self) -> int:
        """Sampling rate in Hz of the encoder."""
        return self.model.config.sampling_rate

    @property
    def hop_length(self) -> int:
        """Samples at `input_sampling_rate` per code."""
        return self.model.config.hop_length

    @property
    def frame_rate(self) -> float:
        """Codes per second."""
        return self.input_sampling_rate / self.hop_length

    @property
    def codebook_size(self) -> int:
        return math.prod(self.model.config.quantization_levels)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @contextlib.contextmanager
    def _inference(self) -> Iterator[None]:
        """Sets eval mode, and disables gradients and autocast: lower precision would change the codes."""
        self.model.eval()
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            yield

    def encode(self, waveform: npt.ArrayLike | torch.Tensor, sampling_rate: float) -> torch.Tensor:
        """
        Encodes one clip.

        As in the original, 1 to `hop_length` zeros are appended. The mel features get another half hop of zeros on both
        sides, so that both encoders return the same number of frames.

        Args:
            waveform (`np.ndarray` or `torch.Tensor`): Floats in [-1, 1] of shape (num_samples,), or
                (num_samples, num_channels), whose channels are averaged.
            sampling_rate (`float`): Sampling rate of `waveform` in Hz; it is resampled to `input_sampling_rate`.

        Returns:
            `torch.LongTensor` of shape (num_frames,) on the CPU, values in [0, `codebook_size`), where num_frames is
            num_samples // `hop_length` + 1 with num_samples counted at `input_sampling_rate`.

        Raises:
            ValueError: if the waveform or the sampling rate is invalid, see `check_waveform`.
        """
        waveform = to_mono(check_waveform(waveform, sampling_rate))
        waveform = resample(waveform, sampling_rate, self.input_sampling_rate)
        if len(waveform) < 2:
            raise ValueError(
                f"`waveform` must have at least 2 samples at {self.input_sampling_rate} Hz, got {len(waveform)}."
            )
        hop_length = self.hop_length
        waveform = np.pad(waveform, (0, hop_length - len(waveform) % hop_length))
        features = self.feature_extractor(
            np.pad(waveform, hop_length // 2), sampling_rate=self.input_sampling_rate, return_tensors="pt"
        )["input_features"]
        with self._inference():
            codes = self.model.encode(
                input_values=torch.from_numpy(waveform)[None, None].to(self.device, self.dtype),
                input_features=features.to(self.device, self.dtype),
            ).audio_codes[0, 0]
        # a new tensor, because one created in inference mode cannot be used in training
        return torch.tensor(codes.tolist(), dtype=torch.long)

    def decode(self, codes: Codes) -> Waveform:
        """
        Decodes one clip.

        Args:
            codes (`list[int]`, `np.ndarray` or `torch.Tensor`): Shape (num_frames,), integers in [0, `codebook_size`).

        Returns:
            `np.ndarray` of float32, shape (num_samples,), at `sampling_rate` Hz. Not clipped: peaks can exceed 1.0.

        Raises:
            ValueError: if `codes` is empty, of another shape or dtype, or has a value out of range.
        """
        return self.decode_batch([codes])[0]

    def decode_batch(self, codes: Iterable[Codes], batch_size: int = 16) -> list[Waveform]:
        """
        Decodes several clips; clips of equal length are decoded together.

        Args:
            codes (`list`): One item per clip, as for `decode`.
            batch_size (`int`, *optional*, defaults to 16): Maximum number of clips per batch.

        Returns:
            `list[np.ndarray]`: the waveforms, as `decode` returns them, in the order of `codes`.

        Raises:
            ValueError: as `decode` does, or if `batch_size` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        clips = [self._check_codes(clip) for clip in codes]
        by_length = defaultdict(list)
        for index, clip in enumerate(clips):
            by_length[len(clip)].append(index)
        waveforms: dict[int, Waveform] = {}
        for indices in by_length.values():
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                audio_codes = torch.from_numpy(np.stack([clips[index] for index in batch]))[:, None]
                with self._inference():
                    audio = self.model.decode(audio_codes=audio_codes.to(self.device)).audio_values[:, 0]
                    audio = audio.float().cpu().numpy()
                for index, waveform in zip(batch, audio, strict=True):
                    waveforms[index] = waveform.copy()
        return [waveforms[index] for index in range(len(clips))]

    def _check_codes(self, codes: Codes) -> npt.NDArray[np.int64]:
        if isinstance(codes, torch.Tensor):
            if codes.is_floating_point():  # numpy does not support all float dtypes
                raise ValueError(f"`codes` must be integers, got {codes.dtype}.")
            codes = codes.detach().cpu().numpy()
        try:
            codes = np.asarray(codes)
        except (ValueError, TypeError) as error:
            raise ValueError(f"`codes` must be a list of integers: {error}") from error
        if codes.ndim != 1:
            raise ValueError(f"`codes` must have shape (num_frames,), got {codes.shape}.")
        if not codes.size:
            raise ValueError("`codes` is empty.")
        if codes.dtype.kind not in "iu":
            raise ValueError(f"`codes` must be integers, got {codes.dtype}.")
        outside = np.flatnonzero((codes < 0) | (codes >= self.codebook_size))
        if outside.size:
            first = outside[0]
            raise ValueError(f"`codes` must be in [0, {self.codebook_size}), got {codes[first]} at position {first}.")
        return codes.astype(np.int64)


AutoModel.register(T5GemmaTTSCodecConfig, T5GemmaTTSCodecModel, exist_ok=True)
T5GemmaTTSCodecConfig.register_for_auto_class()
T5GemmaTTSCodecModel.register_for_auto_class("AutoModel")

__all__ = ["T5GemmaTTSCodecModel", "XCodec2"]
