"""Encoder and decoder of T5Gemma-TTS: transformers' T5Gemma with progress positions.

RoPE rotates queries and keys by their progress (`progress_positions`), also in cross-attention: queries by the
decoder's progress, keys by the encoder's. Everything else (caches, attention kernels, output recording, gradient
checkpointing) is inherited from transformers.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from transformers import T5GemmaModuleConfig
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
    Seq2SeqModelOutput,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.t5gemma.modeling_t5gemma import (
    T5GemmaCrossAttention,
    T5GemmaDecoder,
    T5GemmaEncoder,
    T5GemmaPreTrainedModel,
    eager_attention_forward,
    make_default_2d_attention_mask,
)
from transformers.utils.generic import can_return_tuple

from .configuration_t5gemma_tts import T5GemmaTTSConfig
from .pm_rope import T5GemmaTTSRotaryEmbedding, apply_rotation, progress_positions


class T5GemmaTTSCrossAttention(T5GemmaCrossAttention):
    """Cross-attention with queries and keys rotated by progress. The cache holds the rotated keys."""

    def _split_heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)

    def project_text(
        self,
        encoder_hidden_states: torch.Tensor,
        key_position_embeddings: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotated keys and values of a text: `(batch_size, num_key_heads, text_length, head_dim)` each."""
        key_states = self._split_heads(self.k_proj(encoder_hidden_states))
        if key_position_embeddings is not None:
            key_states = apply_rotation(key_states, key_position_embeddings)
        return key_states, self._split_heads(self.v_proj(encoder_hidden_states))

    def forward(  # type: ignore[override]  # the layers pass the rotations as keyword arguments
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        encoder_hidden_states: torch.Tensor,
        past_key_values: EncoderDecoderCache | None = None,
        query_position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        key_position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query_states = self._split_heads(self.q_proj(hidden_states))
        if query_position_embeddings is not None:
            query_states = apply_rotation(query_states, query_position_embeddings)

        if past_key_values is not None and past_key_values.is_updated.get(self.layer_idx):
            cached: Any = past_key_values.cross_attention_cache.layers[self.layer_idx]
            key_states, value_states = cached.keys, cached.values
        else:
            key_states, value_states = self.project_text(encoder_hidden_states, key_position_embeddings)
            if past_key_values is not None:
                key_states, value_states = past_key_values.cross_attention_cache.update(
                    key_states, value_states, self.layer_idx
                )
                past_key_values.is_updated[self.layer_idx] = True

        attention: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, attn_weights = attention(
            self,
            query_states,
            key_states,
            value_states,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            sliding_window=None,
            softcap=self.attn_logit_softcapping,
            **kwargs,
        )
        attn_output = attn_output.reshape(*hidden_states.shape[:-1], -1).contiguous()
        return self.o_proj(attn_output), attn_weights


AnyModel = TypeVar("AnyModel", bound="T5GemmaTTSPreTrainedModel")


class T5GemmaTTSPreTrainedModel(T5GemmaPreTrainedModel):
    config_class = T5GemmaTTSConfig
    config: T5GemmaTTSConfig  # type: ignore[assignment]  # transformers' is that of the text model
    input_modalities = ["text"]
    output_modalities = ("audio",)
    _supports_sdpa = True

    def _sdpa_can_dispatch(self, is_init_check: bool = False) -> bool:
        backbone = getattr(self.config, "backbone", None)
        modules = [self.config] if backbone is None else [backbone.encoder, backbone.decoder]
        for module in modules:
            if module.attn_logit_softcapping is not None:
                raise ValueError(
                    f"`attn_logit_softcapping` is {module.attn_logit_softcapping} in this configuration, and "
                    "`attn_implementation='sdpa'` cannot apply it; use 'eager' or 'flex_attention', or set it to None."
                )
        return super()._sdpa_can_dispatch(is_init_check)

    if TYPE_CHECKING:  # type checkers misread transformers' wrapper of this method

        def to(self: AnyModel, *args: Any, **kwargs: Any) -> AnyModel: ...  # type: ignore[override]


class T5GemmaTTSAudioHead(nn.Module):
    """Linear, exact (erf) GELU, Linear to the audio vocabulary."""

    def __init__(self, hidden_size: int, vocab_size: int):
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.act_fn = nn.GELU()
        self.out_proj = nn.Linear(hidden_size, vocab_size)

    def features(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Input of the last layer: `(..., hidden_size)` -> `(..., hidden_size)`."""
        return self.act_fn(self.dense(hidden_states))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.out_proj(self.features(hidden_states))


class T5GemmaTTSEncoder(T5GemmaTTSPreTrainedModel, T5GemmaEncoder):
    """T5Gemma's encoder with progress positions. Takes a `T5GemmaTTSConfig` and stores its encoder config."""

    if TYPE_CHECKING:  # a runtime annotation would change `config_class`
        config: T5GemmaModuleConfig  # type: ignore[assignment]

    def __init__(self, config: T5GemmaTTSConfig):
        part: Any = config.get_text_config(encoder=True)  # Any: transformers annotates the full configuration here
        super().__init__(part)
        self.progress_scale = config.progress_scale
        self.use_pm_rope = config.use_pm_rope
        self.rotary_emb = T5GemmaTTSRotaryEmbedding(config=part)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...] | BaseModelOutput:
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if attention_mask is None:
            attention_mask = make_default_2d_attention_mask(input_ids, inputs_embeds, self.config.pad_token_id)
        if position_ids is None:
            position_ids = progress_positions(attention_mask, self.progress_scale, self.use_pm_rope)
        mask_kwargs: dict[str, Any] = {
            "config": self.config,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
        }
        full_mask = sliding_mask = create_bidirectional_mask(**mask_kwargs)
        layer_types: Any = self.config.layer_types
        window: Any = self.config.sliding_window
        if "sliding_attention" in layer_types and inputs_embeds.shape[1] > window:
            # transformers' window includes distance `window`; the original and flash attention exclude it
            sliding_mask = create_bidirectional_mask(
                **mask_kwargs, and_mask_function=lambda batch, head, query, key: abs(query - key) < window
            )
        return super().forward(
            inputs_embeds=inputs_embeds,
            attention_mask={"full_attention": full_mask, "sliding_attention": sliding_mask},
            position_ids=position_ids,
            **{**kwargs, "use_cache": False},  # the config's default of True would log a warning in training
        )


class T5GemmaTTSDecoder(T5GemmaTTSPreTrainedModel, T5GemmaDecoder):
    """T5Gemma's decoder over audio tokens. Computes the rotations of queries and keys once for all layers."""

    if TYPE_CHECKING:
        config: T5GemmaModuleConfig  # type: ignore[assignment]
        layers: Any  # ModuleList of `T5GemmaDecoderLayer`s with a `T5GemmaTTSCrossAttention`

    def __init__(self, config: T5GemmaTTSConfig):
        part: Any = config.get_text_config(decoder=True)
        super().__init__(part)
        self.progress_scale = config.progress_scale
        self.use_pm_rope = config.use_pm_rope
        for layer_idx, layer in enumerate(self.layers):
            layer.cross_attn = T5GemmaTTSCrossAttention(part, layer_idx)
        self.rotary_emb = T5GemmaTTSRotaryEmbedding(config=part)
        self.post_init()

    def text_rotation(
        self, encoder_hidden_states: torch.Tensor, encoder_attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """
        (cos, sin) of the text keys in cross-attention, `(batch_size, text_length, head_dim)` each; None without
        PM-RoPE.
        """
        if not self.use_pm_rope:
            return None
        if encoder_attention_mask is None:
            encoder_attention_mask = torch.ones(
                encoder_hidden_states.shape[:2], dtype=torch.long, device=encoder_hidden_states.device
            )
        return self.rotary_emb(encoder_hidden_states, progress_positions(encoder_attention_mask, self.progress_scale))

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | dict[str, Any] | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        full_self_attention: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, ...] | BaseModelOutputWithPastAndCrossAttentions:
        """
        Args:
            position_ids (`torch.FloatTensor` of shape `(batch_size, length)`, *optional*): float32 progress positions.
                By default, computed from `attention_mask` as if the sequences were complete.
            full_self_attention (`bool`): disable the sliding window of self-attention, as in the original's training.

        Raises:
            ValueError: if `encoder_hidden_states` are missing, or a mask or positions that cannot be derived.
        """
        if encoder_hidden_states is None:
            raise ValueError("`encoder_hidden_states` are required: the decoder attends to an encoded text.")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        length = inputs_embeds.shape[1]
        if use_cache and past_key_values is None and not self.training:
            # cross-attention never has a sliding window, so its cache gets no config
            past_key_values = EncoderDecoderCache(DynamicCache(config=self.config), DynamicCache())
        if attention_mask is None:
            if past_key_values is not None and past_key_values.get_seq_length():
                raise ValueError("`decoder_attention_mask` over all previous tokens is required with a filled cache.")
            attention_mask = make_default_2d_attention_mask(input_ids, inputs_embeds, self.config.pad_token_id)
        if position_ids is None:
            if isinstance(attention_mask, dict) or attention_mask.ndim != 2:
                raise ValueError("`position_ids` are required with a prepared attention mask.")
            position_ids = progress_positions(attention_mask, self.progress_scale, self.use_pm_rope)[:, -length:]
        if not isinstance(attention_mask, dict):
            # no position_ids: mask creation would interpret non-integer positions as packed sequences
            mask_kwargs: dict[str, Any] = {
                "config": self.config,
                "inputs_embeds": inputs_embeds,
                "attention_mask": attention_mask,
                "past_key_values": past_key_values.self_attention_cache if past_key_values is not None else None,
            }
            full_mask = create_causal_mask(**mask_kwargs)
            layer_types: Any = self.config.layer_types
            sliding = not full_self_attention and "sliding_attention" in layer_types
            attention_mask = {
                "full_attention": full_mask,
                "sliding_attention": create_sliding_window_causal_mask(**mask_kwargs) if sliding else full_mask,
            }
        query_rotation = key_rotation = None
        if self.use_pm_rope:
            query_rotation = self.rotary_emb(inputs_embeds, position_ids)
            if past_key_values is None or not past_key_values.is_updated.get(0):
                key_rotation = self.text_rotation(encoder_hidden_states, encoder_attention_mask)
        cross_attention_mask = create_bidirectional_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=encoder_attention_mask,
            encoder_hidden_states=encoder_hidden_states,
        )
        return super().forward(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask={"full_attention": cross_attention_mask},
            query_position_embeddings=query_rotation,
            key_position_embeddings=key_rotation,
            **kwargs,
        )


class T5GemmaTTSModel(T5GemmaTTSPreTrainedModel):
    """Encoder and decoder without the audio head."""

    def __init__(self, config: T5GemmaTTSConfig):
        super().__init__(config)
        self.encoder = T5GemmaTTSEncoder(config)
        self.decoder = T5GemmaTTSDecoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, new_embeddings: nn.Module) -> None:
        self.encoder.set_input_embeddings(new_embeddings)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | dict[str, Any] | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        use_cache: bool | None = None,
        full_self_attention: bool = False,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs
            )
        elif not isinstance(encoder_outputs, BaseModelOutput):
            encoder_outputs = BaseModelOutput(*encoder_outputs)
        decoder_outputs = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            position_ids=decoder_position_ids,
            inputs_embeds=decoder_inputs_embeds,
            past_key_values=past_key_values,
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            encoder_attention_mask=attention_mask,
            use_cache=use_cache,
            full_self_attention=full_self_attention,
            **kwargs,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            past_key_values=decoder_outputs.past_key_values,
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )


__all__ = ["T5GemmaTTSAudioHead", "T5GemmaTTSModel", "T5GemmaTTSPreTrainedModel"]
