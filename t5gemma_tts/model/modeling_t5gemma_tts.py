"""T5Gemma-TTS: computes logits over audio tokens from text ids and audio tokens, and the training loss from labels."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModel, AutoModelForSeq2SeqLM
from transformers.cache_utils import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.auto.modeling_auto import AutoModelForTextToWaveform
from transformers.utils.generic import can_return_tuple

from .backbone import (
    T5GemmaTTSAudioHead,
    T5GemmaTTSDecoder,
    T5GemmaTTSEncoder,
    T5GemmaTTSModel,
    T5GemmaTTSPreTrainedModel,
)
from .cache import SpeechCache
from .configuration_t5gemma_tts import T5GemmaTTSConfig
from .decode_step import DecodeStep
from .generation_t5gemma_tts import T5GemmaTTSGenerationMixin
from .loss import IGNORE_INDEX, speech_loss
from .weights import UNUSED_ORIGINAL_KEYS, T5GemmaTTSWeightsMixin, default_generation_config


@dataclass
class T5GemmaTTSOutput(Seq2SeqLMOutput):
    """
    `Seq2SeqLMOutput` with counts for training logs.

    Args:
        num_targets (`torch.LongTensor`, *optional*): scalar, number of target tokens in the loss.
        num_top10 (`torch.LongTensor`, *optional*): scalar, number of targets among their 10 largest logits.
    """

    num_targets: torch.Tensor | None = None
    num_top10: torch.Tensor | None = None


class T5GemmaTTSForConditionalGeneration(T5GemmaTTSWeightsMixin, T5GemmaTTSPreTrainedModel, T5GemmaTTSGenerationMixin):
    """
    Predicts audio tokens from text ids and a prompt of audio tokens. `generate` synthesizes speech.

    Attributes:
        pack_weights (`bool`): on the CPU, keep packed copies of the decoder's weights for speed, as in `fuse_linears`:
            one copy, or up to two (for one row and for several). False saves that memory.
    """

    main_input_name = "input_ids"
    accepts_loss_kwargs = True
    _keys_to_ignore_on_load_unexpected = UNUSED_ORIGINAL_KEYS

    def __init__(self, config: T5GemmaTTSConfig):
        super().__init__(config)
        self.model = T5GemmaTTSModel(config)
        self.audio_head = T5GemmaTTSAudioHead(config.get_text_config(decoder=True).hidden_size, config.vocab_size)
        self.pack_weights = True
        self._decode_step: DecodeStep | None = None
        self.post_init()
        self.generation_config = default_generation_config(config)

    def get_encoder(self, *args: Any, **kwargs: Any) -> T5GemmaTTSEncoder:
        return self.model.encoder

    def get_decoder(self) -> T5GemmaTTSDecoder:
        return self.model.decoder

    def decode_step(self) -> DecodeStep | None:
        """The fast decode step, rebuilt after weights change. None if decoder or audio head have forward hooks."""
        parts = self.get_decoder(), self.audio_head
        if not DecodeStep.is_supported(*parts):
            return None
        made = self._decode_step
        if made is None or (made.pack_weights, made.version) != (
            self.pack_weights,
            DecodeStep.weights_version(*parts),
        ):
            made = self._decode_step = None  # free the old copies before packing new ones
            with torch.inference_mode(False):  # parameters may become views of fused weights
                self._decode_step = DecodeStep(*parts, self.pack_weights)
        return self._decode_step

    def get_output_embeddings(self) -> None:
        """None, so that resizing the text vocabulary does not resize the audio head."""
        return None

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Shifts labels `(batch_size, length)` right and prepends the start token; ignored labels become padding."""
        shifted = labels.roll(1, dims=-1)
        shifted[:, 0] = self.config.decoder_start_token_id
        return shifted.masked_fill(shifted == IGNORE_INDEX, self.config.pad_token_id)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | dict[str, Any] | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Any, ...] | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        num_items_in_batch: torch.Tensor | int | None = None,
        skip_logits: bool = False,
        **kwargs: Any,
    ) -> T5GemmaTTSOutput:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): text ids, padded on the right.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`): 1 for text, 0 for padding.
            decoder_input_ids (`torch.LongTensor` of shape `(batch_size, length)`):
                start token, reference codes, separator, target codes. Derived from `labels` if not given.
            decoder_attention_mask (`torch.Tensor` of shape `(batch_size, length)`): 1 for valid tokens.
            decoder_position_ids (`torch.FloatTensor` of shape `(batch_size, length)`, *optional*):
                float32 progress of each token. By default, computed as if the sequences were complete (training).
            labels (`torch.LongTensor` of shape `(batch_size, length)`, *optional*):
                the decoder's input shifted left, ending with the end token, -100 at padding. With labels, the decoder's
                self-attention has no sliding window, as in the original's training.
            num_items_in_batch (`int`, *optional*): divisor of the summed loss, in place of the batch's token count.
            skip_logits (`bool`, *optional*, defaults to `False`):
                With labels: compute the loss in chunks and return no logits, to save memory.

        Returns:
            [`T5GemmaTTSOutput`] with float logits `(batch_size, length, codebook_size + 5)`.
        """
        if isinstance(past_key_values, SpeechCache) and past_key_values.can_fast_step(decoder_input_ids):
            # `generate` always passes mask and positions with this cache
            mask: Any = decoder_attention_mask
            positions: Any = decoder_position_ids
            step: Any = past_key_values.fast_step
            state = past_key_values.decode_state(mask, attention_mask)
            logits = step.logits(step(decoder_input_ids[:, 0], positions[:, 0], state))
            return T5GemmaTTSOutput(logits=logits.unsqueeze(1), past_key_values=past_key_values)
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
            if decoder_attention_mask is None:
                decoder_attention_mask = (labels != IGNORE_INDEX).long()
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            decoder_position_ids=decoder_position_ids,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            full_self_attention=labels is not None,
            **kwargs,
        )
        logits = None
        if labels is None or not skip_logits:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.audio_head(outputs.last_hidden_state[:, kept])
        loss = num_targets = num_top10 = None
        if labels is not None:
            loss, num_targets, num_top10 = speech_loss(
                outputs.last_hidden_state,
                self.audio_head,
                labels,
                separator_token_id=self.config.audio_separator_token_id,
                eos_token_id=self.config.eos_token_id,
                eos_loss_weight=self.config.eos_loss_weight,
                no_loss_on_prefix=self.config.no_loss_on_prefix,
                num_items_in_batch=num_items_in_batch,
                logits=logits,
            )
        return T5GemmaTTSOutput(
            loss=loss,
            num_targets=num_targets,
            num_top10=num_top10,
            logits=logits,
            past_key_values=outputs.past_key_values,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )


AutoModel.register(T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration, exist_ok=True)
AutoModelForSeq2SeqLM.register(T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration, exist_ok=True)
AutoModelForTextToWaveform.register(T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration, exist_ok=True)
T5GemmaTTSForConditionalGeneration.register_for_auto_class("AutoModel")

__all__ = ["T5GemmaTTSForConditionalGeneration", "T5GemmaTTSOutput"]
