"""Batches of segments, each a function of seed, step and process alone: a resumed run needs no other position."""

import numpy as np
import torch

from .cache import CachedClip, ClipCache


class SegmentBatches:
    """
    Batches of equally long segments. A batch's length is drawn first; then every place where that many frames fit into
    a clip is as likely as any other.

    Args:
        cache (`ClipCache`)
        clips (`list[CachedClip]`): To draw from.
        segment_frames (`list[int]`): Lengths; those that no clip has are left out.
        frames_per_batch (`int`): A batch has this many frames, or the next multiple of the length below.
        seed (`int`)
        process_index (`int`, *optional*, defaults to 0): Processes draw lengths alike and segments apart.
    """

    def __init__(
        self,
        cache: ClipCache,
        clips: list[CachedClip],
        segment_frames: list[int],
        frames_per_batch: int,
        seed: int,
        process_index: int = 0,
    ):
        self.cache, self.seed, self.process_index = cache, seed, process_index
        self.frames_per_batch = frames_per_batch
        self.starts = np.array([clip.start for clip in clips])
        num_frames = np.array([clip.num_frames for clip in clips])
        # for every length, the number of places up to and including each clip
        self.places = {
            length: np.cumsum((num_frames - length + 1).clip(min=0))
            for length in segment_frames
            if length <= num_frames.max()
        }
        self.lengths = list(self.places)

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        """
        The batch of a step.

        Returns:
            `dict[str, torch.Tensor]`: as `ClipCache.segment`, stacked.
        """
        length = self.lengths[np.random.default_rng([self.seed, step]).integers(len(self.lengths))]
        generator = np.random.default_rng([self.seed, step, self.process_index + 1])
        places = self.places[length]
        drawn = generator.integers(places[-1], size=self.frames_per_batch // length)
        clip = np.searchsorted(places, drawn, side="right")
        offset = drawn - np.where(clip > 0, places[clip - 1], 0)
        segments = [self.cache.segment(int(start), length) for start in self.starts[clip] + offset]
        return {name: torch.from_numpy(np.stack([segment[name] for segment in segments])) for name in segments[0]}


class WholeClipBatches:
    """
    Batches of whole clips of the same length, as many as fit: every clip is as likely as any other to be the first of a
    batch, and those of its length join it.

    Args:
        cache (`ClipCache`)
        clips (`list[CachedClip]`): To draw from; those longer than a batch are left out.
        frames_per_batch (`int`)
        seed (`int`)
        process_index (`int`, *optional*, defaults to 0): Processes draw lengths alike and clips apart.

    Raises:
        ValueError: if all clips are longer than a batch.
    """

    def __init__(
        self, cache: ClipCache, clips: list[CachedClip], frames_per_batch: int, seed: int, process_index: int = 0
    ):
        self.cache, self.seed, self.process_index = cache, seed, process_index
        self.frames_per_batch = frames_per_batch
        self.clips = [clip for clip in clips if clip.num_frames <= frames_per_batch]
        if not self.clips:
            raise ValueError(
                f"`frames_per_batch` must hold at least one whole clip; the shortest has "
                f"{min(clip.num_frames for clip in clips)} frames, got {frames_per_batch}."
            )
        self.of_length: dict[int, list[int]] = {}
        for number, clip in enumerate(self.clips):
            self.of_length.setdefault(clip.num_frames, []).append(number)

    def __call__(self, step: int) -> dict:
        """
        The batch of a step.

        Returns:
            `dict`: tensors as `ClipCache.segment` gives them, stacked, and "clips", the ids.
        """
        length = self.clips[np.random.default_rng([self.seed, step]).integers(len(self.clips))].num_frames
        generator = np.random.default_rng([self.seed, step, self.process_index + 1])
        group = self.of_length[length]
        count = min(len(group), self.frames_per_batch // length)
        chosen = [self.clips[number] for number in generator.choice(group, count, replace=False)]
        segments = [self.cache.segment(clip.start, length) for clip in chosen]
        batch = {name: torch.from_numpy(np.stack([segment[name] for segment in segments])) for name in segments[0]}
        return batch | {"clips": [clip.id for clip in chosen]}


__all__ = ["SegmentBatches", "WholeClipBatches"]
