"""The fast decode step: one token for every row, with fused projections and a KV cache.

The transformers layers define the model. This module runs the same arithmetic with fused projections, and skips mask
construction, attention dispatch and cache copies at every token.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaDecoderLayer, T5GemmaRMSNorm

from .backbone import T5GemmaTTSAudioHead, T5GemmaTTSDecoder
from .cache import DecodeState
from .fused_linear import fuse_linears
from .quantization import Int8Linear


MATMUL_MIN_KEYS = 1024
OUTPUT_CAPTURING_MODULE = "transformers.utils.output_capturing"
Projection = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class _Attention:
    """`project` computes q, k and v in self-attention, and only q in cross-attention."""

    project: Projection
    output: Projection
    pre_norm: torch.Tensor
    post_norm: torch.Tensor
    window: int | None


@dataclass
class _Layer:
    self_attention: _Attention
    cross_attention: _Attention
    gate_up: Projection
    down: Projection
    act_fn: Callable[[torch.Tensor], torch.Tensor]
    pre_norm: torch.Tensor
    post_norm: torch.Tensor


class DecodeStep:
    """
    Runs the decoder on one token per row.

    Args:
        decoder (`T5GemmaTTSDecoder`), audio_head (`T5GemmaTTSAudioHead`): in evaluation mode.
        pack_weights (`bool`, *optional*, defaults to `True`): as in `fuse_linears`.
    """

    def __init__(self, decoder: T5GemmaTTSDecoder, audio_head: T5GemmaTTSAudioHead, pack_weights: bool = True):
        config = decoder.config
        self.decoder = decoder
        self.num_heads, self.num_key_heads = config.num_attention_heads, config.num_key_value_heads
        attention = decoder.layers[0].self_attn
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        self.softcap = config.attn_logit_softcapping
        self.norm_floor = torch.tensor(
            (config.hidden_size * config.rms_norm_eps) ** 0.5, device=decoder.norm.weight.device
        )
        self.rotate_cross = decoder.use_pm_rope
        self.embed_scale = torch.tensor(config.hidden_size**0.5, dtype=decoder.embed_tokens.weight.dtype)
        self.norm = _norm_scale(decoder.norm)
        self.layers = [self._fuse_layer(layer, pack_weights) for layer in decoder.layers]
        windows = (layer.self_attention.window for layer in self.layers)
        self.windows = {window for window in windows if window is not None}
        self.dense, self.act_fn = fuse_linears([audio_head.dense], pack_weights), audio_head.act_fn
        self.out_proj = fuse_linears([audio_head.out_proj], pack_weights)
        # on the CPU in float32, two matrix products beat the sdpa kernel for one query over many keys
        weight = decoder.embed_tokens.weight
        self.max_sdpa_keys = (
            MATMUL_MIN_KEYS if weight.device.type == "cpu" and weight.dtype == torch.float32 else math.inf
        )
        # int8 rounding amplifies last-bit differences, which attention over a padded batch causes
        self.attend_per_row = any(isinstance(module, Int8Linear) for module in decoder.modules())
        self.pack_weights = pack_weights
        self.version = self.weights_version(decoder, audio_head)

    @staticmethod
    def weights_version(*parts: nn.Module) -> tuple[tuple[int, int], ...]:
        """Changes when weights are moved, replaced or trained, so that stale fused copies are detected."""
        return tuple(
            (parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version)
            for part in parts
            for parameter in part.parameters()
        )

    @staticmethod
    def is_supported(*parts: nn.Module) -> bool:
        """Whether the fast step can replace these modules: it skips their hooks, so they must have none."""
        for module in (module for part in parts for module in part.modules()):
            # transformers' output-capturing hooks do nothing unless outputs are requested
            hooks = [hook for hook in module._forward_hooks.values() if hook.__module__ != OUTPUT_CAPTURING_MODULE]
            if hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook"):
                return False
        return True

    def _fuse_layer(self, layer: T5GemmaDecoderLayer, pack: bool) -> _Layer:
        self_attn, cross, mlp = layer.self_attn, layer.cross_attn, layer.mlp
        return _Layer(
            self_attention=_Attention(
                project=fuse_linears([self_attn.q_proj, self_attn.k_proj, self_attn.v_proj], pack),
                output=fuse_linears([self_attn.o_proj], pack),
                pre_norm=_norm_scale(layer.pre_self_attn_layernorm),
                post_norm=_norm_scale(layer.post_self_attn_layernorm),
                window=self_attn.sliding_window,
            ),
            cross_attention=_Attention(
                project=fuse_linears([cross.q_proj], pack),
                output=fuse_linears([cross.o_proj], pack),
                pre_norm=_norm_scale(layer.pre_cross_attn_layernorm),
                post_norm=_norm_scale(layer.post_cross_attn_layernorm),
                window=None,
            ),
            gate_up=fuse_linears([mlp.gate_proj, mlp.up_proj], pack),
            down=fuse_linears([mlp.down_proj], pack),
            act_fn=mlp.act_fn,
            pre_norm=_norm_scale(layer.pre_feedforward_layernorm),
            post_norm=_norm_scale(layer.post_feedforward_layernorm),
        )

    def __call__(self, input_ids: torch.Tensor, position_ids: torch.Tensor, state: DecodeState) -> torch.Tensor:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size,)`): the last token of every row.
            position_ids (`torch.FloatTensor` of shape `(batch_size,)`): its progress position.
            state (`DecodeState`): KV cache of the earlier tokens; the token's keys and values are appended.

        Returns:
            `torch.Tensor` of shape `(batch_size, hidden_size)`: the decoder's output after its final norm.
        """
        hidden = self.decoder.embed_tokens(input_ids) * self.embed_scale
        cos, sin = self.decoder.rotary_emb(hidden, position_ids.unsqueeze(-1))  # (batch_size, 1, head_dim)
        first, second = sin.chunk(2, dim=-1)
        rotation = cos, torch.cat([-first, second], dim=-1)
        bias, window_biases = state.allocate_column(self.windows)
        for index, layer in enumerate(self.layers):
            part = layer.self_attention
            states = part.project(self._rms_norm(hidden, part.pre_norm))
            states = states.view(len(states), -1, self.head_dim)
            query_key, value = states.split_with_sizes((self.num_heads + self.num_key_heads, self.num_key_heads), dim=1)
            query, key = _rotate(query_key, rotation).split_with_sizes((self.num_heads, self.num_key_heads), dim=1)
            keys, values = state.append(index, key, value)
            spans = state.spans(part.window) if self.attend_per_row else None
            attended = self._attend(query, keys, values, window_biases.get(part.window, bias), spans)
            hidden = self._add_rms_norm(hidden, part.output(attended), part.post_norm)

            part = layer.cross_attention
            query = part.project(self._rms_norm(hidden, part.pre_norm)).view(len(states), -1, self.head_dim)
            if self.rotate_cross:
                query = _rotate(query, rotation)
            text = state.text_layers[index]
            spans = state.text_spans() if self.attend_per_row else None
            attended = self._attend(query, text.keys, text.values, state.text_bias, spans)
            hidden = self._add_rms_norm(hidden, part.output(attended), part.post_norm)

            gate_up = layer.gate_up(self._rms_norm(hidden, layer.pre_norm))
            gate, up = gate_up.split_with_sizes((gate_up.shape[-1] // 2,) * 2, dim=-1)
            hidden = self._add_rms_norm(hidden, layer.down(layer.act_fn(gate) * up), layer.post_norm)
        return self._rms_norm(hidden, self.norm)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The audio head: `(batch_size, hidden_size)` -> `(batch_size, vocab_size)`."""
        return self.out_proj(self.act_fn(self.dense(hidden)))

    def _rms_norm(self, hidden: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """
        RMSNorm in float32, as in transformers: x / sqrt(mean(x^2) + eps) = x sqrt(n) / hypot(|x|, sqrt(n eps)), which
        needs half the kernel calls. `scale` includes the factor sqrt(n), `norm_floor` is sqrt(n eps).
        """
        scaled, length = self._scale_and_norm(hidden, scale)
        normalised = scaled / length
        return normalised if normalised.dtype == hidden.dtype else normalised.to(hidden.dtype)

    def _add_rms_norm(self, hidden: torch.Tensor, states: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """`hidden` plus the RMSNorm of `states`."""
        scaled, length = self._scale_and_norm(states, scale)
        if hidden.dtype == torch.float32:
            return torch.addcdiv(hidden, scaled, length)
        return hidden + (scaled / length).to(hidden.dtype)

    def _scale_and_norm(self, hidden: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = hidden if hidden.dtype == torch.float32 else hidden.float()
        length = torch.linalg.vector_norm(states, dim=-1, keepdim=True)  # (batch_size, 1)
        return states * scale, torch.hypot(length, self.norm_floor)

    def _attend(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        bias: torch.Tensor | None,
        spans: list[slice] | None,
    ) -> torch.Tensor:
        """
        (batch_size, num_heads, head_dim) -> (batch_size, num_heads * head_dim). With `spans`, each row attends to its
        own columns in a separate call.
        """
        # grouped-query attention: heads that share keys take the sequence axis of the query
        query = query.reshape(len(query), self.num_key_heads, -1, self.head_dim)
        if spans is None:
            return self._attention(query, keys, values, bias).reshape(len(query), -1)
        rows = [
            self._attention(
                one,
                row_keys.narrow(2, span.start, span.stop - span.start),
                row_values.narrow(2, span.start, span.stop - span.start),
                None,
            )
            for one, row_keys, row_values, span in zip(
                query.split(1), keys.split(1), values.split(1), spans, strict=True
            )
        ]
        return torch.cat(rows).reshape(len(query), -1)

    def _attention(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        if self.softcap is None and keys.shape[2] < self.max_sdpa_keys:
            return nn.functional.scaled_dot_product_attention(query, keys, values, bias, scale=self.scaling)
        scores = torch.bmm((query * self.scaling).flatten(0, 1), keys.flatten(0, 1).transpose(1, 2))
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if bias is not None:
            scores = scores.view(len(bias), -1, *scores.shape[1:]) + bias  # (batch_size, num_key_heads, group, used)
        weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
        return torch.bmm(weights.view(-1, *weights.shape[-2:]), values.flatten(0, 1)).view(query.shape)


def _norm_scale(norm: T5GemmaRMSNorm) -> torch.Tensor:
    """The factor of Gemma's RMSNorm, 1 + weight, times sqrt(hidden_size)."""
    return ((1.0 + norm.weight.float()) * len(norm.weight) ** 0.5).detach()


def _rotate(states: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """`apply_rotation` of (batch_size, num_heads, head_dim), with the sign of `rotate_half` folded into the sines."""
    cos, signed_sin = rotation
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, dims=-1), signed_sin)


__all__ = ["DecodeStep"]
