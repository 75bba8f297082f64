"""Draws reference prompts: another clip of the same speaker, redrawn in every epoch."""

from dataclasses import dataclass, field

import numpy as np


DRAWS_PER_ROW = 4


@dataclass
class PromptOptions:
    """Options for drawing reference prompts in training."""

    prompt_probability: float = field(default=0.5, metadata={"help": "Fraction of rows that get a reference prompt."})
    default_speakers: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Speakers whose voice the model uses without a reference; rows of all other speakers always get "
            "one (default: all speakers)."
        },
    )
    prompt_max_distance_seconds: float | None = field(
        default=None,
        metadata={"help": "Maximum distance in the recording between prompt and target, where start times are known."},
    )
    prompt_min_seconds: float = field(default=1.0, metadata={"help": "Minimum length of a prompt."})
    prompt_max_seconds: float | None = field(
        default=None, metadata={"help": "Maximum length of a prompt; longer ones slow training down and help little."}
    )
    max_total_seconds: float = field(
        default=40.0, metadata={"help": "Maximum total length of prompt and target; beyond it, the row gets no prompt."}
    )

    def __post_init__(self):
        if not 0 <= self.prompt_probability <= 1:
            raise ValueError(f"`prompt_probability` must be between 0 and 1, got {self.prompt_probability}.")
        for name in ("prompt_max_distance_seconds", "prompt_min_seconds", "max_total_seconds"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"`{name}` must be at least 0, got {value}.")
        if self.prompt_max_seconds is not None and not self.prompt_max_seconds >= self.prompt_min_seconds:
            raise ValueError(
                f"`prompt_max_seconds` must be at least `prompt_min_seconds` ({self.prompt_min_seconds}), got "
                f"{self.prompt_max_seconds}."
            )


class PromptSampler:
    """
    Draws prompts for rows.

    Args:
        num_frames (`np.ndarray` of shape `(num_rows,)`): audio tokens per row.
        speakers (`np.ndarray` of shape `(num_rows,)`): speaker index per row, -1 if unknown (no prompt).
        frame_rate (`float`): audio tokens per second.
        options (`PromptOptions`)
        start_seconds (`np.ndarray` of shape `(num_rows,)`, *optional*): start in the recording, NaN if unknown.
        neighbors (`list`, *optional*): for imported datasets, the candidate prompt rows of each row, or None.
        utterances (`np.ndarray` of shape `(num_rows,)`, *optional*): original row of each row, as in `SpeechDataset`.
            Speed variants are never prompts, and neither is a row's own utterance.
        speaker_names (`list[str]`, *optional*): name per speaker index; required for `options.default_speakers`.

    Raises:
        ValueError: if a default speaker is not in `speaker_names`.
    """

    def __init__(
        self,
        num_frames,
        speakers,
        frame_rate: float,
        options: PromptOptions,
        start_seconds=None,
        neighbors=None,
        utterances=None,
        speaker_names=None,
    ):
        self.num_frames = np.asarray(num_frames)
        self.speakers = np.asarray(speakers)
        self.options = options
        self.start_seconds = None if start_seconds is None else np.asarray(start_seconds, dtype=np.float64)
        self.neighbors = neighbors
        self.probabilities = self._probabilities(speaker_names or [])
        rows = np.arange(len(self.num_frames))
        self.utterances = rows if utterances is None else np.asarray(utterances)
        longest = np.inf if options.prompt_max_seconds is None else options.prompt_max_seconds
        self.is_prompt = (self.num_frames >= options.prompt_min_seconds * frame_rate) & (
            self.num_frames <= longest * frame_rate
        )
        self.max_frames = options.max_total_seconds * frame_rate
        usable = np.flatnonzero(self.is_prompt & (self.speakers >= 0) & (self.utterances == rows))
        order = usable[np.argsort(self.speakers[usable], kind="stable")]
        # sorted by speaker: rows of speaker s are `pool[first[s] : last[s]]`
        self.pool = order
        speaker_of_pool = self.speakers[order]
        numbers = np.arange(self.speakers.max(initial=-1) + 2)
        bounds = np.searchsorted(speaker_of_pool, numbers)
        self.first, self.last = bounds[:-1], bounds[1:]

    def _probabilities(self, speaker_names: list[str]) -> np.ndarray:
        """Returns the prompt probability of each row."""
        options = self.options
        probabilities = np.full(len(self.num_frames), options.prompt_probability)
        if options.default_speakers:
            if unknown := set(options.default_speakers) - set(speaker_names):
                raise ValueError(
                    f"`default_speakers` has {sorted(unknown)}, the speakers are {sorted(set(speaker_names))[:20]}."
                )
            default = [n for n, name in enumerate(speaker_names) if name in options.default_speakers]
            probabilities[~np.isin(self.speakers, default) & (self.speakers >= 0)] = 1.0
        return probabilities

    def draw(self, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """
        Draws one prompt row for each of `rows`, int64 of shape `(n,)`.

        Returns:
            `np.ndarray` of int64, shape `(n,)`; -1 for no prompt. The same generator state gives the same prompts.
        """
        prompts = np.full(len(rows), -1, dtype=np.int64)
        needs_prompt = generator.random(len(rows)) < self.probabilities[rows]
        if self.neighbors is not None:
            for position in np.flatnonzero(needs_prompt):
                candidates = self.neighbors[rows[position]]
                if candidates is not None:
                    prompts[position] = self._draw_neighbor(rows[position], candidates, generator)
                    needs_prompt[position] = False
        open_positions = np.flatnonzero(needs_prompt & (self.speakers[rows] >= 0))
        for _ in range(DRAWS_PER_ROW):
            if not len(open_positions):
                break
            targets = rows[open_positions]
            speakers = self.speakers[targets]
            counts = self.last[speakers] - self.first[speakers]
            offsets = (generator.random(len(targets)) * counts).astype(np.int64)
            drawable = counts > 0
            found = np.full(len(targets), -1, dtype=np.int64)
            found[drawable] = self.pool[(self.first[speakers] + offsets)[drawable]]
            fits = drawable & self._fits(targets, found)
            prompts[open_positions[fits]] = found[fits]
            open_positions = open_positions[~fits]
        return prompts

    def _fits(self, targets: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        fits = (prompts != self.utterances[targets]) & (
            self.num_frames[targets] + self.num_frames[prompts] <= self.max_frames
        )
        limit = self.options.prompt_max_distance_seconds
        if limit is not None and self.start_seconds is not None:
            distance = np.abs(self.start_seconds[targets] - self.start_seconds[prompts])
            fits &= ~(distance > limit)  # an unknown start (NaN) does not exclude a prompt
        return fits

    def _draw_neighbor(self, row: int, candidates, generator: np.random.Generator) -> int:
        candidates = np.asarray(candidates, dtype=np.int64)
        if len(candidates):
            candidates = candidates[self.is_prompt[candidates] & self._fits(np.full(len(candidates), row), candidates)]
        return int(candidates[int(generator.random() * len(candidates))]) if len(candidates) else -1


__all__ = ["PromptOptions", "PromptSampler"]
