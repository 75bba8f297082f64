"""Many speeches at once: a batch whose rows come and go, one token for each at every step.

A text that ends gives its place to the next one that waits, so no text is held up by a longer one, and a place costs
what its own speech needs. Every speech has its own random numbers: with a seed it is the same alone or in company.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch

from .cache_t5gemma_tts import SpeechCache
from .logits_process_t5gemma_tts import SilencePenaltyLogitsProcessor
from .sampling_t5gemma_tts import RowSampler, SamplingOptions
from .slots_t5gemma_tts import SpeechSlots


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

    input_ids: torch.LongTensor
    prompt_ids: torch.LongTensor
    num_frames: int | None = None
    options: SamplingOptions = field(default_factory=SamplingOptions)
    seed: int | None = None
    max_new_tokens: int | None = None
    token_ids: list[int] = field(default_factory=list, init=False)
    finished: bool = field(default=False, init=False)

    def __post_init__(self):
        for name in ("input_ids", "prompt_ids"):
            ids = getattr(self, name)
            if ids.ndim != 1 or not len(ids):
                raise ValueError(f"`{name}` must be of shape (length,) and not empty, got {tuple(ids.shape)}.")
        if self.seed is None:
            self.seed = int(torch.randint(2**63 - 1, ()))

    def plan(self, model) -> None:
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
    model,
    num_frames: torch.LongTensor | list[int] | None = None,
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
    **inputs,
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

    def per_row(name, value) -> list:
        values = value.tolist() if isinstance(value, torch.Tensor) else value
        values = list(values) if isinstance(values, (list, tuple)) else [values] * batch_size
        if len(values) != batch_size:
            raise ValueError(f"`{name}` must have one entry per text, {batch_size}, got {len(values)}.")
        return values

    defaults = model.generation_config
    chosen = {"do_sample": do_sample, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
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
                    seed=None if row_seed is None else row_seed + sample,
                    max_new_tokens=max_new_tokens,
                )
            )
    return requests


class SpeechEngine:
    """
    Speaks what is submitted, `max_batch_size` requests at a time. Not for several threads at once.

    Args:
        model (`T5GemmaTTSForConditionalGeneration`): in evaluation mode.
        max_batch_size (`int`, *optional*, defaults to 16): speeches at a time; their keys and values are in memory.

    Raises:
        ValueError: if it is in training mode, or hooks on its decoder want to be called.
    """

    def __init__(self, model, max_batch_size: int = 16):
        if model.training:
            raise ValueError("the model is in training mode; call `model.eval()` before it speaks.")
        if max_batch_size < 1:
            raise ValueError(f"`max_batch_size` must be at least 1, got {max_batch_size}.")
        self.model, self.max_batch_size = model, max_batch_size
        self.eos_token_id = model.config.eos_token_id
        # t <= rate // 5 may not end, as in `generate`
        self.min_frames = int(model.config.frame_rate // 5) + 1
        self.num_layers = model.config.get_text_config(decoder=True).num_hidden_layers
        self.waiting: deque[SpeechRequest] = deque()
        self._close()

    def _close(self) -> None:
        """Nobody speaks: memory of keys and values goes, and weights may change."""
        self.speaking: list[SpeechRequest] = []
        self.slots, self.decode_step = SpeechSlots(self.num_layers, self.max_batch_size), None

    def submit(self, request: SpeechRequest) -> None:
        """
        Puts a request at the end of the queue.

        Raises:
            ValueError: if it is longer than the model can speak.
        """
        request.plan(self.model)
        self.waiting.append(request)

    def cancel(self, request: SpeechRequest) -> None:
        """Drops a request, wherever it is; nothing happens if it has ended."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.speaking:
            self._leave(self.speaking.index(request))

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.speaking)

    @torch.no_grad()
    def step(self) -> list[SpeechRequest]:
        """
        One more token for everybody, and the first one for those who found a place.

        Returns:
            The requests that got one, `token_ids[-1]`; the end token sets `finished`, and ends at `max_new_tokens` too.
        """
        if self.decode_step is None:
            self.decode_step = self.model.decode_step()
            if self.decode_step is None:
                raise ValueError("hooks on the model's decoder would not be called; use `generate` instead.")
        scores = []
        if self.speaking:
            scores.append(self._next_scores())
        joining = [self.waiting.popleft() for _ in range(min(len(self.waiting), self._free))]
        if joining:
            scores.append(self._begin(joining))
        if not scores:
            return []
        served = list(self.speaking)
        for request, token in zip(served, self._choose(torch.cat(scores)), strict=True):
            request.token_ids.append(token)
            request.finished = token == self.eos_token_id or len(request.token_ids) == request.max_tokens
        for row in reversed(range(len(served))):  # the last row moves into the place of one that leaves
            if served[row].finished:
                self._leave(row)
        return served

    def run(self, requests: Iterable[SpeechRequest]) -> Iterator[SpeechRequest]:
        """Speaks all `requests`, longest first, and yields each when it has ended."""
        requests = list(requests)
        for request in requests:
            self.submit(request)
        self.waiting = deque(sorted(self.waiting, key=lambda request: -len(request.positions)))
        missing = set(requests)
        while missing:
            for request in self.step():
                if request.finished and request in missing:
                    missing.remove(request)
                    yield request

    @property
    def _free(self) -> int:
        return self.max_batch_size - len(self.speaking)

    def _leave(self, row: int) -> None:
        self.slots.remove(row)
        self.speaking[row] = self.speaking[-1]
        self.speaking.pop()
        self.sampler = None
        if not self.speaking:
            self._close()

    def _begin(self, requests: list[SpeechRequest]) -> torch.FloatTensor:
        """Encodes texts and reads prompts of those who join; returns their scores `(num_requests, vocab_size)`."""
        model, device = self.model, self.model.device
        pad = torch.nn.utils.rnn.pad_sequence

        def padded(name: str, value: int, side: str) -> tuple[torch.Tensor, torch.Tensor]:
            rows = [getattr(request, name).to("cpu", torch.long) for request in requests]
            mask = pad([torch.ones_like(row) for row in rows], batch_first=True, padding_side=side)
            return pad(rows, batch_first=True, padding_value=value, padding_side=side), mask

        input_ids, attention_mask = padded("input_ids", 0, "right")
        prompt_ids, prompt_mask = padded("prompt_ids", model.config.pad_token_id, "left")
        positions = pad(
            [request.positions[: len(request.prompt_ids)] for request in requests],
            batch_first=True,
            padding_side="left",
        )
        cache = SpeechCache(self.num_layers, capacity=prompt_ids.shape[1])
        outputs = model(
            input_ids=input_ids.to(device),
            attention_mask=attention_mask.to(device),
            decoder_input_ids=prompt_ids.to(device),
            decoder_attention_mask=prompt_mask.to(device),
            decoder_position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        planned = [len(request.prompt_ids) + min(request.max_tokens, request.num_frames or 256) for request in requests]
        self.slots.add(cache, prompt_mask, attention_mask, room=max(planned) + 1)
        self.speaking += requests
        self.sampler = None
        return outputs.logits[:, -1].float()

    def _next_scores(self) -> torch.FloatTensor:
        device = self.model.device
        tokens = torch.tensor([request.token_ids[-1] for request in self.speaking], device=device)
        places = [len(request.prompt_ids) + len(request.token_ids) - 1 for request in self.speaking]
        positions = torch.stack(
            [request.positions[place] for request, place in zip(self.speaking, places, strict=True)]
        )
        hidden = self.decode_step(tokens, positions.to(device), self.slots)  # (batch_size, hidden_size)
        return self.decode_step.logits(hidden).float()

    def _choose(self, scores: torch.FloatTensor) -> list[int]:
        """The next token of each who speaks: rules first, then sampling, as `generate` does it."""
        requests, eos = self.speaking, self.eos_token_id
        early = [row for row, request in enumerate(requests) if len(request.token_ids) < self.min_frames]
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
        if self.sampler is None:
            self.sampler = RowSampler([request.options for request in requests], scores.device)
        noise = torch.tensor([request.noise[len(request.token_ids)] for request in requests], dtype=torch.float64)
        best, chosen = self.sampler(scores, noise)
        spent = [len(request.token_ids) >= request.max_frames for request in requests]
        return [
            eos if is_spent or one_best == eos else one
            for is_spent, one_best, one in zip(spent, best.tolist(), chosen.tolist(), strict=True)
        ]


__all__ = ["SpeechEngine", "SpeechRequest", "speech_requests"]
