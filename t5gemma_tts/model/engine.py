"""Continuous batching: each step generates one token per row, and requests join and leave between steps.

A text that ends gives its place to the next one that waits, so no text is held up by a longer one, and a place costs
what its own speech needs. Every speech has its own random numbers: with a seed it is the same alone or in company.
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
from .slots import SpeechSlots


UNPLANNED_FRAMES = 256  # room for a speech of unknown length, to begin with
# those who have less than this share of the longest one's tokens left go first, and the others at every third step
SOON_SHARE, PATIENCE = 0.5, 3


class SpeechModel(Protocol):
    """What the engine needs of `T5GemmaTTSForConditionalGeneration`, which imports this file through `generate`."""

    training: bool
    config: Any
    generation_config: Any
    audio_head: Any

    def get_encoder(self) -> Any: ...
    def get_decoder(self) -> Any: ...
    def decode_step(self) -> DecodeStep | None: ...
    def _plan_speech(self, prompt_mask: torch.Tensor, num_frames: Any, kwargs: dict[str, Any]) -> Any: ...
    def _prepare_prompt(self, kwargs: dict[str, Any]) -> torch.Tensor: ...


def drawn_seed() -> int:
    """From torch's global generator."""
    return int(torch.randint(2**63 - 1, ()))


@dataclass(eq=False)
class SpeechRequest:
    """
    Something to say, and what has been said of it.

    Args:
        input_ids (`torch.LongTensor` of shape `(text_length,)`): text, not padded.
        prompt_ids (`torch.LongTensor` of shape `(prompt_length,)`): the decoder's prompt, not padded.
        num_frames (`int`, *optional*): as in `generate`.
        options (`SamplingOptions`, *optional*)
        seed (`int`, *optional*): drawn from torch's global generator if not given.
        max_new_tokens (`int`, *optional*): can only shorten the budget.
    """

    input_ids: torch.Tensor
    prompt_ids: torch.Tensor
    num_frames: int | None = None
    options: SamplingOptions = field(default_factory=SamplingOptions)
    seed: int = field(default_factory=drawn_seed)
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
        Fixes the budget, positions and random numbers.

        Raises:
            ValueError: as `generate`, if it is too long.
        """
        arguments = {"attention_mask": torch.ones(1, len(self.input_ids)), "max_new_tokens": self.max_new_tokens}
        num_frames = None if self.num_frames is None else [self.num_frames]
        mask = torch.ones((1, len(self.prompt_ids)), dtype=torch.long)
        budget = model._plan_speech(mask, num_frames, arguments)
        self.positions = budget.positions[0]
        self.max_frames = int(budget.max_frames[0])
        self.max_tokens = len(self.positions) - len(self.prompt_ids)
        generator = torch.Generator().manual_seed(self.seed)
        self.noise = torch.rand(self.max_tokens, dtype=torch.float64, generator=generator).tolist()

    @property
    def tokens_left(self) -> int:
        """At most so many are still to come."""
        return self.max_tokens - len(self.token_ids)

    def silence_run(self) -> int:
        """How often the last token has just been said, if it is one of silence, else 0."""
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
    Requests from what a processor returns, one for each row.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): gives sampling options that are not given.
        num_frames (`torch.LongTensor` of shape `(batch_size,)`, *optional*): as in `generate`.
        seed (`int` or `list[int]`, *optional*): of every row, or of each; further samples of a row count up from it.
        num_return_sequences (`int`): samples of each row, next to each other.
        inputs: `input_ids`, `attention_mask`, `decoder_input_ids`, `decoder_attention_mask` as in `generate`.

    Raises:
        ValueError: for inputs that `generate` refuses, or lists of another length than the batch.
    """
    mask = model._prepare_prompt(inputs)
    if unknown := set(inputs) - {"input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask"}:
        raise TypeError(f"{sorted(unknown)[0]!r} is no argument here; `generate` knows all that transformers does.")
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
                    seed=drawn_seed() if row_seed is None else row_seed + sample,
                    max_new_tokens=max_new_tokens,
                )
            )
    return requests


class SpeechEngine:
    """
    Speaks what is submitted, `max_batch_size` requests at a time. Not for several threads at once.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): in evaluation mode. Its encoder may be on another device, as
            `model.get_encoder().to("cpu")` puts it: it is needed once for each text.
        max_batch_size (`int`, *optional*, defaults to 16): speeches at a time; their keys and values are in memory.

    Raises:
        ValueError: if it is in training mode, or hooks on its decoder want to be called.
    """

    def __init__(self, model: SpeechModel, max_batch_size: int = 16):
        if model.training:
            raise ValueError("the model is in training mode; call `model.eval()` before it speaks.")
        if max_batch_size < 1:
            raise ValueError(f"`max_batch_size` must be at least 1, got {max_batch_size}.")
        self.model, self.max_batch_size = model, max_batch_size
        self.device = model.get_decoder().device
        self.eos_token_id = model.config.eos_token_id
        # t <= rate // 5 may not end, as in `generate`
        self.min_frames = int(model.config.frame_rate // 5) + 1
        self.num_layers = model.config.get_text_config(decoder=True).num_hidden_layers
        self.waiting: deque[SpeechRequest] = deque()
        self._close()

    def _close(self) -> None:
        """Nobody speaks: memory of keys and values goes, and weights may change."""
        self.speaking: list[SpeechRequest] = []
        self.samplers: dict[int, RowSampler] = {}
        self.steps_ahead = 0
        self.slots = SpeechSlots(self.num_layers)
        self.decode_step: DecodeStep | None = None

    def submit(self, request: SpeechRequest) -> None:
        """
        Puts a request at the end of the queue.

        Raises:
            ValueError: if it is longer than the model can speak.
        """
        request.plan(self.model)
        self.waiting.append(request)

    @torch.inference_mode()
    def cancel(self, request: SpeechRequest) -> None:
        """Drops a request, wherever it is; nothing happens if it has ended."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.speaking:
            self._leave(self.speaking.index(request))

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.speaking)

    @torch.inference_mode()  # without counting versions, int8's many small operations take 6 % less time
    def step(self, soonest_first: bool = False) -> list[SpeechRequest]:
        """
        One more token for everybody, and the first one for those who found a place.

        Args:
            soonest_first (`bool`): let those who have much more to say than others take part in every third step only.
                Where a step takes longer the more rows it has, as on a CPU, short speeches beside long ones end sooner,
                and the long ones hardly later.

        Returns:
            The requests that got one, `token_ids[-1]`; the end token sets `finished`, and ends at `max_new_tokens` too.
        """
        if self.decode_step is None:
            self.decode_step = self.model.decode_step()
            if self.decode_step is None:
                raise ValueError("hooks on the model's decoder would not be called; use `generate` instead.")
        while self.waiting and len(self.speaking) < self.max_batch_size:
            self._join(self.waiting.popleft())
        if not self.speaking:
            return []
        served = self.speaking[: self._take_turns() if soonest_first else None]
        scores = self._next_scores(served, self.decode_step)
        for request, token in zip(served, self._choose(served, scores), strict=True):
            request.token_ids.append(token)
            request.finished = token == self.eos_token_id or len(request.token_ids) == request.max_tokens
        for row in reversed(range(len(served))):  # the last row moves into the place of one that leaves
            if served[row].finished:
                self._leave(row)
        return served

    def run(
        self, requests: Iterable[SpeechRequest], on_step: Callable[[int], None] | None = None
    ) -> Iterator[SpeechRequest]:
        """Speaks all `requests`, longest first, and yields each when it has ended; `on_step` is told of new tokens."""
        requests = list(requests)
        for request in requests:
            request.plan(self.model)
        self.waiting.extend(sorted(requests, key=lambda request: -len(request.positions)))
        missing = set(requests)
        try:
            while missing:
                served = self.step()
                if on_step is not None:
                    on_step(len(served))
                for request in served:
                    if request.finished and request in missing:
                        missing.remove(request)
                        yield request
        finally:  # whoever stops listening wants no more
            for request in missing:
                self.cancel(request)

    def _leave(self, row: int) -> None:
        self.slots.remove(row)
        self.speaking[row] = self.speaking[-1]
        self.speaking.pop()
        self.samplers.clear()
        if not self.speaking:
            self._close()

    def _join(self, request: SpeechRequest) -> None:
        """Encodes the text and reads the prompt but for its last token, which comes with the next step of all."""
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
        frames = UNPLANNED_FRAMES if request.num_frames is None else request.num_frames
        self.slots.add(texts, cache, room=len(request.prompt_ids) + min(request.max_tokens, frames) + 1)
        self.speaking.append(request)
        self.samplers.clear()

    def _take_turns(self) -> int:
        """How many take part in this step; they are the first ones."""
        left = [request.tokens_left for request in self.speaking]
        soon = [row for row, tokens in enumerate(left) if tokens < SOON_SHARE * max(left)]
        self.steps_ahead = (self.steps_ahead + 1) % PATIENCE if soon else 0
        if not self.steps_ahead:
            return len(left)
        early, late = set(range(len(soon))), set(soon)
        for row, other in zip(sorted(early - late), sorted(late - early), strict=True):
            self.slots.swap(row, other)
            self.speaking[row], self.speaking[other] = self.speaking[other], self.speaking[row]
            self.samplers.clear()
        return len(soon)

    def _next_scores(self, requests: list[SpeechRequest], decode_step: DecodeStep) -> torch.Tensor:
        device = self.device
        self.slots.show(len(requests))
        tokens = torch.tensor([(request.token_ids or request.prompt_ids)[-1] for request in requests])
        places = [len(request.prompt_ids) + len(request.token_ids) - 1 for request in requests]
        positions = torch.stack([request.positions[place] for request, place in zip(requests, places, strict=True)])
        hidden = decode_step(tokens.to(device), positions.to(device), self.slots)  # (batch_size, hidden_size)
        return decode_step.logits(hidden).float()

    def _choose(self, requests: list[SpeechRequest], scores: torch.Tensor) -> list[int]:
        """The next token of each: rules first, then sampling, as `generate` does it."""
        eos = self.eos_token_id
        early = [row for row, request in enumerate(requests) if len(request.token_ids) < self.min_frames]
        if early:
            scores[early, eos] = -torch.inf
        runs = [request.silence_run() if request.options.silence_token_ids else 0 for request in requests]
        if any(runs):
            device = scores.device
            last = torch.tensor([request.token_ids[-1] if request.token_ids else 0 for request in requests])
            longest = torch.tensor([request.options.max_silence_run for request in requests], device=device)
            counts = torch.tensor(runs, device=device).unsqueeze(-1)
            scores = SilencePenaltyLogitsProcessor.penalise(
                scores, last.to(device).unsqueeze(-1), counts, longest.unsqueeze(-1)
            )
        if (sampler := self.samplers.get(len(requests))) is None:
            sampler = self.samplers[len(requests)] = RowSampler([one.options for one in requests], scores.device)
        best, chosen = sampler(scores, [request.noise[len(request.token_ids)] for request in requests])
        spent = [len(request.token_ids) >= request.max_frames for request in requests]
        return [
            eos if is_spent or one_best == eos else one
            for is_spent, one_best, one in zip(spent, best, chosen, strict=True)
        ]


__all__ = ["SpeechEngine", "SpeechRequest", "speech_requests"]
