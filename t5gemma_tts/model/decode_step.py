"""The fast decode step: one token for every row, with fused projections, when the past is in a KV cache.

The layers of transformers stay what defines the model; this runs the same arithmetic with fused projections, without
building masks, dispatching attention or copying the cache at every token.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaDecoderLayer, T5GemmaRMSNorm

from .backbone import T5GemmaTTSAudioHead, T5GemmaTTSDecoder
from .cache import SpeechState
from .fused_linear import fuse_linears
from .quantization import Int8Linear


MANY_KEYS = 1024
CAPTURING_HOOKS = "transformers.utils.output_capturing"
Layers = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class _Attention:
    """`project` is q, k and v of self-attention, or q alone of cross-attention."""

    project: Layers
    output: Layers
    before: torch.Tensor
    after: torch.Tensor
    window: int | None


@dataclass
class _Layer:
    self_attention: _Attention
    cross_attention: _Attention
    gate_up: Layers
    down: Layers
    act_fn: Callable[[torch.Tensor], torch.Tensor]
    before: torch.Tensor
    after: torch.Tensor


class DecodeStep:
    """
    Args:
        decoder (`T5GemmaTTSDecoder`), audio_head (`T5GemmaTTSAudioHead`): in evaluation mode.
        pack_weights (`bool`): as in `fuse_linears`.
    """

    def __init__(self, decoder: T5GemmaTTSDecoder, audio_head: T5GemmaTTSAudioHead, pack_weights: bool = True):
        config = decoder.config
        self.decoder = decoder
        self.num_heads, self.num_key_heads = config.num_attention_heads, config.num_key_value_heads
        attention = decoder.layers[0].self_attn
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        self.softcap = config.attn_logit_softcapping
        self.floor = torch.tensor((config.hidden_size * config.rms_norm_eps) ** 0.5, device=decoder.norm.weight.device)
        self.rotate_cross = decoder.use_pm_rope
        self.scale = torch.tensor(config.hidden_size**0.5, dtype=decoder.embed_tokens.weight.dtype)
        self.norm = _gain(decoder.norm)
        self.layers = [self._read(layer, pack_weights) for layer in decoder.layers]
        windows = (layer.self_attention.window for layer in self.layers)
        self.windows = {window for window in windows if window is not None}
        self.dense, self.act_fn = fuse_linears([audio_head.dense], pack_weights), audio_head.act_fn
        self.out_proj = fuse_linears([audio_head.out_proj], pack_weights)
        # for one query over many keys, the CPU's attention kernel in float32 is slower than its two products
        weight = decoder.embed_tokens.weight
        self.kernel_length = MANY_KEYS if weight.device.type == "cpu" and weight.dtype == torch.float32 else math.inf
        # rounding to integers makes much of the last bit, which blocks of columns in other places change
        self.by_row = any(isinstance(module, Int8Linear) for module in decoder.modules())
        self.pack_weights = pack_weights
        self.version = self.version_of(decoder, audio_head)

    @staticmethod
    def version_of(*parts: nn.Module) -> tuple[tuple[int, int], ...]:
        """Changes when weights are moved, replaced or trained: what was derived from them is then out of date."""
        return tuple(
            (parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version)
            for part in parts
            for parameter in part.parameters()
        )

    @staticmethod
    def fits(*parts: nn.Module) -> bool:
        """Whether calling the innermost modules does what calling the outer ones does: nothing hangs on them."""
        for module in (module for part in parts for module in part.modules()):
            # those that transformers leaves behind after it was asked for attentions do nothing until it is asked again
            hooks = [hook for hook in module._forward_hooks.values() if hook.__module__ != CAPTURING_HOOKS]
            if hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook"):
                return False
        return True

    def _read(self, layer: T5GemmaDecoderLayer, pack: bool) -> _Layer:
        own, cross, mlp = layer.self_attn, layer.cross_attn, layer.mlp
        return _Layer(
            self_attention=_Attention(
                project=fuse_linears([own.q_proj, own.k_proj, own.v_proj], pack),
                output=fuse_linears([own.o_proj], pack),
                before=_gain(layer.pre_self_attn_layernorm),
                after=_gain(layer.post_self_attn_layernorm),
                window=own.sliding_window,
            ),
            cross_attention=_Attention(
                project=fuse_linears([cross.q_proj], pack),
                output=fuse_linears([cross.o_proj], pack),
                before=_gain(layer.pre_cross_attn_layernorm),
                after=_gain(layer.post_cross_attn_layernorm),
                window=None,
            ),
            gate_up=fuse_linears([mlp.gate_proj, mlp.up_proj], pack),
            down=fuse_linears([mlp.down_proj], pack),
            act_fn=mlp.act_fn,
            before=_gain(layer.pre_feedforward_layernorm),
            after=_gain(layer.post_feedforward_layernorm),
        )

    def __call__(self, input_ids: torch.Tensor, position_ids: torch.Tensor, state: SpeechState) -> torch.Tensor:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size,)`): the last token of every row.
            position_ids (`torch.FloatTensor` of shape `(batch_size,)`): its progress.
            state (`SpeechState`): what came before; gets the token's keys and values.

        Returns:
            `torch.Tensor` of shape `(batch_size, hidden_size)`: the decoder's normalised output.
        """
        hidden = self.decoder.embed_tokens(input_ids) * self.scale
        cos, sin = self.decoder.rotary_emb(hidden, position_ids.unsqueeze(-1))  # (batch_size, 1, head_dim)
        first, second = sin.chunk(2, dim=-1)
        rotation = cos, torch.cat([-first, second], dim=-1)
        bias, window_biases = state.open_column(self.windows)
        for index, layer in enumerate(self.layers):
            part = layer.self_attention
            states = part.project(self._normalised(hidden, part.before))
            states = states.view(len(states), -1, self.head_dim)
            turned, value = states.split_with_sizes((self.num_heads + self.num_key_heads, self.num_key_heads), dim=1)
            query, key = _rotate(turned, rotation).split_with_sizes((self.num_heads, self.num_key_heads), dim=1)
            keys, values = state.append(index, key, value)
            spans = state.spans(part.window) if self.by_row else None
            attended = self._attend(query, keys, values, window_biases.get(part.window, bias), spans)
            hidden = self._added(hidden, part.output(attended), part.after)

            part = layer.cross_attention
            query = part.project(self._normalised(hidden, part.before)).view(len(states), -1, self.head_dim)
            if self.rotate_cross:
                query = _rotate(query, rotation)
            text = state.text_layers[index]
            spans = state.text_spans() if self.by_row else None
            attended = self._attend(query, text.keys, text.values, state.text_bias, spans)
            hidden = self._added(hidden, part.output(attended), part.after)

            both = layer.gate_up(self._normalised(hidden, layer.before))
            gate, up = both.split_with_sizes((both.shape[-1] // 2,) * 2, dim=-1)
            hidden = self._added(hidden, layer.down(layer.act_fn(gate) * up), layer.after)
        return self._normalised(hidden, self.norm)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The audio head: `(batch_size, hidden_size)` -> `(batch_size, vocab_size)`."""
        return self.out_proj(self.act_fn(self.dense(hidden)))

    def _normalised(self, hidden: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        """
        RMSNorm in float32, as in transformers: x / sqrt(mean(x^2) + eps) is x sqrt(n) / hypot(|x|, sqrt(n eps)), which
        takes half the calls. `gain` has the root of n.
        """
        scaled, length = self._scaled(hidden, gain)
        normalised = scaled / length
        return normalised if normalised.dtype == hidden.dtype else normalised.to(hidden.dtype)

    def _added(self, hidden: torch.Tensor, states: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        """`hidden` and the normalised `states`."""
        scaled, length = self._scaled(states, gain)
        if hidden.dtype == torch.float32:
            return torch.addcdiv(hidden, scaled, length)
        return hidden + (scaled / length).to(hidden.dtype)

    def _scaled(self, hidden: torch.Tensor, gain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = hidden if hidden.dtype == torch.float32 else hidden.float()
        length = torch.linalg.vector_norm(states, dim=-1, keepdim=True)  # (batch_size, 1)
        return states * gain, torch.hypot(length, self.floor)

    def _attend(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        bias: torch.Tensor | None,
        spans: list[slice] | None,
    ) -> torch.Tensor:
        """
        (batch_size, num_heads, head_dim) -> (batch_size, num_heads * head_dim); with `spans`, the columns that each row
        sees, row by row.
        """
        # heads that share keys stand where the positions of a longer query would
        query = query.reshape(len(query), self.num_key_heads, -1, self.head_dim)
        if spans is None:
            return self._attention(query, keys, values, bias).reshape(len(query), -1)
        rows = [
            self._attention(
                one,
                seen.narrow(2, span.start, span.stop - span.start),
                said.narrow(2, span.start, span.stop - span.start),
                None,
            )
            for one, seen, said, span in zip(query.split(1), keys.split(1), values.split(1), spans, strict=True)
        ]
        return torch.cat(rows).reshape(len(query), -1)

    def _attention(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        if self.softcap is None and keys.shape[2] < self.kernel_length:
            return nn.functional.scaled_dot_product_attention(query, keys, values, bias, scale=self.scaling)
        scores = torch.bmm((query * self.scaling).flatten(0, 1), keys.flatten(0, 1).transpose(1, 2))
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if bias is not None:
            scores = scores.view(len(bias), -1, *scores.shape[1:]) + bias  # (batch_size, num_key_heads, group, used)
        shares = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
        return torch.bmm(shares.view(-1, *shares.shape[-2:]), values.flatten(0, 1)).view(query.shape)


def _gain(norm: T5GemmaRMSNorm) -> torch.Tensor:
    """One plus the weight, times the root of its size."""
    return ((1.0 + norm.weight.float()) * len(norm.weight) ** 0.5).detach()


def _rotate(states: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """As `apply_rotation`, of (batch_size, num_heads, head_dim), with the sign of `rotate_half` in the sines."""
    cos, signed_sin = rotation
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, dims=-1), signed_sin)


__all__ = ["DecodeStep"]
