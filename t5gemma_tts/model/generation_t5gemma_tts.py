"""`generate` for T5Gemma-TTS: length budget, positions, stopping rules, sampling filter.

The target length of each row is fixed before the first token. Positions encode the progress toward that target, and the
budget limits the number of tokens. All rules are applied per row, so a sample's tokens do not depend on its batch.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import CompileConfig, GenerationConfig, GenerationMixin, LogitsProcessorList
from transformers.cache_utils import DynamicCache, EncoderDecoderCache, StaticCache
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.utils import GenerateEncoderDecoderOutput
from transformers.models.t5gemma.modeling_t5gemma import make_default_2d_attention_mask

from .cache import SpeechCache
from .configuration_t5gemma_tts import T5GemmaTTSConfig
from .decode_step import DecodeStep
from .engine import SpeechEngine, speech_requests
from .logits_process import (
    ForcedEndLogitsProcessor,
    MinimumFramesLogitsProcessor,
    SilencePenaltyLogitsProcessor,
    SpeechSamplingWarper,
)
from .pm_rope import decoder_positions


MAX_INITIAL_CAPACITY = 4096  # initial cache size in tokens; generations of over 80 seconds grow it


TEXT_LENGTH_MULTIPLE, CACHE_LENGTH_MULTIPLE = 64, 512  # lengths are rounded up, to limit recompilation


@dataclass
class GenerationLimits:
    """
    Length limits and positions of one `generate` call.

    Attributes:
        max_frames (`torch.LongTensor` of shape `(batch_size,)`): audio tokens of each row before the end is forced.
        positions (`torch.FloatTensor` of shape `(batch_size, prompt_length + max(max_frames) + 1)`): float32 position
            of every decoder token, including the prompt.
    """

    max_frames: torch.Tensor
    positions: torch.Tensor


class T5GemmaTTSGenerationMixin(GenerationMixin):
    """`GenerationMixin` for speech: see [`~T5GemmaTTSGenerationMixin.generate`]."""

    config: T5GemmaTTSConfig  # provided by the model
    generation_config: GenerationConfig
    training: bool
    if TYPE_CHECKING:

        def decode_step(self) -> DecodeStep | None: ...

    _supported_generation_modes = [GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE]

    @torch.no_grad()
    def generate(  # type: ignore[override]  # other arguments of transformers' `generate` are keyword-only here
        self,
        inputs: torch.Tensor | None = None,
        num_frames: torch.Tensor | list[int] | None = None,
        silence_token_ids: list[int] | None = None,
        max_silence_run: int = 3,
        **kwargs: Any,
    ) -> GenerateEncoderDecoderOutput | torch.Tensor:
        r"""
        Generates audio tokens for a batch of texts. Each row has its own reference (or none) and target length.

        Args:
            inputs (`torch.LongTensor` of shape `(batch_size, text_length)`, *optional*): text ids, as `input_ids`.
            num_frames (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                Target length of each row in audio tokens, without the reference. If not given, the model assumes
                `config.progress_lookahead_seconds` and generates until the end token or `max_length`.
            silence_token_ids (`list[int]`, *optional*): silence codes; repeating one is penalized increasingly.
            max_silence_run (`int`, *optional*, defaults to 3): number of repetitions before the penalty applies.
            kwargs:
                `attention_mask`; `decoder_input_ids` and `decoder_attention_mask` (start token, reference codes,
                separator; padded on the left); and the arguments of transformers' `generate`. `max_new_tokens` can only
                shorten a row's budget. `top_k`, `top_p` and `min_p` act as in [`SpeechSamplingWarper`].

        Returns:
            `torch.LongTensor` of shape `(batch_size * num_return_sequences, length)`: new tokens only; each row ends
            with the end token and is padded on the right. With `return_dict_in_generate=True`, a
            [`~generation.GenerateEncoderDecoderOutput`] with these `sequences`.

        Raises:
            ValueError: if a length is negative, does not fit the batch, or exceeds `max_length`.
        """
        if inputs is not None:
            kwargs["input_ids"] = inputs
        if kwargs.get("negative_prompt_ids") is not None or kwargs.get("assistant_model") is not None:
            raise ValueError("`negative_prompt_ids` and `assistant_model` are not supported.")
        if self.training:
            raise ValueError("the model is in training mode; call `model.eval()` before `generate`.")
        prompt_mask = self._prepare_prompt(kwargs)
        static = self._generation_option("cache_implementation", kwargs) == "static"
        if static:
            self._pad_text(kwargs)
        budget = self._plan_generation(prompt_mask, num_frames, kwargs)
        prompt_length = prompt_mask.shape[1]
        kwargs.pop("max_new_tokens", None)
        kwargs["max_length"] = budget.positions.shape[1]
        if static:  # round up the cache length, to limit recompilation
            kwargs["max_cache_len"] = -(-budget.positions.shape[1] // CACHE_LENGTH_MULTIPLE) * CACHE_LENGTH_MULTIPLE
        if (config := kwargs.get("generation_config")) is not None:
            config = kwargs["generation_config"] = copy.deepcopy(config)
            config.max_new_tokens, config.max_length = None, kwargs.pop("max_length")
            config.max_cache_len = kwargs.pop("max_cache_len", None)
        if silence_token_ids and max_silence_run < 1:
            raise ValueError(f"`max_silence_run` must be at least 1, got {max_silence_run}.")
        output: Any = super().generate(  # type: ignore[misc]  # `GenerationMixin` expects to be mixed into a model
            decoder_positions=budget.positions,
            decoder_max_frames=budget.max_frames,
            decoder_silence_rule=(silence_token_ids, max_silence_run) if silence_token_ids else None,
            **kwargs,
        )
        if isinstance(output, torch.Tensor):
            return output[:, prompt_length:]
        output.sequences = output.sequences[:, prompt_length:]
        return output

    @torch.no_grad()
    def stream(self, input_ids: torch.Tensor, **kwargs: Any) -> Iterator[torch.Tensor]:
        """
        Generates like `generate`, and yields each token when it is sampled.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`)
            kwargs: as in [`speech_requests`]. With a `seed`, a row's tokens do not depend on the rest of the batch.

        Yields:
            `torch.LongTensor` of shape `(batch_size,)`: the next token of each row, on the CPU; padding after a row's
            end token.
        """
        model: Any = self
        requests = speech_requests(model, input_ids=input_ids, **kwargs)
        engine = SpeechEngine(model, max_batch_size=len(requests))
        for request in requests:
            engine.submit(request)
        while engine.busy:
            stepped = engine.step()
            yield torch.tensor(
                [request.token_ids[-1] if request in stepped else self.config.pad_token_id for request in requests]
            )

    def compile_decoder(self, **kwargs: Any) -> None:
        """
        Makes `generate` compile its decode step, with CUDA graphs on CUDA. The first calls take minutes.

        Texts are padded to multiples of 64 tokens and caches to multiples of 512, because each new length triggers a
        compilation.

        Args:
            kwargs: arguments of `torch.compile`, such as `mode`; defaults as in `CompileConfig`.
        """
        compile_config: Any = CompileConfig(**kwargs)
        compile_config._compile_all_devices = True  # by default, transformers does not compile on the CPU
        self.generation_config.compile_config = compile_config
        self.generation_config.cache_implementation = "static"

    @staticmethod
    def _pad_text(kwargs: dict[str, Any]) -> None:
        """Pads `input_ids` and their mask on the right to a multiple of 64, to limit recompilation."""
        if kwargs.get("input_ids") is None:
            return
        missing = -kwargs["input_ids"].shape[1] % TEXT_LENGTH_MULTIPLE
        for name in ("input_ids", "attention_mask"):
            kwargs[name] = torch.nn.functional.pad(kwargs[name], (0, missing))

    def _prepare_prompt(self, kwargs: dict[str, Any]) -> torch.Tensor:
        """Completes `decoder_input_ids` and its mask in `kwargs`; returns the mask, `(batch_size, prompt_length)`."""
        text = next((kwargs[name] for name in ("input_ids", "inputs_embeds") if kwargs.get(name) is not None), None)
        if text is None and kwargs.get("encoder_outputs") is not None:
            text = kwargs["encoder_outputs"][0]
        if text is None:
            raise ValueError("`generate` needs `input_ids`, `inputs_embeds` or `encoder_outputs`.")
        batch_size = text.shape[0]
        if kwargs.get("attention_mask") is None:
            kwargs["attention_mask"] = make_default_2d_attention_mask(
                kwargs.get("input_ids"), text, self.config.get_text_config(encoder=True).pad_token_id
            )
        start = self.config.decoder_start_token_id
        if kwargs.get("decoder_input_ids") is None:
            kwargs["decoder_input_ids"] = torch.full((batch_size, 1), start, dtype=torch.long, device=text.device)
            kwargs.pop("decoder_attention_mask", None)
        prompt = kwargs["decoder_input_ids"]
        mask = kwargs.get("decoder_attention_mask")
        if mask is None:
            mask = kwargs["decoder_attention_mask"] = torch.ones_like(prompt)
        if prompt.shape[0] != batch_size or mask.shape != prompt.shape:
            raise ValueError(
                f"`decoder_input_ids` and `decoder_attention_mask` must be of shape ({batch_size}, prompt_length), got "
                f"{tuple(prompt.shape)} and {tuple(mask.shape)}."
            )
        first = prompt.gather(1, mask.long().argmax(-1, keepdim=True))
        if not (mask[:, -1] == 1).all() or not (first == start).all():
            raise ValueError(
                f"each row of `decoder_input_ids` must begin with the start token {start} and be padded on the left."
            )
        return mask

    def _plan_generation(
        self,
        prompt_mask: torch.Tensor,
        num_frames: torch.Tensor | list[int] | None,
        kwargs: dict[str, Any],
    ) -> GenerationLimits:
        config = self.config
        batch_size, prompt_length = prompt_mask.shape
        prompt_tokens = prompt_mask.sum(-1).cpu()
        max_length, max_new_tokens = (
            self._generation_option(name, kwargs) for name in ("max_length", "max_new_tokens")
        )
        max_positions = config.get_text_config(decoder=True).max_position_embeddings
        length_limit = max_positions if max_length is None else max_length
        available = length_limit - prompt_length
        if max_new_tokens is not None:
            available = min(available, max_new_tokens)
        if available < 1:
            raise ValueError(
                f"the prompt of {prompt_length} tokens leaves no room for speech: `max_length` is {length_limit} and "
                f"`max_new_tokens` is {max_new_tokens}."
            )
        integer_rate = int(config.frame_rate)  # the original's rules round the frame rate down
        if num_frames is None:
            target_length = prompt_tokens + int(integer_rate * config.progress_lookahead_seconds)
            max_frames = torch.full((batch_size,), available)
        else:
            num_frames = torch.as_tensor(num_frames, dtype=torch.long, device="cpu")
            if num_frames.shape != (batch_size,):
                raise ValueError(
                    f"`num_frames` must have one entry per text, shape ({batch_size},), got {tuple(num_frames.shape)}."
                )
            if (num_frames < 0).any():
                raise ValueError(f"`num_frames` must not be negative, got {num_frames.tolist()}.")
            target_length = prompt_tokens + num_frames
            # the original forces the end at the first step t (from 0) with t > num_frames - 1 + cutoff
            cutoff = integer_rate * config.extra_cutoff_seconds
            max_frames = torch.tensor([max(0, math.floor(n - 1 + cutoff) + 1) for n in num_frames.tolist()])
            longest = int(max_frames.max()) + 1
            if max_new_tokens is None and longest > available:
                raise ValueError(
                    f"`num_frames` requires up to {longest} tokens after a prompt of {prompt_length}, more than "
                    f"`max_length` = {length_limit}; shorten the text or its duration."
                )
        if config.text_guard_frames_per_token > 0:
            text_tokens = kwargs["attention_mask"].sum(-1).cpu()
            guard = torch.floor(text_tokens * config.text_guard_frames_per_token).long() + 1
            max_frames = torch.minimum(max_frames, guard)
        num_steps = min(available, int(max_frames.max()) + 1)
        positions = decoder_positions(
            prompt_mask, target_length, num_steps, float(config.progress_scale), config.use_pm_rope
        )
        device = prompt_mask.device
        return GenerationLimits(max_frames=max_frames.to(device), positions=positions.to(device))

    def _generation_option(self, name: str, kwargs: dict[str, Any]) -> Any:
        """A generation option: from the call, else its `generation_config`, else the model's `generation_config`."""
        sources = (kwargs.get(name), getattr(kwargs.get("generation_config"), name, None))
        return next((value for value in sources if value is not None), getattr(self.generation_config, name))

    def prepare_inputs_for_generation(  # type: ignore[override]  # likewise
        self,
        input_ids: torch.LongTensor,
        next_sequence_length: int | None = None,
        decoder_positions: torch.Tensor | None = None,
        decoder_max_frames: torch.Tensor | None = None,
        decoder_silence_rule: tuple[list[int], int] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        if decoder_positions is not None:
            length = input_ids.shape[1]
            taken = length if next_sequence_length is None else next_sequence_length
            positions = decoder_positions[:, length - taken : length].to(input_ids.device)
            kwargs["decoder_position_ids"] = positions.contiguous()  # new strides would trigger a compilation
        return super().prepare_inputs_for_generation(  # type: ignore[misc]
            input_ids, next_sequence_length=next_sequence_length, **kwargs
        )

    def _get_logits_processor(  # type: ignore[override]  # likewise
        self,
        generation_config: GenerationConfig,
        input_ids_seq_length: int,
        logits_processor: LogitsProcessorList | None = None,
        model_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> LogitsProcessorList:
        model_kwargs = model_kwargs or {}
        eos = self.config.eos_token_id
        rules = LogitsProcessorList(logits_processor or [])
        if (max_frames := model_kwargs.get("decoder_max_frames")) is not None:
            # the original forbids the end token at steps t <= rate // 5
            min_frames = int(self.config.frame_rate // 5) + 1
            rules.append(MinimumFramesLogitsProcessor(eos, input_ids_seq_length, min_frames))
            if (silence_rule := model_kwargs.get("decoder_silence_rule")) is not None:
                silence_token_ids, max_run = silence_rule
                rules.append(SilencePenaltyLogitsProcessor(silence_token_ids, max_run, input_ids_seq_length))
            rules.append(ForcedEndLogitsProcessor(eos, input_ids_seq_length, max_frames))
        filter_names = ("top_k", "top_p", "min_p")
        sampling_filter = {name: getattr(generation_config, name) for name in filter_names}
        for name in filter_names:  # replaced by `SpeechSamplingWarper` below
            setattr(generation_config, name, None)
        processors = super()._get_logits_processor(  # type: ignore[misc]
            generation_config=generation_config,
            input_ids_seq_length=input_ids_seq_length,
            logits_processor=rules,
            model_kwargs=model_kwargs,
            **kwargs,
        )
        for name, value in sampling_filter.items():
            setattr(generation_config, name, value)
        if generation_config.do_sample:
            processors.append(SpeechSamplingWarper(**sampling_filter))
        return processors

    def _prepare_cache_for_generation(  # type: ignore[override]
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        generation_mode: GenerationMode,
        batch_size: int,
        max_cache_length: int,
    ) -> None:
        """Uses a `SpeechCache` by default. In other caches, removes the sliding window from cross-attention."""
        if (
            model_kwargs.get("past_key_values") is None
            and generation_config.use_cache is not False
            and generation_config.cache_implementation is None
        ):
            recorded = generation_config.output_attentions or generation_config.output_hidden_states
            model_kwargs["past_key_values"] = SpeechCache(
                num_layers=self.config.get_text_config(decoder=True).num_hidden_layers,
                capacity=min(max_cache_length, MAX_INITIAL_CAPACITY),
                fast_step=None if recorded else self.decode_step(),
            )
            return
        super()._prepare_cache_for_generation(  # type: ignore[misc]
            generation_config, model_kwargs, generation_mode, batch_size, max_cache_length
        )
        made = model_kwargs.get("past_key_values")
        if not isinstance(made, EncoderDecoderCache) or made.is_updated.get(0):
            return
        cache: Any = made  # Any: transformers annotates both parts as dynamic caches
        if isinstance(cache.cross_attention_cache, StaticCache):
            config = self.config.get_text_config(decoder=True)
            full = type(config)(**{**config.to_dict(), "layer_types": ["full_attention"] * config.num_hidden_layers})
            text_length = model_kwargs["encoder_outputs"][0].shape[1]
            cache.cross_attention_cache = StaticCache(config=full, max_cache_len=text_length)
            length = cache.self_attention_cache.get_max_length()
            if (
                config.sliding_window is not None and length <= config.sliding_window
            ):  # a window that nothing leaves; without one there is less to compile
                cache.self_attention_cache = StaticCache(config=full, max_cache_len=length)
        else:
            cache.cross_attention_cache = DynamicCache()


__all__ = ["T5GemmaTTSGenerationMixin"]
