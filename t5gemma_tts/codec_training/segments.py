"""Batches that depend only on seed, step and process index, so that a checkpoint needs no sampler state."""

import numpy as np
import torch

from .cache import CachedClip, ClipCache


class SegmentBatches:
    """
    Batches of random segments of equal length. Draws a length per batch, then start positions uniformly from all
    positions where a segment of this length fits into a clip.

    Args:
        cache (`ClipCache`)
        clips (`list[CachedClip]`): Clips to draw from.
        segment_frames (`list[int]`): Segment lengths; lengths above the longest clip are ignored.
        frames_per_batch (`int`): Batch size in frames, rounded down to a multiple of the segment length.
        seed (`int`)
        process_index (`int`, *optional*, defaults to 0): Processes draw the same lengths but different segments.
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
        # per length: cumulative number of start positions over clips
        self.start_counts = {
            length: np.cumsum((num_frames - length + 1).clip(min=0))
            for length in segment_frames
            if length <= num_frames.max()
        }
        self.lengths = list(self.start_counts)

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        """
        The batch of a step.

        Returns:
            `dict[str, torch.Tensor]`: stacked outputs of `ClipCache.segment`.
        """
        length = self.lengths[np.random.default_rng([self.seed, step]).integers(len(self.lengths))]
        generator = np.random.default_rng([self.seed, step, self.process_index + 1])
        start_counts = self.start_counts[length]
        drawn = generator.integers(start_counts[-1], size=self.frames_per_batch // length)
        clip = np.searchsorted(start_counts, drawn, side="right")
        offset = drawn - np.where(clip > 0, start_counts[clip - 1], 0)
        segments = [self.cache.segment(int(start), length) for start in self.starts[clip] + offset]
        return {name: torch.from_numpy(np.stack([segment[name] for segment in segments])) for name in segments[0]}


class WholeClipBatches:
    """
    Batches of whole clips of equal length. Draws a clip uniformly, then fills the batch with random clips of the same
    length.

    Args:
        cache (`ClipCache`)
        clips (`list[CachedClip]`): Clips to draw from; clips longer than a batch are ignored.
        frames_per_batch (`int`): Maximum batch size in frames.
        seed (`int`)
        process_index (`int`, *optional*, defaults to 0): Processes draw the same lengths but different clips.

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
            `dict`: stacked outputs of `ClipCache.segment`, and "clips", the list of clip ids.
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
