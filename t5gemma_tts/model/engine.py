"""Continuous batching: each step generates one token per row, and requests join and leave between steps.

When a request finishes, the next waiting request takes its slot, so short texts never wait for long ones. Each request
has its own random numbers: with a seed, its tokens do not depend on the other requests in the batch.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from .cache import SpeechCache
from .decode_step import DecodeStep
from .logits_process import SilencePenaltyLogitsProcessor
from .sampling import RowSampler, SamplingOptions
from .slots import DecodeSlots


DEFAULT_CAPACITY_FRAMES = 256  # initial cache capacity of a request without `num_frames`
# requests with less than this fraction of the longest request's remaining tokens are stepped every time, others every
# LONG_INTERVAL-th time
SHORT_FRACTION, LONG_INTERVAL = 0.5, 3


class SpeechModel(Protocol):
    """The part of `T5GemmaTTSForConditionalGeneration` that the engine uses; importing the class would be circular."""

    training: bool
    config: Any
    generation_config: Any
    audio_head: Any

    def get_encoder(self) -> Any: ...
    def get_decoder(self) -> Any: ...
    def decode_step(self) -> DecodeStep | None: ...
    def _plan_generation(self, prompt_mask: torch.Tensor, num_frames: Any, kwargs: dict[str, Any]) -> Any: ...
    def _prepare_prompt(self, kwargs: dict[str, Any]) -> torch.Tensor: ...


def random_seed() -> int:
    """Draws a seed in [0, 2^63 - 1) from torch's global generator."""
    return int(torch.randint(2**63 - 1, ()))


@dataclass(eq=False)
class SpeechRequest:
    """
    One text to synthesize and the tokens generated so far.

    Args:
        input_ids (`torch.LongTensor` of shape `(text_length,)`): text ids without padding.
        prompt_ids (`torch.LongTensor` of shape `(prompt_length,)`): decoder prompt without padding.
        num_frames (`int`, *optional*): target length in audio tokens, as in `generate`.
        options (`SamplingOptions`, *optional*)
        seed (`int`, *optional*): drawn from torch's global generator if not given.
        max_new_tokens (`int`, *optional*): upper limit on generated tokens; cannot extend the budget.

    Attributes:
        token_ids (`list[int]`): tokens generated so far, including the end token.
        finished (`bool`): True after the end token or the last token of the budget.

    Raises:
        ValueError: if `input_ids` or `prompt_ids` is empty or not one-dimensional.
    """

    input_ids: torch.Tensor
    prompt_ids: torch.Tensor
    num_frames: int | None = None
    options: SamplingOptions = field(default_factory=SamplingOptions)
    seed: int = field(default_factory=random_seed)
    max_new_tokens: int | None = None
    token_ids: list[int] = field(default_factory=list, init=False)
    finished: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        for name in ("input_ids", "prompt_ids"):
            ids = getattr(self, name)
            if ids.ndim != 1 or not len(ids):
                raise ValueError(f"`{name}` must be of shape (length,) and not empty, got {tuple(ids.shape)}.")

    def plan(self, model: SpeechModel) -> None:
        """
        Computes the length budget, the positions and the random numbers of this request.

        Raises:
            ValueError: if the request exceeds the model's `max_length`, as in `generate`.
        """
        arguments = {"attention_mask": torch.ones(1, len(self.input_ids)), "max_new_tokens": self.max_new_tokens}
        num_frames = None if self.num_frames is None else [self.num_frames]
        mask = torch.ones((1, len(self.prompt_ids)), dtype=torch.long)
        budget = model._plan_generation(mask, num_frames, arguments)
        self.positions = budget.positions[0]
        self.max_frames = int(budget.max_frames[0])
        self.max_tokens = len(self.positions) - len(self.prompt_ids)
        generator = torch.Generator().manual_seed(self.seed)
        self.uniforms = torch.rand(self.max_tokens, dtype=torch.float64, generator=generator).tolist()

    @property
    def remaining_tokens(self) -> int:
        """Upper limit on the number of tokens still to generate."""
        return self.max_tokens - len(self.token_ids)

    def silence_run_length(self) -> int:
        """Number of times the last token repeats at the end of `token_ids` if it is a silence token, else 0."""
        if not self.token_ids or self.token_ids[-1] not in self.options.silence_token_ids:
            return 0
        run = 0
        for token in reversed(self.token_ids):
            if token != self.token_ids[-1]:
                break
            run += 1
        return run


def speech_requests(
    model: SpeechModel,
    num_frames: torch.Tensor | list[int] | None = None,
    seed: int | list[int] | None = None,
    max_new_tokens: int | None = None,
    num_return_sequences: int = 1,
    silence_token_ids: list[int] | None = None,
    max_silence_run: int = 3,
    do_sample: bool | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    **inputs: Any,
) -> list[SpeechRequest]:
    """
    Builds one request per row from the output of a processor.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): its `generation_config` supplies the sampling options not given.
        num_frames (`torch.LongTensor` of shape `(batch_size,)`, *optional*): target lengths, as in `generate`.
        seed (`int` or `list[int]`, *optional*): one seed for all rows, or one per row. Sample `i` of a row uses
            `seed + i`.
        num_return_sequences (`int`): requests per row; requests of the same row are adjacent.
        inputs: `input_ids`, `attention_mask`, `decoder_input_ids`, `decoder_attention_mask` as in `generate`.

    Raises:
        ValueError: for inputs that `generate` rejects, or a list whose length is not the batch size.
        TypeError: for an unknown argument.
    """
    mask = model._prepare_prompt(inputs)
    if unknown := set(inputs) - {"input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask"}:
        raise TypeError(f"unknown argument {sorted(unknown)[0]!r}; use `generate` for other transformers options.")
    texts, prompts, text_mask = inputs["input_ids"], inputs["decoder_input_ids"], inputs["attention_mask"]
    batch_size = len(texts)

    def per_row(name: str, value: Any) -> list[Any]:
        values = value.tolist() if isinstance(value, torch.Tensor) else value
        values = list(values) if isinstance(values, (list, tuple)) else [values] * batch_size
        if len(values) != batch_size:
            raise ValueError(f"`{name}` must have one entry per text, {batch_size}, got {len(values)}.")
        return values

    defaults = model.generation_config
    chosen: dict[str, Any] = {
        "do_sample": do_sample,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
    }
    chosen = {name: getattr(defaults, name) if value is None else value for name, value in chosen.items()}
    options = SamplingOptions(
        **chosen | {"temperature": 1.0 if chosen["temperature"] is None else chosen["temperature"]},
        silence_token_ids=tuple(silence_token_ids or ()),
        max_silence_run=max_silence_run,
    )
    if num_frames is not None:
        num_frames = per_row("num_frames", num_frames)
    requests = []
    for row, row_seed in enumerate(per_row("seed", seed)):
        for sample in range(num_return_sequences):
            requests.append(
                SpeechRequest(
                    input_ids=texts[row][text_mask[row] != 0],
                    prompt_ids=prompts[row][mask[row] != 0],
                    num_frames=None if num_frames is None else int(num_frames[row]),
                    options=options,
                    seed=random_seed() if row_seed is None else row_seed + sample,
                    max_new_tokens=max_new_tokens,
                )
            )
    return requests


class SpeechEngine:
    """
    Runs submitted requests with continuous batching. Not thread-safe.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): in evaluation mode. Its encoder runs once per text and may be on
            another device, e.g. after `model.get_encoder().to("cpu")`.
        max_batch_size (`int`, *optional*, defaults to 16): maximum number of active requests; each one holds a KV-cache
            slot.

    Raises:
        ValueError: if the model is in training mode or `max_batch_size` is below 1. `step` raises it if the decoder has
            forward hooks, which the fast decode step would skip.
    """

    def __init__(self, model: SpeechModel, max_batch_size: int = 16):
        if model.training:
            raise ValueError("the model is in training mode; call `model.eval()` first.")
        if max_batch_size < 1:
            raise ValueError(f"`max_batch_size` must be at least 1, got {max_batch_size}.")
        self.model, self.max_batch_size = model, max_batch_size
        self.device = model.get_decoder().device
        self.eos_token_id = model.config.eos_token_id
        # the original forbids the end token at steps t <= rate // 5
        self.min_frames = int(model.config.frame_rate // 5) + 1
        self.num_layers = model.config.get_text_config(decoder=True).num_hidden_layers
        self.waiting: deque[SpeechRequest] = deque()
        self._reset()

    def _reset(self) -> None:
        """Frees the KV cache and drops the decode step, so that weights may change before the next request."""
        self.active: list[SpeechRequest] = []
        self.samplers: dict[int, RowSampler] = {}
        self.short_steps = 0
        self.slots = DecodeSlots(self.num_layers)
        self.decode_step: DecodeStep | None = None

    def submit(self, request: SpeechRequest) -> None:
        """
        Appends a request to the queue.

        Raises:
            ValueError: if the request exceeds the model's `max_length`.
        """
        request.plan(self.model)
        self.waiting.append(request)

    @torch.inference_mode()
    def cancel(self, request: SpeechRequest) -> None:
        """Removes a waiting or active request. Does nothing if the request has finished."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.active:
            self._release(self.active.index(request))

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.active)

    @torch.inference_mode()  # without version counters, the many small int8 operations take 6% less time
    def step(self, shortest_first: bool = False) -> list[SpeechRequest]:
        """
        Admits waiting requests to free slots, then generates one token for each active request.

        Args:
            shortest_first (`bool`): step requests with many more remaining tokens than others only every third time.
                On a CPU, where the time of a step grows with the batch, short requests then finish sooner and long
                ones hardly later.

        Returns:
            `list[SpeechRequest]`: the requests that got a token, `token_ids[-1]`. `finished` is set after the end token
            or the last token of the budget.

        Raises:
            ValueError: if the decoder has forward hooks, which the fast decode step would skip.
        """
        if self.decode_step is None:
            self.decode_step = self.model.decode_step()
            if self.decode_step is None:
                raise ValueError("the engine does not call the hooks on the model's decoder; use `generate` instead.")
        while self.waiting and len(self.active) < self.max_batch_size:
            self._prefill(self.waiting.popleft())
        if not self.active:
            return []
        stepped = self.active[: self._select_rows() if shortest_first else None]
        scores = self._next_logits(stepped, self.decode_step)
        for request, token in zip(stepped, self._sample(stepped, scores), strict=True):
            request.token_ids.append(token)
            request.finished = token == self.eos_token_id or len(request.token_ids) == request.max_tokens
        for row in reversed(range(len(stepped))):  # reversed, since a released row is filled with the last one
            if stepped[row].finished:
                self._release(row)
        return stepped

    def run(
        self, requests: Iterable[SpeechRequest], on_step: Callable[[int], None] | None = None
    ) -> Iterator[SpeechRequest]:
        """
        Runs all `requests`, longest first, and yields each one when it finishes.

        Args:
            requests (iterable of `SpeechRequest`)
            on_step (callable, *optional*): called after each step with the number of new tokens.

        Raises:
            ValueError: as `submit` and `step`.
        """
        requests = list(requests)
        for request in requests:
            request.plan(self.model)
        self.waiting.extend(sorted(requests, key=lambda request: -len(request.positions)))
        missing = set(requests)
        try:
            while missing:
                stepped = self.step()
                if on_step is not None:
                    on_step(len(stepped))
                for request in stepped:
                    if request.finished and request in missing:
                        missing.remove(request)
                        yield request
        finally:  # the caller may close the generator early
            for request in missing:
                self.cancel(request)

    def _release(self, row: int) -> None:
        self.slots.remove(row)
        self.active[row] = self.active[-1]
        self.active.pop()
        self.samplers.clear()
        if not self.active:
            self._reset()

    def _prefill(self, request: SpeechRequest) -> None:
        """Encodes the text and prefills the prompt except its last token, which the next step processes."""
        model, device = self.model, self.device
        encoder = model.get_encoder()
        encoded = encoder(input_ids=request.input_ids.unsqueeze(0).to(encoder.device)).last_hidden_state.to(device)
        decoder = model.get_decoder()
        rotation = decoder.text_rotation(encoded, None)
        texts = [layer.cross_attn.project_text(encoded, rotation) for layer in decoder.layers]
        prompt_ids = request.prompt_ids[:-1].unsqueeze(0).to(device)
        cache = None
        if prompt_ids.shape[1]:
            cache = SpeechCache(len(texts), capacity=prompt_ids.shape[1])
            decoder(
                input_ids=prompt_ids,
                attention_mask=torch.ones_like(prompt_ids),
                position_ids=request.positions[: prompt_ids.shape[1]].unsqueeze(0).to(device),
                encoder_hidden_states=encoded,
                past_key_values=cache,
                use_cache=True,
            )
        frames = DEFAULT_CAPACITY_FRAMES if request.num_frames is None else request.num_frames
        self.slots.add(texts, cache, capacity=len(request.prompt_ids) + min(request.max_tokens, frames) + 1)
        self.active.append(request)
        self.samplers.clear()

    def _select_rows(self) -> int:
        """Moves the requests of this step to the first rows, and returns their number."""
        left = [request.remaining_tokens for request in self.active]
        soon = [row for row, tokens in enumerate(left) if tokens < SHORT_FRACTION * max(left)]
        self.short_steps = (self.short_steps + 1) % LONG_INTERVAL if soon else 0
        if not self.short_steps:
            return len(left)
        early, late = set(range(len(soon))), set(soon)
        for row, other in zip(sorted(early - late), sorted(late - early), strict=True):
            self.slots.swap(row, other)
            self.active[row], self.active[other] = self.active[other], self.active[row]
            self.samplers.clear()
        return len(soon)

    def _next_logits(self, requests: list[SpeechRequest], decode_step: DecodeStep) -> torch.Tensor:
        device = self.device
        self.slots.activate(len(requests))
        tokens = torch.tensor([(request.token_ids or request.prompt_ids)[-1] for request in requests])
        indices = [len(request.prompt_ids) + len(request.token_ids) - 1 for request in requests]
        positions = torch.stack([request.positions[index] for request, index in zip(requests, indices, strict=True)])
        hidden = decode_step(tokens.to(device), positions.to(device), self.slots)  # (batch_size, hidden_size)
        return decode_step.logits(hidden).float()

    def _sample(self, requests: list[SpeechRequest], scores: torch.Tensor) -> list[int]:
        """The next token of each request: stopping and silence rules first, then sampling, as in `generate`."""
        eos = self.eos_token_id
        early = [row for row, request in enumerate(requests) if len(request.token_ids) < self.min_frames]
        if early:
            scores[early, eos] = -torch.inf
        runs = [request.silence_run_length() if request.options.silence_token_ids else 0 for request in requests]
        if any(runs):
            device = scores.device
            last = torch.tensor([request.token_ids[-1] if request.token_ids else 0 for request in requests])
            longest = torch.tensor([request.options.max_silence_run for request in requests], device=device)
            counts = torch.tensor(runs, device=device).unsqueeze(-1)
            scores = SilencePenaltyLogitsProcessor.penalize(
                scores, last.to(device).unsqueeze(-1), counts, longest.unsqueeze(-1)
            )
        if (sampler := self.samplers.get(len(requests))) is None:
            sampler = self.samplers[len(requests)] = RowSampler([one.options for one in requests], scores.device)
        best, chosen = sampler(scores, [request.uniforms[len(request.token_ids)] for request in requests])
        exhausted = [len(request.token_ids) >= request.max_frames for request in requests]
        return [
            eos if is_exhausted or one_best == eos else one
            for is_exhausted, one_best, one in zip(exhausted, best, chosen, strict=True)
        ]


__all__ = ["SpeechEngine", "SpeechRequest", "speech_requests"]
