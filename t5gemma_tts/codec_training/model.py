"""The trainable codec: initialization of new models, and a forward pass with gradients through all parts.

`Xcodec2Model.encode` runs its semantic encoder without gradients, and transformers' initialization (standard deviation
0.02) starts with all phases near 0: the energy of each frame is where the window is 0, so the output is silent and the
model does not learn. This module fixes both; architecture and parameters are those of transformers.
"""

import math

import torch
from torch import nn
from transformers import Wav2Vec2BertConfig, Xcodec2Config, Xcodec2Model

from ..model.xcodec2 import XCodec2
from .arguments import CodecModelArguments
from .codebook_spread import even_normal
from .waveform_encoder import encode_waveform


INITIAL_LOG_MAGNITUDE = -1.0


def new_config(arguments: CodecModelArguments) -> Xcodec2Config:
    """Returns the config of a new model without dropout; sizes default to those of the published codec."""
    sizes = {
        name: getattr(arguments, name)
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "quantization_levels",
            "encoder_hidden_size",
            "downsampling_ratios",
        )
    }
    semantic_sizes = {
        "hidden_size": arguments.semantic_hidden_size,
        "output_hidden_size": arguments.semantic_hidden_size,
        "intermediate_size": arguments.semantic_intermediate_size,
        "num_hidden_layers": arguments.semantic_num_hidden_layers or 16,
        "num_attention_heads": arguments.semantic_num_attention_heads,
        "conv_depthwise_kernel_size": arguments.semantic_conv_kernel_size,
    }
    # small models trained from scratch underfit: no dropout and no SpecAugment
    off = ("hidden_dropout", "attention_dropout", "feat_proj_dropout", "activation_dropout", "layerdrop")
    semantic = Wav2Vec2BertConfig(
        **{name: value for name, value in semantic_sizes.items() if value is not None},
        **dict.fromkeys((*off, "conformer_conv_dropout"), 0.0),
        apply_spec_augment=False,
    )
    sizes = {name: value for name, value in sizes.items() if value not in (None, [])}
    heads = sizes.get("num_attention_heads", Xcodec2Config.num_attention_heads)
    if sizes["hidden_size"] % 32 or sizes["hidden_size"] % heads:
        raise ValueError(
            f"`hidden_size` must be a multiple of 32 and of `num_attention_heads` ({heads}), got "
            f"{sizes['hidden_size']}."
        )
    if semantic.hidden_size % semantic.num_attention_heads:
        raise ValueError(
            f"`semantic_hidden_size` must be a multiple of `semantic_num_attention_heads` "
            f"({semantic.num_attention_heads}), got {semantic.hidden_size}."
        )
    return Xcodec2Config(
        **sizes,
        num_key_value_heads=heads,
        head_dim=sizes["hidden_size"] // heads,
        activation_dropout=0.0,
        semantic_model_config=semantic,
        quantization_dim=sizes["hidden_size"] + semantic.hidden_size,
    )


@torch.no_grad()
def initialize(model: Xcodec2Model) -> None:
    """Initializes layers with PyTorch's defaults, and the output head with random phases and low magnitudes."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.ConvTranspose1d)):
            module.reset_parameters()
    log_magnitude, phase = model.acoustic_decoder.head.linear.bias.chunk(2)
    log_magnitude.fill_(INITIAL_LOG_MAGNITUDE)
    phase.uniform_(-math.pi, math.pi)


def load_codec_to_train(arguments: CodecModelArguments) -> XCodec2:
    """
    Loads or creates the codec to train, in float32 on the CPU.

    Raises:
        OSError, ValueError: as `XCodec2.from_pretrained`; if sizes are inconsistent.
    """
    if arguments.model is not None:
        return XCodec2.from_pretrained(arguments.model)
    model = Xcodec2Model(new_config(arguments))
    initialize(model)
    even_normal(model.quantizer)  # raises an error for unreachable levels
    return XCodec2(model)


class CodecForTraining(nn.Module):
    """
    Wraps an `Xcodec2Model`: audio to audio with gradients through all parts, including quantization (straight-through
    estimator), or codes to audio with gradients in the decoder only.

    Args:
        model (`Xcodec2Model`)
        freeze_encoder (`bool`, *optional*, defaults to `False`): Train only `acoustic_decoder`.
        freeze_waveform_encoder (`bool`, *optional*, defaults to `False`): Freeze `acoustic_encoder`.
        freeze_decoder (`bool`, *optional*, defaults to `False`): Freeze `acoustic_decoder` and the codebook.
    """

    def __init__(
        self,
        model: Xcodec2Model,
        freeze_encoder: bool = False,
        freeze_waveform_encoder: bool = False,
        freeze_decoder: bool = False,
    ):
        super().__init__()
        self.model = model
        model.requires_grad_(not freeze_encoder)
        if freeze_waveform_encoder:
            model.acoustic_encoder.requires_grad_(False)
        model.acoustic_decoder.requires_grad_(not freeze_decoder)
        if freeze_decoder:
            model.quantizer.project_out.requires_grad_(False)

    def train(self, mode: bool = True) -> "CodecForTraining":
        """Sets the mode of the decoder; encoders stay in eval mode, without dropout and masking."""
        super().train(mode)
        for part in (self.model.semantic_encoder, self.model.semantic_adapter, self.model.acoustic_encoder):
            part.eval()
        return self

    def encode(self, audio: torch.Tensor, semantic: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            audio (`torch.Tensor`): (batch_size, num_frames * hop_length), at the input rate.
            semantic (`torch.Tensor`): (batch_size, width, num_frames), output of `semantic` for the same audio.

        Returns:
            `(latents, codes, projected)`: quantized latents, float (batch_size, num_frames, quantization_dim); codes,
            (batch_size, num_frames); quantizer input before bounding, float (batch_size, num_frames, num_dimensions).
        """
        model = self.model
        acoustic = encode_waveform(model.acoustic_encoder, audio[:, None])
        hidden_states = model.fc_encoder(torch.cat([semantic.float(), acoustic], dim=1).transpose(1, 2))
        latents, codes = model.quantizer(hidden_states)
        return latents, codes[..., 0], model.quantizer.project_in(hidden_states)

    def semantic_latents(self, features: torch.Tensor) -> torch.Tensor:
        """
        Latents from the mel encoder alone, without waveform encoder and quantization.

        Args:
            features (`torch.Tensor`): as in `semantic`.

        Returns:
            `torch.Tensor`: (batch_size, num_frames, quantization_dim)
        """
        model = self.model
        semantic = self.semantic(features)
        width = model.fc_encoder.in_features - semantic.shape[1]
        zeros = semantic.new_zeros(len(semantic), width, semantic.shape[2])
        return model.fc_encoder(torch.cat([semantic, zeros], dim=1).transpose(1, 2))

    def semantic(self, features: torch.Tensor) -> torch.Tensor:
        """Mel features (batch_size, num_frames, 160) -> semantic hidden states (batch_size, width, num_frames)."""
        hidden_states = self.model.semantic_encoder(features).last_hidden_state
        return self.model.semantic_adapter(hidden_states.transpose(1, 2))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """(batch_size, num_frames, quantization_dim) -> (batch_size, num_samples) at the output rate."""
        return self.model.acoustic_decoder(latents)[:, 0]

    @torch.no_grad()
    def latents_of(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (batch_size, num_frames) -> latents (batch_size, num_frames, quantization_dim), without gradient."""
        return self.model.quantizer.from_codes(codes[..., None])


__all__ = ["CodecForTraining", "initialize", "load_codec_to_train", "new_config"]
