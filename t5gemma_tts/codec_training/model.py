"""The codec as training sees it: a new model whose weights can learn, and a forward pass with gradients everywhere.

`Xcodec2Model.encode` runs its semantic encoder without gradients, and transformers' initialisation (all weights of
deviation 0.02) starts with every phase near 0: frames are impulses where the window is 0, the output is silence, and
nothing moves. Both are put right here; parameters and architecture are those of the library.
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
    """The configuration of a new model: given sizes, and those of the published codec for the others; no dropout."""
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
    # a small model trained from nothing needs all it has, and its mel features unmasked
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
    """Draws weights from the global generator: PyTorch's own for layers, random phases and soft frames in the head."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.ConvTranspose1d)):
            module.reset_parameters()
    log_magnitude, phase = model.acoustic_decoder.head.linear.bias.chunk(2)
    log_magnitude.fill_(INITIAL_LOG_MAGNITUDE)
    phase.uniform_(-math.pi, math.pi)


def load_codec_to_train(arguments: CodecModelArguments) -> XCodec2:
    """
    The codec that training starts with, in float32 on the CPU.

    Raises:
        OSError, ValueError: as `XCodec2.from_pretrained`; for sizes that do not fit together.
    """
    if arguments.model is not None:
        return XCodec2.from_pretrained(arguments.model)
    model = Xcodec2Model(new_config(arguments))
    initialize(model)
    even_normal(model.quantizer)  # refuses levels that cannot be reached
    return XCodec2(model)


class CodecForTraining(nn.Module):
    """
    An `Xcodec2Model` from audio to audio with gradients through all of it, the rounding of codes included (straight
    through), or from codes to audio with gradients in the decoder alone.

    Args:
        model (`Xcodec2Model`)
        freeze_encoder (`bool`, *optional*, defaults to `False`): Only `acoustic_decoder` gets gradients.
        freeze_waveform_encoder (`bool`, *optional*, defaults to `False`): `acoustic_encoder` gets none.
        freeze_decoder (`bool`, *optional*, defaults to `False`): `acoustic_decoder` and the latents of codes get none.
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
        """Of the decoder only: encoders run without dropout and masks, as when they are used."""
        super().train(mode)
        for part in (self.model.semantic_encoder, self.model.semantic_adapter, self.model.acoustic_encoder):
            part.eval()
        return self

    def encode(self, audio: torch.Tensor, semantic: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            audio (`torch.Tensor`): (batch_size, num_frames * hop_length), at the input rate.
            semantic (`torch.Tensor`): (batch_size, width, num_frames), as `semantic` makes it of the same audio.

        Returns:
            `(latents, codes, projected)`: floats (batch_size, num_frames, quantization_dim); ids (batch_size,
            num_frames); and what was rounded, floats (batch_size, num_frames, number of levels), before it is bounded.
        """
        model = self.model
        acoustic = encode_waveform(model.acoustic_encoder, audio[:, None])
        hidden_states = model.fc_encoder(torch.cat([semantic.float(), acoustic], dim=1).transpose(1, 2))
        latents, codes = model.quantizer(hidden_states)
        return latents, codes[..., 0], model.quantizer.project_in(hidden_states)

    def hear(self, features: torch.Tensor) -> torch.Tensor:
        """
        What the encoder of mel features makes of them, where latents will be: without the waveform, and not rounded.

        Args:
            features (`torch.Tensor`): as in `semantic`.

        Returns:
            `torch.Tensor`: (batch_size, num_frames, quantization_dim)
        """
        model = self.model
        semantic = self.semantic(features)
        width = model.fc_encoder.in_features - semantic.shape[1]
        nothing = semantic.new_zeros(len(semantic), width, semantic.shape[2])
        return model.fc_encoder(torch.cat([semantic, nothing], dim=1).transpose(1, 2))

    def semantic(self, features: torch.Tensor) -> torch.Tensor:
        """Of features as `XCodec2.encode` computes them: (batch_size, num_frames, 160) -> (..., width, num_frames)"""
        hidden_states = self.model.semantic_encoder(features).last_hidden_state
        return self.model.semantic_adapter(hidden_states.transpose(1, 2))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """(batch_size, num_frames, quantization_dim) -> (batch_size, num_samples) at the output rate."""
        return self.model.acoustic_decoder(latents)[:, 0]

    @torch.no_grad()
    def latents_of(self, codes: torch.Tensor) -> torch.Tensor:
        """Ids (batch_size, num_frames) -> (batch_size, num_frames, quantization_dim), without gradient."""
        return self.model.quantizer.from_codes(codes[..., None])


__all__ = ["CodecForTraining", "initialize", "load_codec_to_train", "new_config"]
